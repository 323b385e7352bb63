//! How members are found, and who may reach them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use skep_api::labels;

use super::super::validate::{CLIENT_PORT, METRICS_PORT, PEER_PORT, Wanted};

/// Label that every namespace carries with its own name.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Port of DNS.
const DNS: u16 = 53;

/// The headless Service that gives the member its DNS name. It names the member before it is ready: etcd looks its own
/// name up while it starts.
pub(super) fn service(wanted: &Wanted) -> Service {
    let port = |name: &str, port: u16| ServicePort {
        name: Some(name.to_owned()),
        port: port.into(),
        ..Default::default()
    };
    Service {
        metadata: wanted.meta(wanted.name.as_str()),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            ports: Some(vec![port("client", CLIENT_PORT), port("peer", PEER_PORT)]),
            selector: Some(selector(wanted)),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// Only API servers and the operator's namespace reach the client port, only members the peer port. The member itself
/// calls other members and DNS.
pub(super) fn network_policy(wanted: &Wanted) -> NetworkPolicy {
    let members = pods(selector(wanted));
    let api_servers = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        ..pods(labelled(&[(labels::COMPONENT, labels::component::API_SERVER)]))
    };
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(matching(labelled(&[(NAMESPACE_NAME, &wanted.namespace)]))),
        ..NetworkPolicyPeer::default()
    };
    let ingress = |from: Vec<NetworkPolicyPeer>, to: &[u16]| NetworkPolicyIngressRule {
        from: Some(from),
        ports: Some(to.iter().map(|p| port("TCP", *p)).collect()),
    };
    NetworkPolicy {
        metadata: wanted.meta(wanted.name.as_str()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(matching(selector(wanted))),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![
                ingress(vec![api_servers], &[CLIENT_PORT]),
                ingress(vec![operator], &[CLIENT_PORT, METRICS_PORT]),
                ingress(vec![members.clone()], &[PEER_PORT]),
            ]),
            egress: Some(vec![
                NetworkPolicyEgressRule {
                    to: Some(vec![members]),
                    ports: Some(vec![port("TCP", PEER_PORT)]),
                },
                NetworkPolicyEgressRule { to: None, ports: Some(vec![port("UDP", DNS), port("TCP", DNS)]) },
            ]),
        }),
    }
}

/// Labels that only this datastore's members carry in their namespace.
pub(super) fn selector(wanted: &Wanted) -> BTreeMap<String, String> {
    labelled(&[(labels::COMPONENT, labels::component::ETCD), (labels::DATASTORE, &wanted.name)])
}

/// A selector for exactly these labels.
pub(super) fn matching(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}

fn labelled(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn pods(labels: BTreeMap<String, String>) -> NetworkPolicyPeer {
    NetworkPolicyPeer { pod_selector: Some(matching(labels)), ..NetworkPolicyPeer::default() }
}

fn port(protocol: &str, port: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(port.into())),
        ..NetworkPolicyPort::default()
    }
}
