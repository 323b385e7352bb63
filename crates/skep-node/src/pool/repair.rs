//! Judges a pool's machines and writes orders; the machines carry them out.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::{Api, ResourceExt as _};
use skep_api::condition::{self, ConditionType};
use skep_api::machine::MachinePhase;
use skep_api::{Cluster, Machine, NodePool, RepairOrder};
use skep_kubeops::Key;
use skep_kubeops::events::Severity;
use skep_plan::node_pool::Trial;
use skep_plan::repair::{Decision, Rules, Sight, State, decide};

use super::{NodePoolReconciler, Outcome, build};
use crate::{Error, repair};

/// Pause before a pool is looked at again that nobody can see and that is not well: that a cluster is seen again wakes
/// nobody.
const BLIND: Duration = Duration::from_secs(60);

/// What a pass came to.
pub(super) struct Judged {
    /// `None` when the rules cannot be read.
    pub(super) decision: Option<Decision>,
    /// What the pool's status keeps.
    pub(super) orders: Vec<RepairOrder>,
    /// How many of them are new, at the end.
    new: usize,
    wake: Option<Timestamp>,
}

impl Judged {
    /// When to judge again although nothing has happened.
    pub(super) fn wake(&self) -> Option<Timestamp> {
        self.wake
    }
}

impl NodePoolReconciler {
    /// The pool as it is now, when what its status remembers may matter: the watch may be behind our own last write, and an
    /// order that is forgotten is given twice. `None` when it is gone.
    ///
    /// # Errors
    /// The hub refused or could not be reached.
    pub(super) async fn fresh(
        &self,
        pool: Arc<NodePool>,
        machines: &[Arc<Machine>],
    ) -> Result<Option<Arc<NodePool>>, Error> {
        let remembers =
            pool.status.as_ref().is_some_and(|status| !status.repairs.is_empty() || status.stopped.is_some());
        let well = |machine: &Arc<Machine>| {
            let status = machine.status.as_ref();
            status.is_some_and(|status| {
                status.phase == Some(MachinePhase::Ready)
                    && status.failure_signs.is_empty()
                    && status.stops.is_empty()
            })
        };
        if !remembers && machines.iter().all(well) {
            return Ok(Some(pool));
        }
        let key = Key::of(&*pool);
        let api: Api<NodePool> =
            Api::namespaced(self.config.client.clone(), key.namespace.as_deref().unwrap_or_default());
        let found = api.get_opt(&key.name).await;
        let found = found.map_err(|error| skep_kubeops::Error::api::<NodePool>("read", &key, error))?;
        Ok(found
            .filter(|found| {
                found.metadata.uid == pool.metadata.uid && found.metadata.deletion_timestamp.is_none()
            })
            .map(Arc::new))
    }

    /// Judges. New orders are in what it gives, and count when the status is written.
    ///
    /// # Errors
    /// The machines could not be listed once more.
    pub(super) async fn repair(
        &self,
        pool: &NodePool,
        cluster: Option<&Cluster>,
        outcome: &Outcome,
        machines: &mut Vec<Arc<Machine>>,
        now: Timestamp,
    ) -> Result<Judged, Error> {
        let orders = pool.status.as_ref().map(|status| status.repairs.as_slice()).unwrap_or_default();
        let Some(rules) = repair::rules(&pool.spec) else {
            return Ok(Judged { decision: None, orders: orders.to_vec(), new: 0, wake: None });
        };
        let sight = self.sight(pool, cluster);
        let mut orders = repair::kept(orders, machines, now);
        let ill = |machine: &Arc<Machine>| {
            matches!(repair::patient(machine, None).state, State::NotReady(_) | State::Joining(_))
        };
        let ill = machines.iter().any(ill);
        let sight = match sight {
            _ if matches!(outcome, Outcome::Paused) => {
                Sight::Blind(format!("cluster {} is paused", pool.spec.cluster))
            }
            // A process that has just begun: it need not say of all pools at once that it has not looked at them. Nothing
            // can follow from what begins now.
            Sight::Blind(_) if !ill && serves(cluster) => Sight::Since(now),
            sight => sight,
        };
        let blind = matches!(sight, Sight::Blind(_));
        let mut decision = self.decide(pool, outcome, &rules, &sight, machines, &orders, now);
        if !decision.orders.is_empty() {
            *machines = self.list(pool).await?;
            decision = self.decide(pool, outcome, &rules, &sight, machines, &orders, now);
        }
        let new = decision.orders.len();
        orders.extend(repair::written(&decision.orders, now));
        let mut calm = self.calm.lock().unwrap_or_else(PoisonError::into_inner);
        calm.insert(Key::of(pool), decision.calm.clone());
        drop(calm);
        let again = (blind && ill).then(|| now.checked_add(BLIND).unwrap_or(Timestamp::MAX));
        let wake = decision.wake.into_iter().chain(again).min();
        Ok(Judged { decision: Some(decision), orders, new, wake })
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "all that one decision is made of, asked for twice in a row"
    )]
    fn decide(
        &self,
        pool: &NodePool,
        outcome: &Outcome,
        rules: &Rules,
        sight: &Sight,
        machines: &[Arc<Machine>],
        orders: &[RepairOrder],
        now: Timestamp,
    ) -> Decision {
        let healthy = pool.status.as_ref().and_then(|status| status.healthy_template.as_ref());
        let trial = match outcome {
            Outcome::Planned(planned) if planned.trial != Trial::Healthy && healthy.is_some() => {
                Some(&planned.course.goal().template).filter(|goal| healthy != Some(*goal))
            }
            _ => None,
        };
        let patients: Vec<_> = machines.iter().map(|machine| repair::patient(machine, trial)).collect();
        let calm = self.calm.lock().unwrap_or_else(PoisonError::into_inner);
        let calm = calm.get(&Key::of(pool)).cloned().unwrap_or_default();
        decide(rules, sight, &calm, &patients, &repair::past(orders), now)
    }

    /// Whether the nodes can be seen.
    fn sight(&self, pool: &NodePool, cluster: Option<&Cluster>) -> Sight {
        let name = &pool.spec.cluster;
        if !serves(cluster) {
            return Sight::Blind(format!("cluster {name} does not serve"));
        }
        let namespace = pool.namespace().unwrap_or_default();
        match self.caches.watched.since(&Key::namespaced(namespace, name.as_str())) {
            Some(since) => Sight::Since(since),
            None => Sight::Blind(format!("the nodes of cluster {name} were not listed yet")),
        }
    }

    /// Tells and counts what was written down.
    pub(super) fn count(&self, pool: &NodePool, outcome: &Outcome, judged: &Judged) {
        let recorder = &self.config.recorder;
        for order in judged.orders.iter().rev().take(judged.new) {
            self.config.figures.ordered(order.action, order.because);
            let text = format!("{}: {} because of {}", order.machine, order.action, order.because);
            recorder.publish(pool, Severity::Warning, "RepairOrdered", "Repair", text);
        }
        if let Outcome::Planned(planned) = outcome
            && let Trial::Failed(machines) = &planned.trial
        {
            self.config.figures.stopped();
            let text = format!("machines that did not become healthy: {}", build::some(machines));
            recorder.publish(pool, Severity::Warning, "UpdateStopped", "Update", text);
        }
    }
}

fn serves(cluster: Option<&Cluster>) -> bool {
    let status = cluster.and_then(|cluster| cluster.status.as_ref());
    status.is_some_and(|status| condition::is_true(&status.conditions, ConditionType::Ready))
}
