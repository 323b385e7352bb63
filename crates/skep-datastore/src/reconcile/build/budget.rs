//! What drains and upgrades of the cell's nodes may do to members.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::validate::Wanted;
use super::access::{matching, selector};

/// One member may be evicted at a time. With a single member that is an outage of a few seconds for its tenants, which
/// their API servers wait out; forbidding it would stop every upgrade of the node for ever.
pub(super) fn disruption_budget(wanted: &Wanted) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: wanted.meta(wanted.name.as_str()),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(matching(selector(wanted))),
            // A member that does not serve anyway must not block the drain that may repair it.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
