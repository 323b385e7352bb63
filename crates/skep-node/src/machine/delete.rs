//! The way out: pods, node, machine, token, then the finalizer.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt as _};
use skep_api::Machine;
use skep_api::labels::finalizer;
use skep_kubeops::Next;

use super::seen::Seen;
use super::vacate::Vacated;
use super::{MachineReconciler, status};
use crate::Error;

impl MachineReconciler {
    /// One pass of a deletion.
    pub(super) async fn delete(&self, machine: &Machine) -> Result<Next, Error> {
        if !skep_kubeops::finalizer::has(machine, finalizer::MACHINE) {
            return Ok(Next::Done);
        }
        let found = self.dereference(machine)?;
        let tenant = match found.endpoint(&self.config.gateway) {
            // Nobody needs the node any more, and its API server may be gone already.
            _ if found.is_leaving() => None,
            Some(endpoint) => Some(self.tenants.open(&found.key, &endpoint).await),
            None => Some(Err(Error::TenantAway { cluster: found.key.clone() })),
        };
        let mut seen = Seen::default();
        let vacated = self.vacate(machine, &found.key, tenant, &mut seen).await;
        let (waiting, done) = match vacated {
            Ok(Vacated::Yes) => {
                let namespace = machine.namespace().unwrap_or_default();
                let api: Api<Machine> = Api::namespaced(self.config.client.clone(), &namespace);
                skep_kubeops::finalizer::remove(&api, machine, finalizer::MACHINE).await?;
                return Ok(Next::Done);
            }
            Ok(Vacated::NotYet(pause, waiting)) => (waiting, Ok(Next::After(pause))),
            Err(error) => (error.to_string(), Err(error)),
        };
        let status = status::deleting(machine, &seen, &waiting, &Time(self.config.now()));
        if done.is_ok() {
            self.announce(machine, &status);
        }
        match self.applier.status(machine, machine.status.as_ref(), &status).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => done,
        }
    }
}
