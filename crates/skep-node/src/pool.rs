//! The `NodePool` controller: dereference → resolve and plan (pure, in skep-plan) → act → status.
//!
//! Decisions are made on what a watch has seen; before anything is done they are made once more on what the API server
//! says now. Only so is a machine that was made a moment ago, by this pass's predecessor, never made a second time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use skep_agent::config::PodNetwork;
use skep_api::resources::Reconciliation;
use skep_api::{Cluster, Machine, NodePool, Provider};
use skep_kubeops::{Applier, Key, Next, Reconciler};
use skep_plan::node_pool::{Course, Member, Plan, Refused, Trial, Unresolved, plan, steer, trial};
use skep_plan::repair::Calm;

use crate::{Caches, Config, Error, NAME};

mod act;
mod build;
mod name;
mod repair;
mod status;

pub(crate) use build::adopt;
pub use build::{is_of, members_of, selector};

/// Brings a `NodePool` to its goal.
pub struct NodePoolReconciler {
    config: Config,
    applier: Applier,
    caches: Caches,
    /// Zones of pools in which it was lately not the nodes that were to blame.
    calm: Mutex<HashMap<Key, Calm>>,
}

/// What a pass came to.
enum Outcome {
    /// Where it is led, and the steps that were taken or are waited for.
    Planned(Box<Planned>),
    /// The spec cannot be fulfilled; what is there stays.
    Refused(Refused),
    /// Something has to be there first.
    Waits(String),
    /// Its cluster is left alone, and so is it: nothing is made, removed, changed or repaired.
    Paused,
    /// A step failed; it is tried again.
    Failed(Error),
}

/// Where a pool is led.
struct Planned {
    course: Course,
    plan: Plan,
    /// How far its template is.
    trial: Trial,
}

/// Pause before an update that was just stopped goes back: the stop is written down first.
const STOPPED: Duration = Duration::from_secs(1);
/// Shortest pause before a pool is looked at again although nothing has happened.
const SOONEST: Duration = Duration::from_secs(5);

impl NodePoolReconciler {
    /// A reconciler that reads these caches, which the controllers fill.
    pub fn new(config: Config, caches: Caches) -> Self {
        let applier = Applier::new(config.client.clone(), NAME);
        Self { config, applier, caches, calm: Mutex::default() }
    }
}

impl Reconciler for NodePoolReconciler {
    type Object = NodePool;
    type Error = Error;

    fn name() -> &'static str {
        "skep-node-pool"
    }

    fn is_behind(&self, pool: &NodePool) -> bool {
        self.applier.is_ahead_of(pool)
    }

    async fn reconcile(&self, pool: Arc<NodePool>) -> Result<Next, Error> {
        if pool.metadata.deletion_timestamp.is_some() {
            return self.leave(&pool).await;
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
        let Some(pool) = self.fresh(pool, &machines).await? else { return Ok(Next::Done) };
        let now = self.config.now();
        let outcome = match steer(&pool.spec, pool.status.as_ref(), &facts) {
            _ if is_paused(cluster.as_deref()) => Outcome::Paused,
            Ok(course) => self.carry_out(&pool, course, &mut machines, now).await,
            Err(Unresolved::Refused(refused)) => Outcome::Refused(refused),
            Err(Unresolved::Waits(why)) => Outcome::Waits(why),
        };
        let repair = self.repair(&pool, cluster.as_deref(), &outcome, &mut machines, now).await;
        let network = self.network(&pool, &outcome);
        let status = status::of(&pool, &outcome, repair.as_ref().ok(), &machines, network, &Time(now));
        status::announce(&self.config.recorder, &pool, &status, &outcome);
        self.applier.status(&*pool, pool.status.as_ref(), &status).await?;
        let repair = repair?;
        self.count(&pool, &outcome, &repair);
        match outcome {
            Outcome::Failed(error) => Err(error),
            outcome => Ok(next(&outcome, &repair, now)),
        }
    }

    fn deleted(&self, pool: &Key) {
        self.calm.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(pool);
    }
}

fn is_paused(cluster: Option<&Cluster>) -> bool {
    cluster.is_some_and(|cluster| cluster.spec.reconciliation == Reconciliation::Paused)
}

