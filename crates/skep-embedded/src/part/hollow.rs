//! Hollow nodes: plays those of all tenants that have some, each tenant with a credential of its own.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
    time::Duration,
};

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Client;
use skep_infra::hollow::{Hollow, HollowMachine};
use skep_kubeops::Key;
use skep_node::{Connect, hollow::HollowClient, tenants::Endpoint};
use skep_vnode::{
    hollow::{Config, Figures, Fleet, FleetConfig, NodeSpec, Taint},
    node::object::Capacity,
    quantity::{milli, units},
};
use tokio::{sync::watch, task::JoinHandle, time::sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

/// User agent.
pub const NAME: &str = "skep-hollow";

/// Machines come in hundreds at once: what changes within this time is looked at together.
const TOGETHER: Duration = Duration::from_millis(200);
/// Pauses before a tenant that could not be reached is tried again: the first, and the longest it doubles up to.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How hollow nodes behave, from a file; without one they do what is usual.
///
/// # Errors
/// The file cannot be read or followed; what a person should read.
pub fn config(path: &Path) -> Result<Config, String> {
    let wrong = |why: String| format!("{}: {why}", path.display());
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Config::default()),
        Err(error) => return Err(wrong(error.to_string())),
    };
    let config: Config =
        serde_saphyr::from_str(&text).map_err(|error| wrong(format!("{error} (SKEP-8110)")))?;
    config.check().map_err(|error| wrong(error.to_string()))?;
    Ok(config)
}

/// Where a tenant is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Place {
    cluster: Key,
    server: String,
    host: String,
}

/// A tenant whose nodes are played.
struct Tenant {
    nodes: watch::Sender<Arc<Vec<Arc<NodeSpec>>>>,
    task: JoinHandle<()>,
    _stop: DropGuard,
}

/// Plays the nodes of these machines until `stop`.
pub async fn run(hub: Client, connect: Connect, provider: Hollow, config: Config, stop: CancellationToken) {
    let (config, mut changes) = (Arc::new(config), provider.changes());
    let mut tenants: HashMap<Place, Tenant> = HashMap::new();
    let mut known: HashMap<String, (Arc<HollowMachine>, Arc<NodeSpec>)> = HashMap::new();
    loop {
        changes.mark_unchanged();
        let wanted = sort(&provider, &mut known);
        let gone: Vec<_> = tenants.keys().filter(|place| !wanted.contains_key(*place)).cloned().collect();
        for tenant in gone.into_iter().filter_map(|place| tenants.remove(&place)) {
            let Tenant { task, .. } = tenant;
            task.abort();
        }
        for (place, nodes) in wanted {
            let nodes = Arc::new(nodes);
            let tenant = tenants.entry(place.clone()).or_insert_with(|| {
                let (sender, receiver) = watch::channel(Arc::clone(&nodes));
                let stop = stop.child_token();
                let play = play(
                    hub.clone(),
                    Arc::clone(&connect),
                    place,
                    receiver,
                    Arc::clone(&config),
                    stop.clone(),
                );
                Tenant { nodes: sender, task: tokio::spawn(play), _stop: stop.drop_guard() }
            });
            tenant.nodes.send_if_modified(|old| {
                let same = *old == nodes;
                *old = nodes;
                !same
            });
        }
        tokio::select! {
            () = stop.cancelled() => break,
            Ok(()) = changes.changed() => sleep(TOGETHER).await,
        }
    }
    for (_, Tenant { task, .. }) in tenants {
        let _ = task.await;
    }
}

/// The nodes that should be there, by tenant. What has not changed is not made anew.
fn sort(
    provider: &Hollow,
    known: &mut HashMap<String, (Arc<HollowMachine>, Arc<NodeSpec>)>,
) -> BTreeMap<Place, Vec<Arc<NodeSpec>>> {
    let machines = provider.machines();
    let mut fresh = HashMap::with_capacity(machines.len());
    let mut wanted: BTreeMap<Place, Vec<Arc<NodeSpec>>> = BTreeMap::new();
    for machine in machines {
        let spec = match known.remove(&machine.uid) {
            Some((old, spec)) if Arc::ptr_eq(&old, &machine) => spec,
            _ => Arc::new(node(&machine)),
        };
        let place = Place {
            cluster: Key::namespaced(machine.namespace.as_str(), machine.cluster.as_str()),
            server: machine.server.clone(),
            host: machine.host.clone(),
        };
        wanted.entry(place).or_default().push(Arc::clone(&spec));
        fresh.insert(machine.uid.clone(), (machine, spec));
    }
    *known = fresh;
    wanted
}

fn node(machine: &HollowMachine) -> NodeSpec {
    let amount = |text: &str, read: fn(&Quantity) -> Option<i64>| {
        // The schema of machine classes takes quantities only.
        read(&Quantity(text.to_owned())).and_then(|amount| u64::try_from(amount).ok()).unwrap_or_default()
    };
    let capacity = &machine.capacity;
    NodeSpec {
        name: machine.name.clone(),
        zone: machine.zone.clone(),
        provider_id: machine.provider_id(),
        version: machine.version.clone(),
        labels: machine.labels.clone(),
        taints: machine
            .taints
            .iter()
            .map(|taint| Taint {
                key: taint.key.clone(),
                value: taint.value.clone(),
                effect: taint.effect.to_string(),
            })
            .collect(),
        capacity: Capacity {
            cpu_milli: amount(&capacity.cpu, milli),
            memory: amount(&capacity.memory, units),
            ephemeral_storage: amount(&capacity.ephemeral_storage, units),
            pods: u32::try_from(capacity.pods).unwrap_or_default(),
        },
        boot: machine.boot,
    }
}

/// Plays one tenant's nodes for as long as it has some, with credentials that are renewed in time.
async fn play(
    hub: Client,
    connect: Connect,
    place: Place,
    nodes: watch::Receiver<Arc<Vec<Arc<NodeSpec>>>>,
    config: Arc<Config>,
    stop: CancellationToken,
) {
    let endpoint = Endpoint { server: place.server.clone(), host: place.host.clone() };
    let get = || reach(&hub, &connect, &place.cluster, &endpoint);
    let Some(HollowClient { client, mut renew }) = stop.run_until_cancelled(get()).await else { return };
    let (sender, clients) = watch::channel(client);
    let fleet = Fleet::new(FleetConfig { clients, config, nodes, figures: Arc::new(Figures::default()) });
    let renewal = async {
        loop {
            sleep(renew).await;
            let new = get().await;
            renew = new.renew;
            sender.send_replace(new.client);
        }
    };
    tokio::select! {
        () = fleet.run(stop.clone()) => {}
        () = renewal => {}
    }
}

/// A client, however long it takes: the cluster may sleep.
async fn reach(hub: &Client, connect: &Connect, cluster: &Key, endpoint: &Endpoint) -> HollowClient {
    let mut pause = PAUSES.0;
    loop {
        match skep_node::hollow::client(hub, connect, cluster, endpoint).await {
            Ok(client) => return client,
            Err(error) => {
                tracing::warn!(%cluster, %error, "hollow nodes cannot reach their cluster; tried again")
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}
