//! What keeps others out and what keeps enough copies up.
//!
//! The tenant's namespace denies everything. API servers may be reached by anybody who reaches their port, because TLS
//! and client certificates decide there and the gateway may run anywhere; they may reach their datastore, the gateway (which
//! leads to the tenant's own nodes) and ask DNS. Controllers may reach the gateway. Nothing else: a tenant that makes its API server call an address (by an extension,
//! a webhook, an issuer) does not reach the cell's network.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use skep_api::{ControlPlane, labels};
use skep_plan::flags::Program;

use super::{Inputs, Workload, api_server};
use crate::names;

/// etcd's client port.
const ETCD_PORT: i32 = 2379;
/// Port of a gateway whose URL names none.
const HTTPS_PORT: i32 = 443;

/// A budget for a program with more than one copy: one at a time. A copy that is not ready may always be evicted, so
/// that a broken one never blocks the draining of a node.
pub(super) fn budget(owner: &ControlPlane, workload: &Workload) -> Option<PodDisruptionBudget> {
    (workload.replicas > 1).then(|| PodDisruptionBudget {
        metadata: names::meta(owner, workload.program.name()),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(names::selector(&owner.spec.tenant, workload.program)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}

/// The three policies.
pub(super) fn policies(inputs: &Inputs<'_>) -> Vec<NetworkPolicy> {
    let owner = inputs.owner;
    let tenant = &owner.spec.tenant;
    let both = ["Ingress", "Egress"].map(str::to_owned).to_vec();
    let policy = |name: &str, selector, ingress, egress| NetworkPolicy {
        metadata: names::meta(owner, name),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector),
            policy_types: Some(both.clone()),
            ingress,
            egress,
        }),
    };
    let from_anywhere = NetworkPolicyIngressRule { ports: Some(vec![tcp(api_server::PORT)]), from: None };
    let to_datastore = NetworkPolicyEgressRule {
        ports: Some(vec![tcp(ETCD_PORT)]),
        to: Some(vec![in_namespace(&owner.spec.datastore.namespace)]),
    };
    let to_gateway =
        NetworkPolicyEgressRule { ports: Some(vec![tcp(port_of(&inputs.cell.gateway))]), to: None };
    let controllers = LabelSelector {
        match_labels: Some(names::map([(labels::TENANT, tenant)])),
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: labels::COMPONENT.to_owned(),
            operator: "In".to_owned(),
            values: Some(
                [Program::KubeControllerManager, Program::KubeScheduler]
                    .map(|p| p.name().to_owned())
                    .to_vec(),
            ),
        }]),
    };
    vec![
        policy(names::DENY, LabelSelector::default(), None, None),
        policy(
            Program::KubeApiserver.name(),
            names::selector(tenant, Program::KubeApiserver),
            Some(vec![from_anywhere]),
            Some(vec![to_datastore, to_gateway.clone(), dns()]),
        ),
        policy(names::CONTROLLERS, controllers, None, Some(vec![to_gateway, dns()])),
    ]
}

fn in_namespace(name: &str) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector {
            match_labels: Some(names::map([("kubernetes.io/metadata.name", name)])),
            match_expressions: None,
        }),
        ..NetworkPolicyPeer::default()
    }
}

fn dns() -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule { ports: Some(vec![port("UDP", 53), tcp(53)]), to: None }
}

fn tcp(number: i32) -> NetworkPolicyPort {
    port("TCP", number)
}

fn port(protocol: &str, number: i32) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(number)),
        end_port: None,
    }
}

/// The port of a URL like `https://host:6443/`.
fn port_of(url: &str) -> i32 {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
    let (_, port) = authority.rsplit_once(':').unwrap_or_default();
    port.parse().unwrap_or(HTTPS_PORT)
}
