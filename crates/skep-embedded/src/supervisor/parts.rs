//! The parts that run inside the supervisor's own process: nodes, gateway, operator.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use skep_autoscaler::component::Offer;
use skep_engine::Engine;
use skep_gateway::{Config, CurrentMetrics, Gateway, GatewayError, config::Timeouts};
use skep_kubeops::{Metrics, health::Health};
use skep_plan::address::PodNetwork;
use skep_vnode::server::KubeletTls;
use tokio::{sync::Mutex, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    prepare::{self, Prepared},
    start::client,
};
use crate::{
    Error, Result,
    board::Board,
    hub::Hub,
    listeners,
    network::NODE_PORT,
    node_proxy::NodeProxy,
    part::{
        Part, gateway, hollow,
        machines::Machines,
        nodes::{self, NodeName},
        operator, registry,
    },
    pki::{API_SERVER_USER, name},
    ports::Purpose,
};

/// For the nodes to tell how the pods of the run before stand: one short request for each of them.
const REPORT: Duration = Duration::from_secs(30);
/// How long clients' connections go on when the installation stops. Their API servers have ended by then: what is open
/// waits for one, or for a client that does not close its half.
const GATEWAY_SHUTDOWN: Duration = Duration::from_secs(1);

/// The parts, each with its own end.
pub struct Parts {
    board: Board,
    metrics: Metrics,
    /// What lives as long as the API server: the way to the nodes, metrics.
    services: TaskTracker,
    end: CancellationToken,
    nodes: Vec<Part>,
    gateway: Option<Part>,
    registry: Option<Part>,
    machines: Option<Machines>,
    operator: Option<Part>,
    hollow: Option<Part>,
}

impl Parts {
    pub(super) fn new(board: Board) -> Self {
        Self {
            board,
            metrics: Metrics::new(),
            services: TaskTracker::new(),
            end: CancellationToken::new(),
            nodes: Vec::new(),
            gateway: None,
            registry: None,
            machines: None,
            operator: None,
            hollow: None,
        }
    }

    /// Opens the API server's way to the nodes: it must be there before the API server starts.
    pub(super) fn way_to_nodes(&mut self, prepared: &Prepared) -> Result<()> {
        let nodes = prepare::node_addresses(prepared.net)?.into_iter().map(|node| (node, NODE_PORT).into());
        let proxy = NodeProxy::bind(&prepared.instance_name, nodes.collect())?;
        self.services.spawn(proxy.run(self.end.clone()));
        Ok(())
    }

    /// Starts all parts.
    pub(super) async fn start(&mut self, prepared: &Prepared, engine: &Engine) -> Result<()> {
        let metrics_at = prepared.hub.ports.address(Purpose::Metrics)?;
        Health::new(self.metrics.clone())
            .serve(metrics_at, self.end.clone())
            .await
            .map_err(|error| part("metrics", &error))?;
        let figures = gateway::figures(&self.metrics);
        let layout = &prepared.hub.layout;
        let skep = std::env::current_exe().map_err(|error| part("nodes of tenants", &error))?;
        let machines = Machines::open(&layout.machines(), skep, engine.clone()).await;
        let hub = client(&self.kubeconfig(prepared, name::OPERATOR)?, operator::NAME).await?;
        let machines = machines
            .and_hollow(&layout.hollow(), operator::inside(prepared.gateway))
            .and_static(hub, prepared.gateway_url.clone());
        // Who connects from now on waits until the gateway runs.
        let config = gateway_config(prepared, machines.gateway);
        let gateway = gateway::bind(config.clone(), &figures).map_err(|error| taken(&error))?;
        // Who acts on pods must not act on what they were before the installation was stopped.
        let reported = self.start_nodes(prepared, engine).await?;
        if timeout(REPORT, reported.cancelled()).await.is_err() {
            let warning =
                "the nodes have not told yet how all their pods stand; some may look ready for a while";
            tracing::warn!(warning);
            self.board.update(|snapshot| snapshot.warnings.push(warning.to_owned()));
        }
        self.start_gateway(prepared, gateway, config, figures).await?;
        self.start_registry(prepared, engine, &machines);
        self.start_operator(prepared, &machines).await?;
        self.start_hollow(prepared, &machines).await?;
        self.machines = Some(machines);
        Ok(())
    }

    fn start_registry(&mut self, prepared: &Prepared, engine: &Engine, machines: &Machines) {
        let Some(address) = machines.registry else { return };
        let (images, engine) = (prepared.hub.layout.images(), engine.clone());
        self.registry = Some(Part::keep(self.board.clone(), "registry", move |stop| {
            let (images, engine) = (images.clone(), engine.clone());
            async move { registry::run(address, &images, engine, stop).await }
        }));
    }

    async fn start_hollow(&mut self, prepared: &Prepared, machines: &Machines) -> Result<()> {
        let Some(provider) = machines.hollow.clone() else { return Ok(()) };
        let client = client(&self.kubeconfig(prepared, name::OPERATOR)?, operator::NAME).await?;
        let file = prepared.hub.layout.hollow_config();
        self.hollow = Some(Part::keep(self.board.clone(), "hollow-nodes", move |stop| {
            let (client, provider, file) = (client.clone(), provider.clone(), file.clone());
            async move {
                let config = hollow::config(&file)?;
                hollow::run(client, skep_node::connect(), provider, config, stop).await;
                Ok(())
            }
        }));
        Ok(())
    }

