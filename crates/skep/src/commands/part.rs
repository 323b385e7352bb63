//! `skep operator`, `skep gateway`, `skep vnode`: parts as programs of their own, in or beside a cell.
//!
//! Each takes its client from `--kubeconfig`, else from the pod's service account, else from the user's kubeconfig;
//! serves metrics and health; ends at SIGTERM after what it is doing; ends with an error when it cannot go on, so that
//! whatever supervises it starts it anew.

use std::{fs, path::Path, sync::Arc, time::Duration};

use kube::Client;
use nix::unistd::gethostname;
use skep_embedded::part::{
    gateway, machines,
    nodes::{self, NodeName},
    operator,
};
use skep_engine::Engine;
use skep_kubeops::{
    ClientConfig, Metrics,
    health::Health,
    lease::{LeaseConfig, lead},
};
use skep_plan::address::PodNetwork;
use skep_vnode::server::KubeletTls;
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
            network: PodNetwork::Cluster,
            infrastructures: machines::none("local machines belong to an installation of `skep up`"),
            instance: identity.clone(),
        };
        let lease = LeaseConfig::new(&args.namespace, LEASE, identity);
        let counted = Some(metrics.clone());
        let work = |stop| operator::run(client.clone(), settings, metrics, stop);
        lead(client.clone(), lease, counted, stop, work).await.map(drop).map_err(failed)
    })
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
                dir: args.node_dir.join("pods"),
            }],
            instance: format!("vnode-{}", args.name),
            net: args.network,
            data_dir: args.node_dir.clone(),
            volumes: args.node_dir.join("volumes"),
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

/// Certificate, key and client authority.
struct TlsFiles<'a>(&'a part::Vnode);

impl TlsFiles<'_> {
    fn read(&self) -> Result<[String; 3]> {
        let read = |path: &Path| fs::read_to_string(path).map_err(|error| Error::file(path, error));
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
