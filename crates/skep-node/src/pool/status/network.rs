//! What people are told of the pod network of a pool's nodes.

use skep_agent::config::PodNetwork;
use skep_api::condition::ConditionStatus;

/// Whether it enforces NetworkPolicies. Tenants' policies are not looked at: what holds for the network holds for all.
pub(super) fn policies(network: PodNetwork) -> (ConditionStatus, &'static str, String) {
    let cni = match network {
        PodNetwork::HostGw => "host-gw",
        PodNetwork::Vxlan => "vxlan",
        PodNetwork::None => {
            let message = "the CNI of these nodes was not installed by Skep: whether NetworkPolicies are enforced is \
                           up to it";
            return (ConditionStatus::Unknown, "OtherCni", message.to_owned());
        }
    };
    let message = format!(
        "NetworkPolicies have no effect on these nodes: their CNI ({cni}) does not enforce them, so every pod reaches \
         every other; who needs them installs something in the cluster that enforces them beside any CNI"
    );
    (ConditionStatus::False, "CniWithoutPolicies", message)
}
