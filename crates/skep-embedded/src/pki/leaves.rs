//! The table of certificates: who is who towards whom.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use skep_pki::Leaf;

use super::name;

/// Life of a certificate whose program reads it again when it changes.
const LIFE: Duration = Duration::from_secs(365 * 86_400);
/// Life of a certificate of a part of this process, which uses it until it ends: renewed at a start.
const LIFE_INSIDE: Duration = Duration::from_secs(10 * 365 * 86_400);

/// An authority of the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AuthorityName {
    Hub,
    FrontProxy,
    Etcd,
    Nodes,
}

impl AuthorityName {
    pub(super) const ALL: [Self; 4] = [Self::Hub, Self::FrontProxy, Self::Etcd, Self::Nodes];

    /// File name without extension.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Hub => "hub-ca",
            Self::FrontProxy => "front-proxy-ca",
            Self::Etcd => "etcd-ca",
            Self::Nodes => "nodes-ca",
        }
    }

    pub(super) fn common_name(self) -> &'static str {
        match self {
            Self::Hub => "skep hub",
            Self::FrontProxy => "skep hub front proxy",
            Self::Etcd => "skep hub etcd",
            Self::Nodes => "skep hub nodes",
        }
    }
}

/// A wanted certificate.
pub(super) struct Wanted {
    pub(super) file: String,
    pub(super) authority: AuthorityName,
    pub(super) leaf: Leaf,
}

/// User of the operator.
pub(crate) const OPERATOR_USER: &str = "skep:operator";
/// User of the gateway.
pub(crate) const GATEWAY_USER: &str = "skep:gateway";
/// User of the virtual nodes of this process, which share one connection and its watches. Upstream's Node authorizer
/// is for nodes that have nothing in common.
pub(crate) const NODES_USER: &str = "skep:nodes";
/// User as which the API server calls the nodes.
pub(crate) const API_SERVER_USER: &str = "skep:hub-apiserver";

/// Every certificate of an installation with nodes at these addresses.
pub(super) fn leaves(nodes: &[IpAddr]) -> Vec<Wanted> {
    let here = Ipv4Addr::LOCALHOST;
    let client = |user: &str| Leaf::client(user, LIFE);
    let inside = |user: &str| Leaf::client(user, LIFE_INSIDE);
    // In the order of the way of a request: API server, its clients, etcd, nodes.
    let fixed = [
        (
            name::API_SERVER,
            AuthorityName::Hub,
            ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
                .into_iter()
                .fold(Leaf::server("skep-hub", LIFE).address(here), Leaf::dns),
        ),
        // The one superuser: what is in the administrator's kubeconfig.
        (name::ADMIN, AuthorityName::Hub, client("skep:admin").organization("system:masters")),
        (name::CONTROLLER_MANAGER, AuthorityName::Hub, client("system:kube-controller-manager")),
        (name::SCHEDULER, AuthorityName::Hub, client("system:kube-scheduler")),
        (name::OPERATOR, AuthorityName::Hub, inside(OPERATOR_USER)),
        (name::GATEWAY, AuthorityName::Hub, inside(GATEWAY_USER)),
        (name::FRONT_PROXY, AuthorityName::FrontProxy, client("front-proxy-client")),
        (name::ETCD, AuthorityName::Etcd, Leaf::both("etcd", LIFE).address(here).dns("localhost")),
        (name::API_SERVER_TO_ETCD, AuthorityName::Etcd, client("kube-apiserver")),
        (name::API_SERVER_TO_NODES, AuthorityName::Nodes, client(API_SERVER_USER)),
        (name::NODES, AuthorityName::Hub, inside(NODES_USER)),
        (
            name::NODES_ENDPOINT,
            AuthorityName::Nodes,
            nodes.iter().fold(Leaf::server("skep-nodes", LIFE_INSIDE).dns("localhost"), |leaf, node| {
                leaf.address(*node)
            }),
        ),
    ];
    fixed
        .into_iter()
        .map(|(file, authority, leaf)| Wanted { file: file.to_owned(), authority, leaf })
        .collect()
}
