//! Everything that is decided before the first process starts: programs, network, ports, certificates, files.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use skep_engine::{Artifact, Engine, Update};
use skep_plan::address::LoopbackNet;
use skep_vnode::process::{Marker, Process};

use crate::{
    Error, Layout, Options, Result,
    board::{Board, Endpoints, Running as Step},
    child::Command,
    disk, files,
    hub::{Hub, Program},
    listeners, network, node_proxy, pki,
    ports::{self, Purpose},
    state::StateFile,
};

/// Virtual nodes of an installation, one per zone.
pub const NODES: [(&str, &str); 3] = [("skep-a", "a"), ("skep-b", "b"), ("skep-c", "c")];

/// What the start works with.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Command lines and files.
    pub hub: Hub,
    /// Marker of the installation.
    pub instance: Marker,
    /// Its name, which the marker holds.
    pub instance_name: String,
    /// Network of the pods.
    pub net: LoopbackNet,
    /// Where the gateway listens.
    pub gateway: SocketAddr,
    /// URL in tenants' kubeconfigs.
    pub gateway_url: String,
    /// Programs of Kubernetes.
    pub kube: Artifact,
    /// Programs of etcd.
    pub etcd: Artifact,
}

/// Makes sure that the programs are there, with progress: a first build takes minutes.
pub async fn programs(engine: &Engine, step: &Step) -> Result<(Artifact, Artifact)> {
    let progress = |update: &Update<'_>| {
        step.detail(format!("{} {}: {}", update.image.name(), update.image.tag(), update.phase));
    };
    let [newest, ..] = skep_engine::KUBERNETES;
    // One after the other: each build uses all processors.
    let etcd = engine.ensure(&skep_engine::etcd_image(), &progress).await?;
    let kube = engine.ensure(&skep_engine::kubernetes_image(newest)?, &progress).await?;
    Ok((etcd, kube))
}

/// Decides and writes down network, ports, certificates and configuration.
pub fn prepare(
    layout: &Layout,
    options: &Options,
    records: &Arc<StateFile>,
    board: &Board,
    (etcd, kube): (Artifact, Artifact),
) -> Result<Prepared> {
    disk::check(layout.root())?;
    let state = records.get();
    let net = network::select(options.network, state.network.as_deref(), layout.root())?;
    network::check_pod_ports(net)?;

    let ports = state.ports.choose(&kept(&state.children), layout.root(), ports::is_free)?;
    let gateway = options.gateway_address(ports.address(Purpose::Gateway)?);
    if !ports::can_listen(gateway) {
        let holder = listeners::holder(gateway);
        return Err(Error::PortInUse { address: gateway, purpose: "the gateway".into(), holder });
    }
    records.update(|state| {
        state.network = Some(net.to_string());
        state.ports = ports.clone();
    })?;

    let nodes = node_addresses(net)?;
    // Authorities can be replaced only when nothing that trusts the old ones is kept.
    let pki = pki::ensure(layout, &nodes, true, Timestamp::now())?;
    for (name, reason) in &pki.issued {
        tracing::info!(name, reason, "certificate issued");
    }
    let hub =
        Hub { layout: layout.clone(), pki, ports, node_proxy: node_proxy::socket_name(&state.instance) };
    for file in
        Program::ALL.into_iter().map(|program| hub.files(program)).collect::<Result<Vec<_>>>()?.concat()
    {
        files::replace_if_changed(&file.path, file.text.as_bytes(), 0o600)?;
    }
    let kubeconfig = hub.pki.kubeconfig(pki::name::ADMIN, &hub.server()?)?;
    files::replace_if_changed(&layout.kubeconfig(), kubeconfig.as_bytes(), 0o600)?;

    let endpoints = Endpoints {
        hub: hub.server()?,
        gateway: gateway.to_string(),
        gateway_url: options.gateway_url(gateway),
        metrics: format!("http://{}", hub.ports.address(Purpose::Metrics)?),
        network: net.to_string(),
    };
    let gateway_url = endpoints.gateway_url.clone();
    board.update(|snapshot| snapshot.endpoints = endpoints);
    let instance = Marker::new(&state.instance);
    Ok(Prepared { hub, instance, instance_name: state.instance, net, gateway, gateway_url, kube, etcd })
}

/// Ports whose program of an earlier supervisor still runs: they are not free, but ours.
fn kept(children: &std::collections::BTreeMap<String, crate::state::Child>) -> BTreeSet<Purpose> {
    let alive = |name: &str| {
        children.get(name).is_some_and(|child| matches!(Process::adopt(&child.process), Ok(Some(_))))
    };
    let of = |program: Program, purposes: &'static [Purpose]| {
        purposes.iter().copied().filter(move |_| alive(program.name())).collect::<Vec<_>>()
    };
    let etcd = of(Program::Etcd, &[Purpose::EtcdClient, Purpose::EtcdPeer, Purpose::EtcdHttp]);
    let api_server = of(Program::ApiServer, &[Purpose::ApiServer]);
    etcd.into_iter().chain(api_server).collect()
}

/// Addresses of the virtual nodes.
pub fn node_addresses(net: LoopbackNet) -> Result<Vec<IpAddr>> {
    let address = |index| net.node(index).map(IpAddr::V4).map_err(|error| Error::Option(error.to_string()));
    (0..).zip(NODES).map(|(index, _)| address(index)).collect()
}

impl Prepared {
    /// How a program of the hub is started.
    pub fn command(&self, program: Program) -> Result<Command> {
        let artifact = if program == Program::Etcd { &self.etcd } else { &self.kube };
        let path = artifact.program(program.name()).ok_or_else(|| Error::Spawn {
            component: program.name().to_owned(),
            reason: format!("{} has no such program", artifact.image),
        })?;
        let args = self.hub.args(program)?;
        Ok(Command {
            name: program.name(),
            fingerprint: self.fingerprint(program, &path, &args)?,
            program: path,
            args,
            log: self.hub.layout.log(program.name()),
            notifies: matches!(program, Program::Etcd | Program::ApiServer),
            grace: match program {
                Program::Etcd | Program::ApiServer => Duration::from_secs(15),
                Program::ControllerManager | Program::Scheduler => Duration::from_secs(5),
            },
        })
    }

    /// Over everything the program reads once: what it follows by itself (leaf certificates) is not in it.
    fn fingerprint(&self, program: Program, path: &Path, args: &[String]) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(path.as_os_str().as_encoded_bytes());
        for arg in args {
            hash.update([0]);
            hash.update(arg);
        }
        for file in self.hub.files(program)? {
            hash.update([1]);
            hash.update(file.text);
        }
        hash.update([2]);
        hash.update(self.hub.pki.authorities());
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}
