//! Pure: what is ordered from an infrastructure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use kube::ResourceExt as _;
use skep_agent::config::{ClusterFacts, Join};
use skep_api::{ControlPlane, Machine, labels};
use skep_infra::Order;
use skep_plan::network;
use skep_plan::node_pool::Node;

use crate::Infrastructure;

/// Upstream's label with the kind of machine a node is on; a kubelet may set it on its own node.
const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";
/// The DNS Service has the tenth address of the range everywhere (kubeadm: `GetDNSIP`).
const DNS: u32 = 10;

/// The order of a machine. `token` is empty for a node that has joined: it has credentials of its own.
///
/// # Errors
/// A sentence that says why the cluster's network cannot be used; its own controller refuses such a one before.
pub(super) fn build(
    machine: &Machine,
    node: &Node,
    control_plane: &ControlPlane,
    infrastructure: &Infrastructure,
    authorities: &str,
    token: String,
) -> Result<Order, String> {
    let network = &control_plane.spec.network;
    let ranges = network::check(network).map_err(|refused| refused.to_string())?;
    let cluster = ClusterFacts {
        server: infrastructure.gateway.clone(),
        host: control_plane.spec.endpoint.host.clone(),
        authorities: authorities.to_owned(),
        api_server_address: ranges.api_server,
        service_cidr: network.service_cidr.clone(),
        pod_cidr: network.pod_cidr.clone(),
        cluster_domain: network.cluster_domain.clone(),
        cluster_dns: dns(control_plane)?,
        pod_network: network.pod_network.unwrap_or(infrastructure.pod_network),
        kube_proxy: network.kube_proxy.unwrap_or_default(),
    };
    let name = machine.name_any();
    let join = Join {
        node: name.clone(),
        cluster,
        token,
        template: node.template.clone(),
        zone: machine.spec.zone.clone(),
        labels: given(machine),
        capacity: node.class.capacity.clone(),
        registry: infrastructure.registry.clone(),
    };
    Ok(Order {
        uid: machine.metadata.uid.clone().unwrap_or_default(),
        name,
        namespace: machine.namespace().unwrap_or_default(),
        cluster: machine.spec.cluster.clone(),
        zone: machine.spec.zone.clone(),
        class: node.class.clone(),
        version: node.version.clone(),
        join,
    })
}

/// Address of the DNS Service.
///
/// # Errors
/// As [`build`].
pub(super) fn dns(control_plane: &ControlPlane) -> Result<Ipv4Addr, String> {
    let ranges = network::check(&control_plane.spec.network).map_err(|refused| refused.to_string())?;
    Ok(Ipv4Addr::from(u32::from(ranges.api_service) - 1 + DNS))
}

/// Labels that a node has because of its machine.
fn given(machine: &Machine) -> BTreeMap<String, String> {
    let pool = machine.labels().get(labels::POOL).map(|pool| (labels::POOL.to_owned(), pool.clone()));
    let class = (INSTANCE_TYPE.to_owned(), machine.spec.template.machine_class.clone());
    pool.into_iter().chain([class]).collect()
}
