//! `skep operator`, `skep gateway`, `skep vnode`: parts as programs of their own, in or beside a cell.
//!
//! Each takes its client from `--kubeconfig`, else from the pod's service account, else from the user's kubeconfig;
//! serves metrics and health; ends at SIGTERM after what it is doing; ends with an error when it cannot go on, so that
//! whatever supervises it starts it anew.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Client;
use nix::unistd::gethostname;
use skep_autoscaler::{StockFile, component::Offer};
use skep_embedded::part::{
    gateway, hollow, machines,
    nodes::{self, NodeName},
    operator, volumes,
};
use skep_engine::{CLUSTER_AUTOSCALER, Engine};
use skep_kubeops::{
    ClientConfig, Metrics,
    health::Health,
    lease::{LeaseConfig, lead},
};
use skep_plan::address::PodNetwork;
use skep_vnode::{
    hollow::{Figures, Fleet, FleetConfig, NodeSpec},
    node::object::Capacity,
    quantity::{milli, units},
    server::KubeletTls,
};
use tokio::sync::watch::channel;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{self, Global, part},
    error::{Error, Result, code},
    exit::Exit,
    logging, runtime,
};

/// Lease of the operator.
const LEASE: &str = "skep-operator";
/// How often certificate files are looked at: whoever renews them does it days before the old ones end.
const RELOAD: Duration = Duration::from_secs(60);

/// What every part has.
pub(super) struct Frame {
    pub(super) client: Client,
    pub(super) metrics: Metrics,
    pub(super) health: Health,
    pub(super) stop: CancellationToken,
}

impl Frame {
    pub(super) async fn new(global: &Global, common: &part::Common, user_agent: &str) -> Result<Self> {
        logging::init(&common.log, common.log_json, None)?;
        let stop = runtime::stop_on_signals()?;
        let client = client(global, user_agent).await?;
        let metrics = Metrics::new();
        let health = Health::new(metrics.clone());
        health.serve(common.metrics_listen, stop.clone()).await.map_err(failed)?;
        Ok(Self { client, metrics, health, stop })
    }
}

async fn client(global: &Global, user_agent: &str) -> Result<Client> {
    let config = match &global.kubeconfig {
        Some(path) => ClientConfig::from_kubeconfig(path, None).await?,
        None => match ClientConfig::in_cluster() {
            Ok(config) => config,
            Err(_) => ClientConfig::infer().await?,
        },
    };
    Ok(config.build(user_agent)?)
}

pub(super) fn failed(error: impl std::fmt::Display) -> Error {
    Error::new(code::PART, Exit::Failure, error)
}

pub fn operator(global: &Global, args: &part::Operator) -> Result<()> {
    runtime::with_allocator_settings();
    runtime::service(async {
        let Frame { client, metrics, stop, .. } = Frame::new(global, &args.common, operator::NAME).await?;
        let identity = match &args.identity {
            Some(identity) => identity.clone(),
            None => gethostname().map_err(failed)?.to_string_lossy().into_owned(),
        };
        let settings = operator::Settings {
            domain: args.domain.clone(),
            gateway: args.gateway_url.clone(),
            gateway_inside: args.gateway_inside_url.clone().unwrap_or_else(|| args.gateway_url.clone()),
            starts: usize::try_from(args.starts).unwrap_or(usize::MAX),
            network: PodNetwork::Cluster,
            autoscaler: offer(args).await?,
            infrastructures: machines::brought(client.clone(), args.gateway_url.clone()),
            instance: identity.clone(),
        };
        let lease = LeaseConfig::new(&args.namespace, LEASE, identity);
        let counted = Some(metrics.clone());
        let work = |stop| operator::run(client.clone(), settings, metrics, stop);
        lead(client.clone(), lease, counted, stop, work).await.map(drop).map_err(failed)
    })
}

