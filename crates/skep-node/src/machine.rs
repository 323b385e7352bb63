//! The `Machine` controller: from an order to a node, and back to nothing.
//!
//! A pass reads what is there (cluster, class, infrastructure, node), takes the next steps and writes one status. What was
//! asked of the infrastructure is written down before it is asked (`status.template`), so that whatever happens to us, a
//! machine is known to be somebody's.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt as _};
use skep_api::labels::finalizer;
use skep_api::{Machine, NodeTemplate};
use skep_kubeops::{Applier, Key, Next, Observed, Reconciler, Trigger};

use crate::tenants::Tenants;
use crate::{Caches, Config, Error, NAME};

mod address;
mod announce;
mod delete;
mod dereference;
mod drain;
mod health;
mod order;
mod pass;
mod repair;
mod seen;
mod status;
mod vacate;

use seen::Seen;

/// Brings a `Machine` to its goal.
pub struct MachineReconciler {
    config: Config,
    applier: Applier,
    caches: Caches,
    tenants: Tenants,
}

impl MachineReconciler {
    /// A reconciler that reads these caches. `observed` may see the Secrets with kubeconfigs; `trigger` is called for
    /// machines that something has happened to in their cluster, and belongs to the controller that runs this.
    pub fn new(config: Config, caches: Caches, observed: Observed, trigger: Trigger) -> Self {
        let applier = Applier::new(config.client.clone(), NAME);
        let tenants = Tenants::new(
            applier.clone(),
            observed,
            config.connect.clone(),
            caches.machines.clone(),
            trigger,
            config.tenants,
            (caches.watched.clone(), config.clock.clone()),
        );
        Self { config, applier, caches, tenants }
    }

    /// Tenants that are open.
    pub fn tenants(&self) -> &Tenants {
        &self.tenants
    }
}

impl Reconciler for MachineReconciler {
    type Object = Machine;
    type Error = Error;

    fn name() -> &'static str {
        "skep-machine"
    }

    fn is_behind(&self, machine: &Machine) -> bool {
        self.applier.is_ahead_of(machine)
    }

    async fn reconcile(&self, machine: Arc<Machine>) -> Result<Next, Error> {
        if machine.metadata.deletion_timestamp.is_some() {
            return self.delete(&machine).await;
        }
        if !self.hold(&machine).await? {
            return Ok(Next::Done);
        }
        let found = self.dereference(&machine)?;
        let mut seen = Seen::default();
        let done = self.pass(&machine, &found, &mut seen).await;
        let now = Time(self.config.now());
        let status = status::of(&machine, &seen, done.as_ref().err(), &now);
        if done.is_ok() {
            // The controller itself tells why a pass failed.
            self.announce(&machine, &status);
        }
        match self.applier.status(&*machine, machine.status.as_ref(), &status).await {
            // Deleted meanwhile: it had our finalizer, so its own pass comes, or somebody took that away.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        done
    }

    fn deleted(&self, _: &Key) {
        let machines = self.caches.machines.list();
        let needed: HashSet<(Option<&str>, &str)> = machines
            .iter()
            .map(|machine| (machine.metadata.namespace.as_deref(), machine.spec.cluster.as_str()))
            .collect();
        self.tenants.retain(|cluster| needed.contains(&(cluster.namespace.as_deref(), &*cluster.name)));
    }
}

impl MachineReconciler {
    /// The finalizer comes before the first effect, so that a machine deleted at any later moment is cleaned up; so does
    /// the cluster as an owner of what no pool owns.
    async fn hold(&self, machine: &Machine) -> Result<bool, Error> {
        let namespace = machine.namespace().unwrap_or_default();
        let api: Api<Machine> = Api::namespaced(self.config.client.clone(), &namespace);
        if !skep_kubeops::finalizer::hold(&api, machine, finalizer::MACHINE).await? {
            return Ok(false);
        }
        let owned =
            machine.metadata.owner_references.iter().flatten().any(|owner| owner.controller == Some(true));
        if !owned && let Some(cluster) = self.caches.cluster(&namespace, &machine.spec.cluster) {
            crate::pool::adopt(&self.config.client, machine, &cluster).await?;
        }
        Ok(true)
    }
}

/// Whether a machine that was made as `made` is as `spec` says. One that names no version keeps the one it was made with.
pub(crate) fn is_made_as(spec: &NodeTemplate, made: &NodeTemplate) -> bool {
    match spec.version {
        Some(_) => spec == made,
        None => NodeTemplate { version: made.version.clone(), ..spec.clone() } == *made,
    }
}
