//! What the controllers are told.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use skep_agent::config::PodNetwork;
use skep_kubeops::{Metrics, Recorder};

use crate::repair::Figures;
use crate::tenants::{Connect, connect};

/// Tenants whose API servers are followed at once, if not set. Each costs a connection and two watches.
const TENANTS: usize = 512;

/// An infrastructure that is at hand, and what its machines have to know of this installation.
#[derive(Clone)]
pub struct Infrastructure {
    /// Makes machines.
    pub provider: Arc<dyn skep_infra::Provider>,
    /// URL of the gateway as its machines reach it, like `https://198.19.3.1:6443`.
    pub gateway: String,
    /// How pods of its nodes reach each other where their cluster does not say.
    pub pod_network: PodNetwork,
    /// URL of the registry that its machines pull all images from, if there is one.
    pub registry: Option<String>,
    /// Whether its machines can resolve names outside of their cluster.
    pub resolver: bool,
    /// How its nodes prove who they are.
    pub credentials: NodeCredentials,
}

/// How the nodes of an infrastructure prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeCredentials {
    /// Each joins with a token of its own and gets certificates of its own.
    Own,
    /// Whoever plays them has one credential for all of a cluster ([`crate::hollow`]).
    Shared,
}

/// What there is for each kind of infrastructure: it, or a sentence that says why it is not at hand and what to do. A kind
/// that is not named is not part of this program.
pub type Infrastructures = HashMap<skep_api::Provider, Result<Infrastructure, String>>;

/// Says what time it is. Tests put another one here.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What the controllers need to know beside the objects.
#[derive(Clone)]
pub struct Config {
    /// Client of the hub.
    pub client: kube::Client,
    /// Where machines come from.
    pub infrastructures: Arc<Infrastructures>,
    /// URL of the gateway as this program reaches it.
    pub gateway: String,
    /// How tenants' API servers are reached there.
    pub connect: Connect,
    /// Tenants followed at once at most.
    pub tenants: usize,
    /// Where reconciles are counted.
    pub metrics: Metrics,
    /// Where events go.
    pub recorder: Recorder,
    /// What time it is.
    pub clock: Clock,
    /// What is counted beside reconciles.
    pub figures: Figures,
}

impl Config {
    /// A configuration with these infrastructures and the usual ways. `gateway` is as this program reaches it.
    pub fn new(
        client: kube::Client,
        gateway: String,
        infrastructures: Infrastructures,
        metrics: Metrics,
        recorder: Recorder,
    ) -> Self {
        let figures = Figures::default();
        metrics.register(|registry| figures.register(registry));
        Self {
            client,
            infrastructures: Arc::new(infrastructures),
            gateway,
            connect: connect(),
            tenants: TENANTS,
            metrics,
            recorder,
            clock: Arc::new(Timestamp::now),
            figures,
        }
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The infrastructure of this kind.
    ///
    /// # Errors
    /// A sentence that says why it is not at hand.
    pub(crate) fn infrastructure(&self, kind: skep_api::Provider) -> Result<&Infrastructure, String> {
        match self.infrastructures.get(&kind) {
            Some(Ok(infrastructure)) => Ok(infrastructure),
            Some(Err(why)) => Err(why.clone()),
            None => Err(format!(
                "this operator has no infrastructure {kind}: machines of that kind belong to an installation of `skep up`"
            )),
        }
    }
}
