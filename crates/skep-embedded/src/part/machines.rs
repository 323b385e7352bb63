//! Machines of an installation: real nodes for tenants on the host it runs on, where it may make them, and hollow ones,
//! which it always may. And those that people bring.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use kube::Client;
use skep_agent::config::PodNetwork;
use skep_api::Provider as Kind;
use skep_engine::Engine;
use skep_infra::{
    hollow::Hollow,
    local::{EnginePrograms, Local, Network, Settings},
    static_machines::StaticMachines,
};
use skep_node::{Infrastructure, Infrastructures, NodeCredentials};

use super::invitations::Secrets;

/// Port of the gateway on the machines' bridge. The address is the installation's own.
const PORT: u16 = 6443;
/// Port of the registry there; the usual one of registries.
const REGISTRY_PORT: u16 = 5000;

/// The machines of an installation.
#[derive(Clone)]
pub struct Machines {
    /// What the controllers of nodes work with.
    pub infrastructures: Infrastructures,
    /// Where the gateway serves them, when this host can have some: an address on their bridge, there from the first
    /// machine on.
    pub gateway: Option<SocketAddr>,
    /// Where they pull images from.
    pub registry: Option<SocketAddr>,
    /// Those that exist in APIs only, for whoever plays their nodes.
    pub hollow: Option<Hollow>,
    local: Option<Local>,
}

impl Machines {
    /// Looks whether this host can have machines; what it lacks is said by the first machine that somebody wants.
    pub async fn open(data: &Path, skep: PathBuf, engine: Engine) -> Self {
        match open(data, skep, engine).await {
            Ok((local, network)) => Self::with(local, &network),
            Err(why) => {
                tracing::info!(why, "no local machines");
                let infrastructures =
                    HashMap::from([Kind::Local, Kind::Hollow].map(|kind| (kind, Err(why.clone()))));
                Self { infrastructures, gateway: None, registry: None, hollow: None, local: None }
            }
        }
    }

    /// With hollow machines, whose records are in `dir`; `gateway` is where whoever plays them reaches the gateway.
    #[must_use]
    pub fn and_hollow(mut self, dir: &Path, gateway: String) -> Self {
        let hollow = Hollow::open(dir).map_err(|error| error.to_string());
        let infrastructure = hollow.clone().map(|hollow| Infrastructure {
            provider: Arc::new(hollow),
            gateway,
            pod_network: PodNetwork::None,
            registry: None,
            resolver: false,
            credentials: NodeCredentials::Shared,
        });
        self.infrastructures.insert(Kind::Hollow, infrastructure);
        self.hollow = hollow.ok();
        self
    }

    /// With machines that people bring; `gateway` is where those reach the gateway.
    #[must_use]
    pub fn and_static(mut self, hub: Client, gateway: String) -> Self {
        self.infrastructures.extend(brought(hub, gateway));
        self
    }

    fn with(local: Local, network: &Network) -> Self {
        let listen = SocketAddr::new(network.gateway().into(), PORT);
        let registry = SocketAddr::new(network.gateway().into(), REGISTRY_PORT);
        let infrastructure = Infrastructure {
            provider: Arc::new(local.clone()),
            gateway: format!("https://{listen}"),
            pod_network: PodNetwork::HostGw,
            registry: Some(format!("http://{registry}")),
            // They have no way out of this host.
            resolver: false,
            credentials: NodeCredentials::Own,
        };
        Self {
            infrastructures: HashMap::from([(Kind::Local, Ok(infrastructure))]),
            gateway: Some(listen),
            registry: Some(registry),
            hollow: None,
            local: Some(local),
        }
    }

    /// Ends every machine; they start again when the operator next looks at them.
    pub async fn halt(&self) {
        let Some(local) = &self.local else { return };
        if let Err(error) = local.halt().await {
            tracing::warn!(%error, "a machine was not ended");
        }
    }
}

/// Machines that people bring, which every operator can have; `gateway` is where those reach the gateway.
pub fn brought(hub: Client, gateway: String) -> Infrastructures {
    let infrastructure = Infrastructure {
        provider: Arc::new(StaticMachines::new(Arc::new(Secrets(hub)))),
        gateway,
        pod_network: PodNetwork::HostGw,
        registry: None,
        resolver: true,
        credentials: NodeCredentials::Own,
    };
    HashMap::from([(Kind::Static, Ok(infrastructure))])
}

async fn open(data: &Path, skep: PathBuf, engine: Engine) -> Result<(Local, Network), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("local machines need root: start the installation with `sudo skep up`".to_owned());
    }
    let network = Network::pick(data).map_err(|error| error.to_string())?;
    let programs = Arc::new(EnginePrograms::new(engine));
    let settings = Settings::new(data.to_owned(), skep, network.clone(), programs);
    let missing = Local::check(&settings).await;
    if !missing.is_empty() {
        let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
        return Err(missing.join("; "));
    }
    let local = Local::open(settings).map_err(|error| error.to_string())?;
    match local.sweep().await {
        Ok(0) => {}
        Ok(swept) => tracing::info!(swept, "removed what an earlier run left of machines"),
        Err(error) => tracing::warn!(%error, "what an earlier run left of machines is still there"),
    }
    Ok((local, network))
}