    async fn start_gateway(
        &mut self,
        prepared: &Prepared,
        bound: Gateway,
        config: Config,
        figures: CurrentMetrics,
    ) -> Result<()> {
        let client = client(&self.kubeconfig(prepared, name::GATEWAY)?, gateway::NAME).await?;
        // The first run has the socket that was opened here; should it end, the next one opens its own.
        let bound = Arc::new(Mutex::new(Some(bound)));
        self.gateway = Some(Part::keep(self.board.clone(), "gateway", move |stop| {
            let (client, figures, bound, config) =
                (client.clone(), figures.clone(), Arc::clone(&bound), config.clone());
            async move {
                let bound: Option<Gateway> = bound.lock().await.take();
                let bound = match bound {
                    Some(bound) => bound,
                    None => gateway::bind(config, &figures).map_err(|error| error.to_string())?,
                };
                gateway::run(bound, client, stop).await.map_err(|error| error.to_string())
            }
        }));
        Ok(())
    }

    /// Returns what is cancelled when the nodes have told how the pods of the run before stand.
    async fn start_nodes(&mut self, prepared: &Prepared, engine: &Engine) -> Result<CancellationToken> {
        let client = client(&self.kubeconfig(prepared, name::NODES)?, nodes::NAME).await?;
        let Hub { layout, pki, .. } = &prepared.hub;
        let pair = pki.pair(name::NODES_ENDPOINT)?;
        let tls = KubeletTls::from_pem(&pair.cert_pem, pair.key_pem.as_str(), pki.nodes_ca_pem())
            .map_err(|error| Error::Pki(error.to_string()))?;
        let settings = nodes::Settings {
            nodes: (0..)
                .zip(prepare::NODES)
                .map(|(index, (name, zone))| NodeName {
                    name: name.to_owned(),
                    zone: zone.to_owned(),
                    index,
                    dir: layout.node(name),
                })
                .collect(),
            instance: prepared.instance_name.clone(),
            net: prepared.net,
            data_dir: layout.root().to_owned(),
            volumes: layout.volumes(),
            tls,
            api_server: API_SERVER_USER.to_owned(),
            alone: true,
            engine: engine.clone(),
            halt: true,
            reported: CancellationToken::new(),
        };
        let reported = settings.reported.clone();
        self.nodes.push(Part::keep(self.board.clone(), "nodes", move |stop| {
            nodes::run(client.clone(), settings.clone(), stop)
        }));
        Ok(reported)
    }

    async fn start_operator(&mut self, prepared: &Prepared, machines: &Machines) -> Result<()> {
        let client = client(&self.kubeconfig(prepared, name::OPERATOR)?, operator::NAME).await?;
        let settings = operator::Settings {
            domain: skep_api::DEFAULT_DOMAIN.to_owned(),
            gateway: prepared.gateway_url.clone(),
            gateway_inside: operator::inside(prepared.gateway),
            starts: starts(),
            network: PodNetwork::Loopback(prepared.net),
            infrastructures: machines.infrastructures.clone(),
            autoscaler: Some(autoscaler(prepared)?),
            instance: "embedded".to_owned(),
        };
        let metrics = self.metrics.clone();
        self.operator = Some(Part::keep(self.board.clone(), "operator", move |stop| {
            let run = operator::run(client.clone(), settings.clone(), metrics.clone(), stop);
            async move {
                run.await;
                Ok(())
            }
        }));
        Ok(())
    }

    fn kubeconfig(&self, prepared: &Prepared, name: &str) -> Result<String> {
        prepared.hub.pki.kubeconfig(name, &prepared.hub.server()?)
    }

    pub(super) async fn stop_operator(&mut self) {
        for part in [self.operator.take(), self.hollow.take()].into_iter().flatten() {
            part.stop().await;
        }
        // Nobody starts machines any more.
        if let Some(machines) = self.machines.take() {
            machines.halt().await;
        }
    }

    /// The nodes halt their pods: the next start goes on with them.
    pub(super) async fn stop_nodes(&mut self) {
        futures::future::join_all(self.nodes.drain(..).map(Part::stop)).await;
    }

    pub(super) async fn stop_gateway(&mut self) {
        let parts = [self.gateway.take(), self.registry.take()];
        futures::future::join_all(parts.into_iter().flatten().map(Part::stop)).await;
        self.end.cancel();
        self.services.close();
        self.services.wait().await;
    }
}

/// Pods are processes of this host: they reach this process on loopback, and their images are the engine's.
fn autoscaler(prepared: &Prepared) -> Result<Offer> {
    let listen = prepared.hub.ports.address(Purpose::Autoscaler)?;
    Ok(Offer {
        listen,
        address: listen.to_string(),
        image: skep_engine::cluster_autoscaler_image().to_string(),
        relay: skep_engine::skep_image().to_string(),
        stock: None,
    })
}

/// One gateway for people, API servers and machines: what an agent brings is there for its API server.
fn gateway_config(prepared: &Prepared, machines: Option<SocketAddr>) -> Config {
    let timeouts = Timeouts { shutdown: GATEWAY_SHUTDOWN, ..Timeouts::default() };
    let also = machines.into_iter().collect();
    Config { listen: prepared.gateway, also, timeouts, ..Config::default() }
}

/// Control planes that start at the same time: as many as keep the processors busy while some of them wait for a disk.
fn starts() -> usize {
    2 * std::thread::available_parallelism().map_or(1, usize::from)
}

fn part(part: &str, error: &impl ToString) -> Error {
    Error::Part { part: part.to_owned(), reason: error.to_string() }
}

fn taken(error: &GatewayError) -> Error {
    let GatewayError::Listen { address, .. } = error else { return part("gateway", error) };
    match listeners::holder(*address) {
        Some(holder) => {
            Error::PortInUse { address: *address, purpose: "the gateway".into(), holder: Some(holder) }
        }
        None => part("gateway", error),
    }
}