/// When to look again. Machines and clusters are watched: whatever is waited for brings the next pass. Time does not.
fn next(outcome: &Outcome, repair: &repair::Judged, now: Timestamp) -> Next {
    let trial = match outcome {
        Outcome::Planned(planned) => match planned.trial {
            Trial::Failed(_) => return Next::After(STOPPED),
            Trial::Open(at) => at,
            Trial::Healthy => None,
        },
        _ => None,
    };
    let pause = |at: Timestamp| Duration::try_from(at.duration_since(now)).unwrap_or_default().max(SOONEST);
    trial.into_iter().chain(repair.wake()).min().map_or(Next::Done, |at| Next::After(pause(at)))
}

impl NodePoolReconciler {
    /// Plans, on what is there now if anything is to be done, and does it. `machines` are as the plan saw them.
    async fn carry_out(
        &self,
        pool: &NodePool,
        course: Course,
        machines: &mut Vec<Arc<Machine>>,
        now: Timestamp,
    ) -> Outcome {
        let goal = course.goal();
        let members = build::members(machines);
        let trial = self.tried(pool, &course, &members, now);
        if matches!(trial, Trial::Failed(_)) {
            // Nothing is done before it is written down that this has failed.
            let plan = Plan { desired: goal.replicas, ..Plan::default() };
            return Outcome::Planned(Box::new(Planned { plan, trial, course }));
        }
        let planned = plan(goal, &members);
        if planned.actions.is_empty() && !machines.iter().any(|machine| build::rules_differ(pool, machine)) {
            return Outcome::Planned(Box::new(Planned { plan: planned, trial, course }));
        }
        match self.list(pool).await {
            Ok(fresh) => *machines = fresh,
            Err(error) => return Outcome::Failed(error),
        }
        let planned = plan(goal, &build::members(machines));
        match self.act(pool, goal, &planned, machines).await {
            Ok(()) => Outcome::Planned(Box::new(Planned { plan: planned, trial, course })),
            Err(error) => Outcome::Failed(error),
        }
    }

    /// How far the template is that the spec asks for.
    fn tried(&self, pool: &NodePool, course: &Course, members: &[Member], now: Timestamp) -> Trial {
        let Course::Ahead(goal) = course else { return Trial::Open(None) };
        let healthy = pool.status.as_ref().and_then(|status| status.healthy_template.as_ref());
        let namespace = pool.namespace().unwrap_or_default();
        let seen = self.caches.watched.since(&Key::namespaced(namespace, pool.spec.cluster.as_str()));
        let deadline = u64::try_from(pool.spec.update.deadline_seconds).unwrap_or(0);
        trial(goal, healthy, members, seen, Duration::from_secs(deadline), now)
    }

    /// One pass of a deletion. Its machines are owned by it: they go by themselves, each as its own rules say. Whoever waits
    /// for that reads here what holds it.
    async fn leave(&self, pool: &NodePool) -> Result<Next, Error> {
        let status = status::deleting(pool, &self.machines(pool), &Time(self.config.now()));
        match self.applier.status(pool, pool.status.as_ref(), &status).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(Next::Done),
        }
    }

    /// A pool goes with its cluster, and does not wait until the garbage collector finds it without one: machines should
    /// be gone before their control plane is.
    async fn follow(&self, pool: &NodePool) -> Result<Next, Error> {
        self.applier.delete_if_exists::<NodePool>(&Key::of(pool), pool.metadata.uid.as_deref()).await?;
        Ok(Next::Done)
    }

    /// The network of its nodes' pods. Pods that are only played have none.
    fn network(&self, pool: &NodePool, outcome: &Outcome) -> Option<PodNetwork> {
        let Outcome::Planned(planned) = outcome else { return None };
        let class = &planned.course.goal().template.machine_class;
        let provider = self.caches.classes.get(&Key::cluster(class.as_str()))?.spec.provider;
        let infrastructure = self.config.infrastructure(provider).ok()?;
        let cluster = self.caches.cluster(&pool.namespace().unwrap_or_default(), &pool.spec.cluster);
        let plane = cluster.and_then(|cluster| self.caches.control_plane(&cluster));
        let asked = plane.and_then(|plane| plane.spec.network.pod_network);
        (provider != Provider::Hollow).then(|| asked.unwrap_or(infrastructure.pod_network))
    }

    /// The pool's machines as the watch sees them.
    fn machines(&self, pool: &NodePool) -> Vec<Arc<Machine>> {
        let mut machines = self.caches.pool_machines.select(|machine| build::is_of(pool, machine));
        machines.sort_by_key(|machine| machine.name_any());
        machines
    }
}