/// What clusters get that ask for an autoscaler.
async fn offer(args: &part::Operator) -> Result<Option<Offer>> {
    let given = (&args.autoscaler_listen, &args.autoscaler_address, &args.autoscaler_relay_image);
    let (Some(listen), Some(address), Some(relay)) = given else { return Ok(None) };
    let published = || format!("registry.k8s.io/autoscaling/cluster-autoscaler:{CLUSTER_AUTOSCALER}");
    let stock = match &args.autoscaler_stock {
        Some(path) => Some(StockFile::open(path).await?),
        None => None,
    };
    Ok(Some(Offer {
        listen: *listen,
        address: address.clone(),
        image: args.autoscaler_image.clone().unwrap_or_else(published),
        relay: relay.clone(),
        stock,
    }))
}

pub fn gateway(global: &Global, args: &cli::gateway::Gateway) -> Result<()> {
    runtime::with_allocator_settings();
    runtime::service(async {
        let frame = Frame::new(global, &args.common, gateway::NAME).await?;
        let config = match &args.config {
            Some(path) => read_config(path)?,
            None => skep_gateway::Config::default(),
        };
        let figures = gateway::figures(&frame.metrics);
        let bound = gateway::bind(args.over(config), &figures)?;
        Ok(gateway::run(bound, frame.client, frame.stop).await?)
    })
}

fn read_config(path: &Path) -> Result<skep_gateway::Config> {
    let text = fs::read_to_string(path).map_err(|error| Error::file(path, error))?;
    serde_saphyr::from_str(&text).map_err(|error| Error::file(path, error))
}

pub fn vnode(global: &Global, args: &part::Vnode) -> Result<()> {
    runtime::with_allocator_settings();
    match (args.backend, args.hollow.count) {
        (part::Backend::Hollow, Some(count)) => return hollow_nodes(global, args, count),
        (part::Backend::Hollow, None) => return Err(usage("--backend hollow needs --count")),
        (part::Backend::Process, Some(_)) => return Err(usage("--count is for --backend hollow")),
        (part::Backend::Process, None) => {}
    }
    let node_dir = args.node_dir.clone().ok_or_else(|| usage("--node-dir is missing"))?;
    runtime::service(async {
        let frame = Frame::new(global, &args.common, nodes::NAME).await?;
        let files = TlsFiles(args);
        let [certificate, key, authority] = files.read()?;
        let tls = KubeletTls::from_pem(&certificate, &key, &authority).map_err(failed)?;
        let (again, used) = (args.clone(), Arc::clone(&tls));
        let read = move || TlsFiles(&again).read();
        let replace = move |[certificate, key, ca]: &[String; 3]| used.replace(certificate, key, ca);
        tokio::spawn(reload(read, replace, frame.stop.clone()));
        let settings = nodes::Settings {
            nodes: vec![NodeName {
                name: args.name.clone(),
                zone: args.zone.clone(),
                index: args.index,
                dir: node_dir.join("pods"),
            }],
            instance: format!("vnode-{}", args.name),
            net: args.network,
            volumes: node_dir.join("volumes"),
            data_dir: node_dir,
            tls,
            api_server: args.api_server_name.clone(),
            alone: false,
            engine: Engine::from_env()?,
            halt: false,
            reported: CancellationToken::new(),
        };
        let ready = frame.stop.clone();
        frame.health.add_ready_check("node", move || match ready.is_cancelled() {
            true => Err("it is ending".to_owned()),
            false => Ok(()),
        });
        nodes::run(frame.client, settings, frame.stop).await.map_err(failed)
    })
}

pub fn volumes(global: &Global, args: &part::Volumes) -> Result<()> {
    runtime::with_allocator_settings();
    runtime::service(async {
        let frame = Frame::new(global, &args.common, volumes::NAME).await?;
        volumes::run(frame.client, &args.name, args.dir.clone(), frame.stop).await;
        Ok(())
    })
}

fn usage(what: &str) -> Error {
    Error::new(code::USAGE, Exit::Usage, what)
}

