//! Carries a plan out.

use std::sync::Arc;

use futures::{TryStreamExt as _, stream};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use skep_api::{Machine, NodePool};
use skep_kubeops::Key;
use skep_kubeops::error::{is_already_exists, is_not_found};
use skep_kubeops::events::Severity;
use skep_kubeops::watch::Guard;
use skep_plan::node_pool::{Action, Goal, Plan, Why};

use super::{NodePoolReconciler, build, name};
use crate::{Error, NAME};

/// Machines made in one pass at most; the next pass makes the rest.
const CREATED: usize = 100;
/// Calls at once.
const PARALLEL: usize = 8;
/// Names tried for one machine.
const NAMES: usize = 3;

impl NodePoolReconciler {
    /// The pool's machines as they are now.
    pub(super) async fn list(&self, pool: &NodePool) -> Result<Vec<Arc<Machine>>, Error> {
        let namespace = pool.namespace().unwrap_or_default();
        let api: Api<Guard<Machine>> = Api::namespaced(self.config.client.clone(), &namespace);
        let selector = build::selector(pool);
        let mut machines = Vec::new();
        for guard in skep_kubeops::list_all(&api, &selector).await? {
            match guard.0 {
                Ok(machine) if build::is_of(pool, &machine) => machines.push(Arc::new(machine)),
                Ok(_) => {}
                // It may be one of ours: nothing is counted before it can be.
                Err(bad) => return Err(Error::NotSeen(format!("machine {} ({})", bad.key(), bad.error))),
            }
        }
        machines.sort_by_key(|machine| machine.name_any());
        Ok(machines)
    }

    /// Takes the steps of a plan. Steps of different machines do not depend on each other.
    pub(super) async fn act(
        &self,
        pool: &NodePool,
        goal: &Goal,
        plan: &Plan,
        machines: &[Arc<Machine>],
    ) -> Result<(), Error> {
        let zones: Vec<&str> = plan
            .actions
            .iter()
            .filter_map(
                |action| if let Action::Create { zone } = action { Some(zone.as_str()) } else { None },
            )
            .take(CREATED)
            .collect();
        stream::iter(zones.iter().map(Ok))
            .try_for_each_concurrent(PARALLEL, |zone| self.create(pool, goal, zone))
            .await?;
        if !zones.is_empty() {
            let text = format!("{} machines in zones {}", zones.len(), distinct(&zones).join(", "));
            self.config.recorder.publish(pool, Severity::Normal, "Created", "Scale", text);
        }
        let others = plan.actions.iter().filter(|action| !matches!(action, Action::Create { .. }));
        stream::iter(others.map(Ok))
            .try_for_each_concurrent(PARALLEL, |action| self.one(pool, goal, plan, machines, action))
            .await?;
        let stale = machines.iter().filter(|machine| build::rules_differ(pool, machine));
        stream::iter(stale.map(Ok))
            .try_for_each_concurrent(PARALLEL, |machine| {
                self.patch(machine, "/spec/drain", json!(pool.spec.drain))
            })
            .await
    }

    async fn create(&self, pool: &NodePool, goal: &Goal, zone: &str) -> Result<(), Error> {
        let api: Api<Machine> =
            Api::namespaced(self.config.client.clone(), &pool.namespace().unwrap_or_default());
        let params = PostParams { field_manager: Some(NAME.to_owned()), ..PostParams::default() };
        for attempt in 1.. {
            let name = name::random(&pool.spec.cluster, &pool.name_any());
            match api.create(&params, &build::machine(pool, goal, zone, &name)).await {
                Ok(_) => break,
                Err(error) if is_already_exists(&error) && attempt < NAMES => {}
                Err(error) => return Err(skep_kubeops::Error::api::<Machine>("create", name, error).into()),
            }
        }
        Ok(())
    }

    async fn one(
        &self,
        pool: &NodePool,
        goal: &Goal,
        plan: &Plan,
        machines: &[Arc<Machine>],
        action: &Action,
    ) -> Result<(), Error> {
        let find = |name: &str| machines.iter().find(|machine| machine.name_any() == *name);
        match action {
            Action::Create { .. } => Ok(()),
            Action::Delete { machine, why } => {
                let Some(found) = find(machine) else { return Ok(()) };
                let uid = found.metadata.uid.as_deref();
                self.applier.delete_if_exists::<Machine>(&Key::of(&**found), uid).await?;
                let (reason, text) = match why {
                    Why::Surplus => ("Removed", format!("{machine}: there are more than {}", plan.desired)),
                    Why::Named => ("Removed", format!("{machine}: it is named in scaling.remove")),
                    Why::Outdated => ("Replaced", because(plan, machine)),
                };
                self.config.recorder.publish(pool, Severity::Normal, reason, "Scale", text);
                Ok(())
            }
            Action::Change { machine } => {
                let Some(found) = find(machine) else { return Ok(()) };
                self.patch(found, "/spec/template", json!(goal.template)).await?;
                let recorder = &self.config.recorder;
                recorder.publish(pool, Severity::Normal, "Changed", "Update", because(plan, machine));
                Ok(())
            }
        }
    }

    /// Puts a new value in the place of a field. The whole field, whoever wrote what is in it now: an apply would leave
    /// what another writer has added.
    async fn patch(&self, machine: &Machine, path: &str, value: serde_json::Value) -> Result<(), Error> {
        let key = Key::of(machine);
        let patch = serde_json::from_value(json!([
            {"op": "test", "path": "/metadata/uid", "value": machine.metadata.uid},
            {"op": "add", "path": path, "value": value},
        ]));
        let serialise = |source| skep_kubeops::Error::Serialise {
            kind: "Machine".to_owned(),
            object: key.to_string(),
            source,
        };
        let patch = Patch::Json::<()>(patch.map_err(serialise)?);
        let api: Api<Machine> =
            Api::namespaced(self.config.client.clone(), key.namespace.as_deref().unwrap_or_default());
        match api
            .patch(
                &key.name,
                &PatchParams { field_manager: Some(NAME.to_owned()), ..PatchParams::default() },
                &patch,
            )
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(skep_kubeops::Error::api::<Machine>("change", &key, error).into()),
        }
    }
}

fn because(plan: &Plan, machine: &str) -> String {
    let outdated = plan.outdated.iter().find(|outdated| outdated.machine == machine);
    let because: Vec<String> =
        outdated.iter().flat_map(|outdated| &outdated.because).map(ToString::to_string).collect();
    format!("{machine}: {}", because.join("; "))
}

fn distinct<'a>(zones: &[&'a str]) -> Vec<&'a str> {
    let mut zones = zones.to_vec();
    zones.sort_unstable();
    zones.dedup();
    zones
}
