//! A place where the pods of a control plane run as plain processes: volumes become directories, `$(POD_IP)` a loopback
//! address of this process only. Controllers reach the API server, and the API server its nodes, through a real gateway.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::jiff::Timestamp;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use skep_agent::tunnel::{Settings, serve};
use skep_api::{ControlPlane, ControlPlaneSpec};
use skep_controlplane::build::{self, CellSettings, Inputs};
use skep_controlplane::pki::{self, Authorities, Data, Stored};
use skep_controlplane::{names, termination};
use skep_datastore::TenantAccess;
use skep_engine::{Artifact, Engine, Lines};
use skep_pki::{Authority, KeyPair, Leaf};
use skep_plan::egress::tunnel;
use skep_testkit::PATIENCE;
use skep_testkit::apiserver::guard::{self, Guarded};
use skep_testkit::objects::{TENANT, control_plane};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;
use crate::inside::{self, Inside};

const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// How often something is looked at that has no event.
const LOOK: Duration = Duration::from_millis(50);

static BEDS: AtomicU8 = AtomicU8::new(0);

/// The bed, with its store running.
pub struct Bed {
    /// Ends before the directory goes; in the order they were started.
    processes: Vec<Guarded>,
    owner: ControlPlane,
    address: Ipv4Addr,
    secrets: BTreeMap<&'static str, Data>,
    manifests: build::Manifests,
    kube: Artifact,
    etcd: Artifact,
    gateway: Gateway,
    authorities: Authorities,
    directory: TempDir,
}