/// Plays hollow nodes of one cluster, in or beside it.
fn hollow_nodes(global: &Global, args: &part::Vnode, count: u32) -> Result<()> {
    let config = match &args.hollow.hollow_config {
        Some(path) => hollow::config(path).map_err(|why| usage(&why))?,
        None => skep_vnode::hollow::Config::default(),
    };
    runtime::service(async {
        let frame = Frame::new(global, &args.common, hollow::NAME).await?;
        let version = frame.client.apiserver_version().await.map_err(failed)?.git_version;
        let nodes =
            (0..count).map(|number| hollow_node(args, number, &version)).collect::<Result<Vec<_>>>()?;
        // Neither changes while this program runs.
        let ((_clients, clients), (_nodes, nodes)) = (channel(frame.client), channel(Arc::new(nodes)));
        let figures = Arc::new(Figures::default());
        let ready = (Arc::clone(&figures), usize::try_from(count).unwrap_or(usize::MAX));
        frame.health.add_ready_check("hollow-nodes", move || {
            match ready.0.nodes.load(std::sync::atomic::Ordering::Relaxed) {
                registered if registered >= ready.1 => Ok(()),
                registered => Err(format!("{registered} of {} nodes are registered", ready.1)),
            }
        });
        let config = FleetConfig { clients, config: Arc::new(config), nodes, figures };
        Fleet::new(config).run(frame.stop).await;
        Ok(())
    })
}

fn hollow_node(args: &part::Vnode, number: u32, version: &str) -> Result<Arc<NodeSpec>> {
    let part::Hollow { zones, cpu, memory, pods, .. } = &args.hollow;
    let amount = |text: &str, read: fn(&Quantity) -> Option<i64>| {
        let amount = read(&Quantity(text.to_owned())).and_then(|amount| u64::try_from(amount).ok());
        amount.ok_or_else(|| usage(&format!("{text:?} is no quantity")))
    };
    let all: Vec<&String> = std::iter::once(&args.zone).chain(zones).collect();
    let zone = all[usize::try_from(number).unwrap_or_default() % all.len()];
    let name = format!("{}-{number}", args.name);
    Ok(Arc::new(NodeSpec {
        provider_id: format!("skep-hollow://vnode/{name}"),
        name,
        zone: zone.clone(),
        version: version.to_owned(),
        labels: BTreeMap::new(),
        taints: Vec::new(),
        capacity: Capacity {
            cpu_milli: amount(cpu, milli)?,
            memory: amount(memory, units)?,
            ephemeral_storage: 100 << 30,
            pods: *pods,
        },
        boot: 0,
    }))
}

/// Certificate, key and client authority.
struct TlsFiles<'a>(&'a part::Vnode);

impl TlsFiles<'_> {
    fn read(&self) -> Result<[String; 3]> {
        let read = |path: &Option<PathBuf>| {
            let path = path.as_deref().ok_or_else(|| usage("a file for TLS is missing"))?;
            fs::read_to_string(path).map_err(|error| Error::file(path, error))
        };
        Ok([read(&self.0.tls_cert)?, read(&self.0.tls_key)?, read(&self.0.client_ca)?])
    }
}

/// Takes new certificates over as soon as all files of them fit together.
pub(super) async fn reload<T: PartialEq, E, F: std::fmt::Display>(
    read: impl Fn() -> Result<T, E>,
    replace: impl Fn(&T) -> Result<(), F>,
    stop: CancellationToken,
) {
    let mut last = read().ok();
    let mut tick = tokio::time::interval(RELOAD);
    while tokio::select! { _ = tick.tick() => true, () = stop.cancelled() => false } {
        let Ok(new) = read() else { continue };
        if last.as_ref() == Some(&new) {
            continue;
        }
        match replace(&new) {
            Ok(()) => last = Some(new),
            Err(error) => tracing::warn!(%error, "new certificates are not used"),
        }
    }
}
