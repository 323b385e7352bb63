//! A fleet, and looking at what it does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use skep_vnode::hollow::{Config, Figures, Fleet, FleetConfig, NodeSpec, Spread, Timings};
use skep_vnode::node::object::Capacity;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Bound on everything that is certain to happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A fleet that runs.
pub struct Running {
    pub nodes: watch::Sender<Arc<Vec<Arc<NodeSpec>>>>,
    pub figures: Arc<Figures>,
    _clients: watch::Sender<Client>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub fn start(client: Client, config: Config, nodes: Vec<NodeSpec>) -> Self {
        let (clients_in, clients) = watch::channel(client);
        let (nodes_in, nodes) = watch::channel(Arc::new(nodes.into_iter().map(Arc::new).collect::<Vec<_>>()));
        let (stop, figures) = (CancellationToken::new(), Arc::new(Figures::default()));
        let config = FleetConfig { clients, config: Arc::new(config), nodes, figures: figures.clone() };
        let task = tokio::spawn(Fleet::new(config).run(stop.clone()));
        Self { nodes: nodes_in, figures, _clients: clients_in, stop, task }
    }

    pub fn want(&self, nodes: Vec<NodeSpec>) {
        self.nodes.send_replace(Arc::new(nodes.into_iter().map(Arc::new).collect()));
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// Everything takes milliseconds.
pub fn quick() -> Config {
    let spread = Spread::of(5, 20);
    let timings = Timings {
        boot: spread,
        pull: spread,
        start: spread,
        probe: spread,
        init: spread,
        run: spread,
        stop: spread,
        lease_every_ms: 1_000,
    };
    Config { timings, ..Config::default() }
}

pub fn node(name: &str) -> NodeSpec {
    NodeSpec {
        name: name.to_owned(),
        zone: "a".to_owned(),
        provider_id: format!("skep-hollow://{name}"),
        version: "v1.36.3".to_owned(),
        labels: BTreeMap::from([("example.com/rack".to_owned(), "7".to_owned())]),
        taints: Vec::new(),
        capacity: Capacity { cpu_milli: 2000, memory: 4 << 30, ephemeral_storage: 8 << 30, pods: 110 },
        boot: 0,
    }
}

/// Waits for something that is certain to happen.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let wait = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(found) => found,
        Err(_) => panic!("never happened: {what}"),
    }
}
