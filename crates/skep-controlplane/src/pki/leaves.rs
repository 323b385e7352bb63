//! The certificates of a control plane, one function each, and the bench they are made on.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use skep_api::ControlPlaneSpec;
use skep_pki::{Ensured, KeyPair, Leaf, Reason};
use skep_plan::egress::tunnel;
use skep_plan::flags::Program;
use skep_plan::network::Checked;

use super::{Authorities, Data, Stored};
use crate::Error;

/// Life of every leaf: renewed after eight months at the latest.
pub(super) const LEAF_LIFE: Duration = Duration::from_secs(365 * 86_400);
/// Life of what the API server shows to the gateway's tunnels. Upstream reads it once, so that a renewal replaces the API
/// servers: rarely, and others' upgrades come first.
const TUNNEL_LIFE: Duration = Duration::from_secs(5 * 365 * 86_400);
/// Upstream's group of those who may do everything, also without any role.
const MASTERS: &str = "system:masters";

/// The API server's serving certificate: the name the gateway routes by, and the names and addresses by which pods of
/// the tenant cluster find it.
pub(super) fn api_server(spec: &ControlPlaneSpec, ranges: &Checked) -> Leaf {
    Leaf::server("kube-apiserver", LEAF_LIFE)
        .dns(&spec.endpoint.host)
        .dns("kubernetes")
        .dns("kubernetes.default")
        .dns("kubernetes.default.svc")
        .dns(format!("kubernetes.default.svc.{}", spec.network.cluster_domain))
        .address(ranges.api_service)
        .address(ranges.api_server)
}

/// What the API server shows to kubelets. They ask it back whether the user may, hence the group.
pub(super) fn kubelet_client() -> Leaf {
    Leaf::client("kube-apiserver-kubelet-client", LEAF_LIFE).organization(MASTERS)
}

/// What the API server shows to extension API servers; the name is in `--requestheader-allowed-names`.
pub(super) fn front_proxy() -> Leaf {
    Leaf::client(FRONT_PROXY_NAME, LEAF_LIFE)
}

/// Common name of the front proxy's certificate.
pub const FRONT_PROXY_NAME: &str = "front-proxy-client";

/// What the API server shows to the gateway's tunnels. At the door the gateway looks here for the tenant's name, and then
/// for whether the tenant's authority signed it.
pub(super) fn tunnel_client(tenant: &str) -> Leaf {
    Leaf::client("kube-apiserver-tunnel", TUNNEL_LIFE).organization(tenant)
}

/// What the gateway shows under the names of the tenant's tunnels. Signed by the cluster's authority, which node agents
/// know anyway; the names are nobody else's, so that it is good for nothing else.
pub(super) fn tunnel_server(spec: &ControlPlaneSpec) -> Leaf {
    Leaf::server("tunnel", LEAF_LIFE)
        .dns(tunnel::server_name(&spec.endpoint.host))
        .dns(tunnel::server_name(&spec.tenant))
}

/// What a controller shows to the API server; upstream's bootstrap roles are bound to these users.
pub(super) fn controller(program: Program) -> Leaf {
    Leaf::client(format!("system:{program}"), LEAF_LIFE)
}

/// What a controller shows to whoever asks for its health or metrics. Given, it spares the program the making of an RSA
/// key at every start.
pub(super) fn metrics_server(program: Program) -> Leaf {
    Leaf::server(program.name(), LEAF_LIFE).dns(program.name())
}

/// What the owner of the cluster shows.
pub(super) fn admin() -> Leaf {
    Leaf::client("admin", LEAF_LIFE).organization(MASTERS)
}

/// Which authority signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signer {
    Cluster,
    FrontProxy,
    Tunnel,
}

/// Keeps or issues one certificate after the other and notes what happened.
pub(super) struct Bench<'a> {
    authorities: &'a Authorities,
    stored: &'a Stored,
    now: Timestamp,
    pub(super) news: Vec<(String, Reason)>,
    pub(super) renewal: Option<Timestamp>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(authorities: &'a Authorities, stored: &'a Stored, now: Timestamp) -> Self {
        Self { authorities, stored, now, news: Vec::new(), renewal: None }
    }

    /// Keeps or issues the certificate `stem` of Secret `secret` and puts it into `data`.
    pub(super) fn place(
        &mut self,
        data: &mut Data,
        secret: &str,
        stem: &str,
        signer: Signer,
        leaf: &Leaf,
    ) -> Result<(), Error> {
        let existing = self.stored.pair(secret, stem);
        let pair = self.ensure(secret, stem, signer, leaf, existing)?;
        data.put_pair(stem, &pair);
        Ok(())
    }

    /// Keeps `existing` or issues a new one.
    pub(super) fn ensure(
        &mut self,
        secret: &str,
        stem: &str,
        signer: Signer,
        leaf: &Leaf,
        existing: Option<KeyPair>,
    ) -> Result<KeyPair, Error> {
        let authority = match signer {
            Signer::Cluster => self.authorities.cluster.signer()?,
            Signer::FrontProxy => self.authorities.front_proxy.signer()?,
            Signer::Tunnel => self.authorities.tunnel.signer()?,
        };
        let Ensured { pair, issued, renewal } = authority.ensure(existing.as_ref(), leaf, self.now)?;
        self.news.extend(issued.map(|why| (format!("{secret}/{stem}"), why)));
        self.renewal = Some(self.renewal.map_or(renewal, |before| before.min(renewal)));
        Ok(pair)
    }
}