impl Bed {
    /// Starts etcd and prepares everything else.
    pub async fn start(version: &str, change: impl FnOnce(&mut ControlPlaneSpec)) -> Result<Self> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (engine, progress) = (Engine::from_env()?, Lines::stderr());
        let kube = engine.ensure(&skep_engine::kubernetes_image(version)?, &progress).await?;
        let etcd = engine.ensure(&skep_engine::etcd_image(), &progress).await?;
        let directory = tempfile::Builder::new().prefix("skep-programs-").tempdir()?;
        let address = address();
        let now = Timestamp::now();
        let store = Authority::generate("store", YEAR, now)?;
        let access = TenantAccess {
            endpoints: vec![format!("https://{address}:2379")],
            prefix: format!("/skep/{TENANT}"),
            server_ca_pem: store.cert_pem().to_owned(),
            client: store.ensure(None, &Leaf::client(TENANT, YEAR), now)?,
        };
        let owner = owner(version, address, change);
        let cell = CellSettings { gateway: format!("https://{address}:7443"), priority_class: None };
        let authorities = Authorities::generate(TENANT, now)?;
        let door = Authority::generate("door", YEAR, now)?;
        let named = tunnel::knows_server_names(&version.parse()?);
        let gateway = pki::Gateway { url: &cell.gateway, door: (!named).then(|| door.cert_pem()) };
        let issued = pki::issue(&owner.spec, &authorities, &access, &Stored::default(), &gateway, now)?;
        let ranges = skep_plan::network::check(&owner.spec.network)?;
        let manifests = build::manifests(&Inputs {
            owner: &owner,
            ranges,
            etcd_servers: &access.endpoints,
            etcd_prefix: &access.prefix,
            files: &issued.files,
            cell: &cell,
        });
        let secrets = issued.secrets;
        let mut door_files = Data::default();
        door_files.put_pair("server", &door.issue(&Leaf::server("gateway", YEAR).address(address), now)?);
        let gateway = Gateway::start(&owner, address, &secrets[tunnel::SECRET], &door_files)?;
        let mut bed = Self {
            processes: Vec::new(),
            owner,
            address,
            secrets,
            manifests,
            kube,
            etcd,
            gateway,
            authorities,
            directory,
        };
        bed.run_store(&store, now)?;
        Ok(bed)
    }

    fn run_store(&mut self, store: &Authority, now: Timestamp) -> Result<()> {
        let home = self.directory.path().join("store");
        std::fs::create_dir(&home)?;
        let pair = store.issue(&Leaf::server("etcd", YEAR).address(self.address), now)?;
        std::fs::write(home.join("ca.crt"), store.cert_pem())?;
        std::fs::write(home.join("tls.crt"), &pair.cert_pem)?;
        std::fs::write(home.join("tls.key"), pair.key_pem.as_str())?;
        let ip = self.address;
        let flags = [
            "--name=test".to_owned(),
            format!("--data-dir={}", home.join("data").display()),
            format!("--listen-client-urls=https://{ip}:2379"),
            format!("--advertise-client-urls=https://{ip}:2379"),
            format!("--listen-peer-urls=http://{ip}:2380"),
            format!("--initial-advertise-peer-urls=http://{ip}:2380"),
            format!("--initial-cluster=test=http://{ip}:2380"),
            format!("--cert-file={}", home.join("tls.crt").display()),
            format!("--key-file={}", home.join("tls.key").display()),
            format!("--trusted-ca-file={}", home.join("ca.crt").display()),
            "--client-cert-auth".to_owned(),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        self.spawn("etcd", &home, &self.etcd.program("etcd").context("no etcd")?, &flags)
    }

    /// Starts the three programs as their Deployments say.
    pub fn run_all(&mut self) -> Result<()> {
        for workload in self.manifests.workloads.clone() {
            let name = workload.program.name();
            let template = workload.deployment.spec.context("a Deployment without a spec")?.template;
            let pod = template.spec.context("a Deployment without a pod")?;
            let home = self.directory.path().join(name);
            std::fs::create_dir(&home)?;
            let places = self.mount(&pod, &home)?;
            let container = pod.containers.first().context("a pod without a container")?;
            let args: Vec<String> =
                container.args.iter().flatten().map(|arg| self.resolve(arg, &places)).collect();
            let program = self.kube.program(name).with_context(|| format!("no {name}"))?;
            let directory = container.working_dir.as_deref();
            let directory = directory.map_or(home.display().to_string(), |dir| self.resolve(dir, &places));
            let words = ["-c", "cd \"$0\" && exec \"$@\"", &directory, &program.display().to_string()];
            let words: Vec<String> = words.map(str::to_owned).into_iter().chain(args).collect();
            self.spawn(name, &home, Path::new("/bin/sh"), &words)?;
        }
        Ok(())
    }

    /// Writes the volumes of a pod; gives where each mount path is.
    fn mount(&self, pod: &PodSpec, home: &Path) -> Result<Vec<(String, PathBuf)>> {
        let mut places = Vec::new();
        for mount in pod.containers.iter().flat_map(|c| c.volume_mounts.iter().flatten()) {
            let volume =
                pod.volumes.iter().flatten().find(|v| v.name == mount.name).context("a mount of nothing")?;
            let place = home.join(&mount.name);
            std::fs::create_dir(&place)?;
            if let Some(secret) = &volume.secret {
                let name = secret.secret_name.as_deref().unwrap_or_default();
                let data = self.secrets.get(name).with_context(|| format!("no Secret {name}"))?;
                for key in data.keys() {
                    std::fs::write(place.join(key), data.text(key).unwrap_or_default())?;
                }
            } else if volume.config_map.is_some() {
                for (key, text) in self.manifests.config.data.iter().flatten() {
                    std::fs::write(place.join(key), text)?;
                }
            }
            places.push((mount.mount_path.clone(), place));
        }
        Ok(places)
    }

    fn resolve(&self, arg: &str, places: &[(String, PathBuf)]) -> String {
        let arg = arg.replace("$(POD_IP)", &self.address.to_string());
        places.iter().fold(arg, |arg, (path, place)| arg.replace(path.as_str(), &place.display().to_string()))
    }

    fn spawn(&mut self, name: &str, home: &Path, program: &Path, args: &[String]) -> Result<()> {
        self.processes.push(Guarded::spawn(name, home, program, args)?);
        Ok(())
    }

    /// A client with the administrator's kubeconfig, as a person gets it.
    pub async fn admin(&self) -> Result<Client> {
        let text = self.secrets[names::ADMIN].text(names::KUBECONFIG_KEY).context("no kubeconfig")?;
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(Kubeconfig::from_yaml(text)?, &options).await?;
        config.default_retry = false;
        Ok(Client::try_from(config)?)
    }

    /// A client's configuration without credentials.
    pub fn stranger(&self) -> Result<Config> {
        let mut config = Config::new(format!("https://{}:6443", self.address).parse()?);
        config.accept_invalid_certs = true;
        config.tls_server_name = Some(self.owner.spec.endpoint.host.clone());
        config.default_retry = false;
        Ok(config)
    }

    /// The same for another program.
    pub fn stranger_at(&self, port: u16) -> Result<Config> {
        let mut config = self.stranger()?;
        config.cluster_url = format!("https://{}:{port}", self.address).parse()?;
        Ok(config)
    }

    /// Lets the agent of a node come, and waits until the gateway has it.
    pub async fn join(&self, node: &str, network: Arc<Inside>) -> Result<Agent> {
        let leaf = Leaf::client(format!("system:node:{node}"), YEAR).organization("system:nodes");
        let pair = self.authorities.cluster.signer()?.issue(&leaf, Timestamp::now())?;
        let path = self.directory.path().join(format!("{node}.pem"));
        std::fs::write(&path, format!("{}{}", pair.cert_pem, pair.key_pem.as_str()))?;
        let mut settings = Settings::to(
            format!("{}:7443", self.address),
            tunnel::server_name(&self.owner.spec.endpoint.host),
            self.authorities.cluster.bundle()?,
            node,
            vec![inside::NODE.parse()?],
            path,
        );
        settings.dial = network;
        let mut status = settings.status();
        let agent = Agent(tokio::spawn(serve(settings, CancellationToken::new())));
        timeout(PATIENCE, status.wait_for(|status| status.connected == 1)).await.context("no tunnel")??;
        let metrics = &self.gateway.metrics;
        self.wait("the agent", || async { metrics.tunnel_agents() == 1 }).await?;
        Ok(agent)
    }

    /// What a kubelet serves with once its machine's request was approved: of the cluster's authority, for one address.
    pub fn serving(&self, node: &str, address: &str) -> Result<KeyPair> {
        let leaf = Leaf::server(format!("system:node:{node}"), YEAR)
            .organization("system:nodes")
            .address(address.parse::<IpAddr>()?);
        Ok(self.authorities.cluster.signer()?.issue(&leaf, Timestamp::now())?)
    }

    /// What the store holds under a key of the tenant.
    pub fn stored(&self, key: &str) -> Result<String> {
        let pki = self.directory.path().join("kube-apiserver").join("etcd");
        let output = Command::new(self.etcd.program("etcdctl").context("no etcdctl")?)
            .arg(format!("--endpoints=https://{}:2379", self.address))
            .arg(format!("--cacert={}", pki.join("ca.crt").display()))
            .arg(format!("--cert={}", pki.join("tls.crt").display()))
            .arg(format!("--key={}", pki.join("tls.key").display()))
            .arg(format!("--dial-timeout={PATIENCE:?}"))
            .arg(format!("--command-timeout={PATIENCE:?}"))
            .args(["get", &format!("/skep/{TENANT}{key}")])
            .output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Looks until it is so, or a program has ended.
    pub async fn wait<F: Future<Output = bool>>(&self, what: &str, so: impl FnMut() -> F) -> Result<()> {
        guard::until(&self.processes, what, so).await
    }

    /// The end of a program's log, once it has ended.
    pub async fn last_words(&self, name: &str, patience: Duration) -> Result<String> {
        let process = self.processes.iter().find(|p| p.name() == name).context("no such program")?;
        let ending = async {
            while !process.has_ended() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let ended = timeout(patience, ending).await;
        ended.with_context(|| format!("{name} did not end:\n{}", process.log_tail()))?;
        Ok(process.log_tail())
    }

    /// Asks the API server to end, as a kubelet would; it has to be gone within its grace.
    pub async fn stop_in_time(&self) -> Result<()> {
        let process =
            self.processes.iter().find(|p| p.name() == "kube-apiserver").context("no API server")?;
        let pid = process.pid().context("no pid")?;
        ensure!(Command::new("/bin/kill").args(["-TERM", &pid.to_string()]).status()?.success(), "kill");
        self.last_words("kube-apiserver", termination::GRACE).await?;
        Ok(())
    }
}

/// A running agent.
pub struct Agent(JoinHandle<()>);

impl Drop for Agent {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An address that no other test has: `127.33.0.0/12` belongs to this file, `127.1` to `127.32` to the test kit.
fn address() -> Ipv4Addr {
    let [_, _, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 33 + (BEDS.fetch_add(1, Ordering::Relaxed) & 15), middle, low)
}

fn owner(version: &str, address: Ipv4Addr, change: impl FnOnce(&mut ControlPlaneSpec)) -> ControlPlane {
    let mut owner = control_plane(version, |spec| {
        spec.endpoint.server = format!("https://{address}:6443");
        change(spec);
    });
    owner.metadata.uid = Some("uid".into());
    owner
}
