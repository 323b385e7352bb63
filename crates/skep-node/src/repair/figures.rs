//! What is counted of repairs and updates.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use skep_api::{RepairAction, RepairCause};

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was carried out.
    Done,
    /// There was no reason for it any more.
    NotNeeded,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ordered {
    action: &'static str,
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Done {
    action: &'static str,
    outcome: &'static str,
}

/// The figures of one process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    ordered: Family<Ordered, Counter>,
    done: Family<Done, Counter>,
    stopped: Counter,
}

impl Figures {
    /// Adds them to a registry.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("node_repairs_ordered", "Repairs of nodes that were decided", self.ordered.clone());
        registry.register("node_repairs", "Repairs of nodes that ended, by outcome", self.done.clone());
        let stopped = "Updates of node pools that were stopped because machines did not become healthy";
        registry.register("node_updates_stopped", stopped, self.stopped.clone());
    }

    pub(crate) fn ordered(&self, action: RepairAction, cause: RepairCause) {
        let cause = match cause {
            RepairCause::NotReady => "NotReady",
            RepairCause::NeverJoined => "NeverJoined",
            RepairCause::FailureSign => "FailureSign",
            RepairCause::Flapping => "Flapping",
        };
        self.ordered.get_or_create(&Ordered { action: name(action), cause }).inc();
    }

    pub(crate) fn done(&self, action: RepairAction, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Done => "Done",
            Outcome::NotNeeded => "NotNeeded",
        };
        self.done.get_or_create(&Done { action: name(action), outcome }).inc();
    }

    pub(crate) fn stopped(&self) {
        self.stopped.inc();
    }
}

fn name(action: RepairAction) -> &'static str {
    match action {
        RepairAction::Reboot => "Reboot",
        RepairAction::Replace => "Replace",
        RepairAction::Evacuate => "Evacuate",
    }
}
