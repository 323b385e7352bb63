//! What the tunnel of a node has to know.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use skep_plan::egress::tunnel;
use tokio::sync::watch;

use super::dial::{Dial, FromHere};
use crate::config::ClusterFacts;

/// Everything [`serve`](super::serve) is told.
#[derive(Clone)]
pub struct Settings {
    /// Name of the node, for logs; the gateway takes it from the certificate.
    pub node: String,
    /// The gateway as the node reaches it, host and port.
    pub gateway: String,
    /// The server name of the cluster's tunnels.
    pub server_name: String,
    /// The cluster's authorities, PEM: the gateway's certificate for the server name is theirs.
    pub authorities: String,
    /// The kubelet's client certificate with its key, as the kubelet keeps it
    /// (`<kubelet root>/pki/kubelet-client-current.pem`). It may appear later.
    pub credentials: PathBuf,
    /// Addresses at which the API server dials this node's kubelet; at most
    /// [`MAX_ADDRESSES`](super::wire::MAX_ADDRESSES) count.
    pub addresses: Vec<IpAddr>,
    /// Who connects to targets.
    pub dial: Arc<dyn Dial>,
    /// How long for what.
    pub timing: Timing,
    pub(super) status: watch::Sender<Status>,
}

/// Bounds in time.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// From dialling a gateway to its greeting.
    pub connect: Duration,
    /// Between two questions whether the gateway is still there.
    pub keepalive: Duration,
    /// For the answer.
    pub pong: Duration,
    /// How long open streams go on after the agent was told to stop.
    pub drain: Duration,
    /// How long a stream goes on without traffic after one side has said everything.
    pub half_closed: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            keepalive: Duration::from_secs(30),
            pong: Duration::from_secs(15),
            drain: Duration::from_secs(5),
            half_closed: Duration::from_secs(60),
        }
    }
}

/// How the tunnel stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Gateways it is connected to and that still take connections from API servers.
    pub connected: usize,
    /// Gateways there are, as far as one of them has said.
    pub wanted: usize,
    /// Why the last try failed, with its code; nothing while it is connected to every gateway.
    pub trouble: Option<String>,
}

impl Settings {
    /// The tunnel of a node of this cluster, which has these addresses and keeps its client certificate in this file.
    #[must_use]
    pub fn new(
        cluster: &ClusterFacts,
        node: impl Into<String>,
        addresses: Vec<IpAddr>,
        credentials: impl Into<PathBuf>,
    ) -> Self {
        Self::to(
            tunnel::authority(&cluster.server),
            tunnel::server_name(&cluster.host),
            cluster.authorities.clone(),
            node,
            addresses,
            credentials,
        )
    }

    /// The same without a cluster's facts: to which gateway (host and port), and under which server name.
    #[must_use]
    pub fn to(
        gateway: impl Into<String>,
        server_name: impl Into<String>,
        authorities: impl Into<String>,
        node: impl Into<String>,
        addresses: Vec<IpAddr>,
        credentials: impl Into<PathBuf>,
    ) -> Self {
        Self {
            node: node.into(),
            gateway: gateway.into(),
            server_name: server_name.into(),
            authorities: authorities.into(),
            credentials: credentials.into(),
            addresses,
            dial: Arc::new(FromHere::default()),
            timing: Timing::default(),
            status: watch::Sender::new(Status { wanted: 1, ..Status::default() }),
        }
    }

    /// How the tunnel stands, from now on.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("node", &self.node)
            .field("gateway", &self.gateway)
            .field("server_name", &self.server_name)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}
