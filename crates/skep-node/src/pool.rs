//! The `NodePool` controller: dereference → resolve and plan (pure, in skep-plan) → act → status.
//!
//! Decisions are made on what a watch has seen; before anything is done they are made once more on what the API server
//! says now. Only so is a machine that was made a moment ago, by this pass's predecessor, never made a second time.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use skep_api::{Machine, NodePool};
use skep_kubeops::{Applier, Key, Next, Reconciler};
use skep_plan::node_pool::{Goal, Plan, Refused, Unresolved, plan, resolve};

use crate::{Caches, Config, Error, NAME};

mod act;
mod build;
mod name;
mod status;

pub(crate) use build::adopt;
pub use build::{is_of, member, selector};

/// Brings a `NodePool` to its goal.
pub struct NodePoolReconciler {
    config: Config,
    applier: Applier,
    caches: Caches,
}

/// What a pass came to.
enum Outcome {
    /// The goal, and the steps towards it that were taken or are waited for.
    Planned(Box<Goal>, Plan),
    /// The spec cannot be fulfilled; what is there stays.
    Refused(Refused),
    /// Something has to be there first.
    Waits(String),
    /// A step failed; it is tried again.
    Failed(Error),
}

impl NodePoolReconciler {
    /// A reconciler that reads these caches, which the controllers fill.
    pub fn new(config: Config, caches: Caches) -> Self {
        let applier = Applier::new(config.client.clone(), NAME);
        Self { config, applier, caches }
    }
}

impl Reconciler for NodePoolReconciler {
    type Object = NodePool;
    type Error = Error;

    fn name() -> &'static str {
        "skep-node-pool"
    }

    async fn reconcile(&self, pool: Arc<NodePool>) -> Result<Next, Error> {
        if pool.metadata.deletion_timestamp.is_some() {
            // Its machines are owned by it: they go by themselves, each as its own rules say.
            return Ok(Next::Done);
        }
        let namespace = pool.namespace().unwrap_or_default();
        let cluster = self.caches.cluster(&namespace, &pool.spec.cluster);
        let facts = self.caches.facts(&namespace, &pool.spec.cluster)?;
        if let Some(cluster) = &cluster {
            if cluster.metadata.deletion_timestamp.is_some() {
                return self.follow(&pool).await;
            }
            // So that no pool outlives its cluster, whatever happens to us.
            adopt(&self.config.client, &*pool, cluster).await?;
        }
        let mut machines = self.machines(&pool);
        let outcome = match resolve(&pool.spec, &facts) {
            Ok(goal) => self.carry_out(&pool, goal, &mut machines).await,
            Err(Unresolved::Refused(refused)) => Outcome::Refused(refused),
            Err(Unresolved::Waits(why)) => Outcome::Waits(why),
        };
        let now = Time(Timestamp::now());
        let status = status::of(&pool, &outcome, &machines, &now);
        status::announce(&self.config.recorder, &pool, &status, &outcome);
        self.applier.status(&*pool, pool.status.as_ref(), &status).await?;
        match outcome {
            Outcome::Failed(error) => Err(error),
            // Machines and clusters are watched: whatever is waited for brings the next pass.
            _ => Ok(Next::Done),
        }
    }
}

impl NodePoolReconciler {
    /// Plans, on what is there now if anything is to be done, and does it. `machines` are as the plan saw them.
    async fn carry_out(&self, pool: &NodePool, goal: Goal, machines: &mut Vec<Arc<Machine>>) -> Outcome {
        let planned = plan(&goal, &build::members(machines));
        if planned.actions.is_empty() && !machines.iter().any(|machine| build::rules_differ(pool, machine)) {
            return Outcome::Planned(Box::new(goal), planned);
        }
        match self.list(pool).await {
            Ok(fresh) => *machines = fresh,
            Err(error) => return Outcome::Failed(error),
        }
        let planned = plan(&goal, &build::members(machines));
        match self.act(pool, &goal, &planned, machines).await {
            Ok(()) => Outcome::Planned(Box::new(goal), planned),
            Err(error) => Outcome::Failed(error),
        }
    }

    /// A pool goes with its cluster, and does not wait until the garbage collector finds it without one: machines should
    /// be gone before their control plane is.
    async fn follow(&self, pool: &NodePool) -> Result<Next, Error> {
        self.applier.delete_if_exists::<NodePool>(&Key::of(pool), pool.metadata.uid.as_deref()).await?;
        Ok(Next::Done)
    }

    /// The pool's machines as the watch sees them.
    fn machines(&self, pool: &NodePool) -> Vec<Arc<Machine>> {
        let mut machines = self.caches.pool_machines.select(|machine| build::is_of(pool, machine));
        machines.sort_by_key(|machine| machine.name_any());
        machines
    }
}
