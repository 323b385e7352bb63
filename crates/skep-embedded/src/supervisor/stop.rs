//! The ordered stop.
//!
//! First who would repair what is being stopped (operator, the hub's controllers and scheduler), then the nodes halt
//! their pods in order, then gateway, API server and etcd. Everything that still carries the installation's marker
//! afterwards is ended too.

use skep_vnode::process::Marker;

use super::start::Running;
use crate::{Result, halt, hub::Program};

impl Running {
    /// Stops everything that was started, and what an earlier supervisor left.
    pub(super) async fn stop(mut self) -> Result<()> {
        let step = self.board.step("stop operator and controllers");
        self.parts.stop_operator().await;
        for program in [Program::Scheduler, Program::ControllerManager] {
            self.child_stop(program).await;
        }
        step.done();

        let step = self.board.step("stop pods");
        self.parts.stop_nodes().await;
        let instance = Marker::new(&self.records.get().instance);
        let progress = |left: usize| step.detail(format!("{left} processes"));
        let tenants = halt::tenants(&instance, progress).await;
        step.done();

        let step = self.board.step("stop gateway, API server and etcd");
        self.parts.stop_gateway().await;
        for program in [Program::ApiServer, Program::Etcd] {
            self.child_stop(program).await;
        }
        let rest = halt::everything(&instance, |_| {}).await;
        step.done();
        tenants.and(rest).map(drop)
    }

    async fn child_stop(&mut self, program: Program) {
        if let Some(at) = self.children.iter().position(|(name, _)| *name == program) {
            self.children.remove(at).1.stop().await;
        }
    }
}
