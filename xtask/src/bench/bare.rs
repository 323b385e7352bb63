//! The yardstick: kube-apiserver, kube-controller-manager and kube-scheduler started by hand on a fresh prefix of an
//! etcd that already runs: the controllers when the API server is healthy, no leader election (one copy each, as ours), an
//! administrator's token instead of client certificates, the serving certificate made before the clock starts.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::future::try_join_all;
use k8s_openapi::{ByteString, api::core::v1::ServiceAccount};
use kube::{Api, runtime::wait::await_condition};
use skep_engine::Artifact;
use skep_kubeops::client::ClientConfig;

use crate::processes;

/// How long anything may take before the bench gives up.
pub const LIMIT: Duration = Duration::from_secs(240);
/// Pause between two looks: small against what is measured, large against what a look costs.
const LOOK: Duration = Duration::from_millis(20);

/// Pause between two looks whether a program has ended.
const LOOK_AFTER: Duration = Duration::from_millis(500);

/// Programs that are stopped, the last started first, when this is dropped.
#[derive(Default)]
pub struct Programs {
    running: Vec<Child>,
    /// CPU time of those that ended, as far as it was seen.
    ended: Duration,
}

impl Programs {
    fn read(&self) -> impl Iterator<Item = processes::Process> {
        self.running.iter().filter_map(|child| processes::Process::read(child.id()))
    }

    fn cpu(&self) -> Duration {
        self.ended + self.read().map(|process| process.cpu).sum::<Duration>()
    }

    /// Waits for `there`, and starts the program that was started last again whenever it ends meanwhile.
    async fn keep_last<T>(
        &mut self,
        there: impl Future<Output = T>,
        mut start: impl FnMut() -> anyhow::Result<Child>,
    ) -> anyhow::Result<T> {
        tokio::pin!(there);
        let mut seen = Duration::ZERO;
        loop {
            if let Ok(there) = tokio::time::timeout(LOOK_AFTER, &mut there).await {
                return Ok(there);
            }
            let Some(last) = self.running.last_mut() else { continue };
            seen = processes::Process::read(last.id()).map_or(seen, |process| process.cpu.max(seen));
            if last.try_wait()?.is_some() {
                *last = start()?;
                self.ended += std::mem::take(&mut seen);
            }
        }
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        while let Some(mut child) = self.running.pop() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What one bare start took.
pub struct Start {
    /// Spawn of the three programs → default ServiceAccount readable.
    pub wall: Duration,
    /// CPU time of the three programs until then, and what etcd needed for them.
    pub cpu: Duration,
    /// PSS of the three programs at that moment, in bytes.
    pub pss: u64,
}

/// An etcd for bare starts.
pub struct Etcd {
    url: String,
    programs: Programs,
}

impl Etcd {
    fn cpu(&self) -> Duration {
        self.programs.cpu()
    }
}

/// Starts etcd in `dir` and waits until it answers.
pub async fn etcd(etcd: &Artifact, dir: &Path) -> anyhow::Result<Etcd> {
    let (client, peer) = (free_port()?, free_port()?);
    let url = format!("http://127.0.0.1:{client}");
    let peer = format!("http://127.0.0.1:{peer}");
    let child = spawn(
        etcd,
        "etcd",
        dir,
        &[
            "--name=bare".to_owned(),
            format!("--data-dir={}", dir.join("data").display()),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=bare={peer}"),
        ],
    )?;
    let programs = Programs { running: vec![child], ..Programs::default() };
    let until = Instant::now() + LIMIT;
    while std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, client)).is_err() {
        anyhow::ensure!(Instant::now() < until, "etcd did not start; its log is in {}", dir.display());
        tokio::time::sleep(LOOK).await;
    }
    Ok(Etcd { url, programs })
}

/// What several bare starts at once took.
pub struct Starts {
    /// Spawn → default ServiceAccount readable, of each.
    pub walls: Vec<Duration>,
    /// CPU time of all programs, etcd included, until the last was there: who is there runs on, as it would.
    pub cpu: Duration,
    running: Vec<Programs>,
}

impl Starts {
    /// CPU time of all programs since they were started, etcd included.
    pub fn cpu_now(&self, etcd: &Etcd) -> Duration {
        etcd.cpu() + self.running.iter().map(Programs::cpu).sum::<Duration>()
    }
}

/// Starts one control plane, and stops it when it is there.
pub async fn start(kube: &Artifact, etcd: &Etcd, dir: &Path, name: &str) -> anyhow::Result<Start> {
    let etcd_before = etcd.cpu();
    let (wall, programs) = run(kube, etcd, dir, name).await?;
    let cpu = programs.cpu() + etcd.cpu().saturating_sub(etcd_before);
    Ok(Start { wall, cpu, pss: programs.read().filter_map(|process| process.pss()).sum() })
}

/// Starts `count` control planes at once; they are stopped when the result is dropped.
pub async fn starts(kube: &Artifact, etcd: &Etcd, dir: &Path, count: usize) -> anyhow::Result<Starts> {
    let etcd_before = etcd.cpu();
    let names: Vec<String> = (0..count).map(|n| format!("bare-many-{n}")).collect();
    let running = try_join_all(names.iter().map(|name| run(kube, etcd, dir, name))).await?;
    let (walls, running): (Vec<Duration>, Vec<Programs>) = running.into_iter().unzip();
    let cpu: Duration = running.iter().map(Programs::cpu).sum();
    Ok(Starts { walls, cpu: cpu + etcd.cpu().saturating_sub(etcd_before), running })
}

/// Starts one control plane on the prefix `/<name>` and waits for its default ServiceAccount.
async fn run(kube: &Artifact, etcd: &Etcd, dir: &Path, name: &str) -> anyhow::Result<(Duration, Programs)> {
    let dir = dir.join(name);
    fs::create_dir_all(&dir)?;
    let ports = [free_port()?, free_port()?, free_port()?];
    let server = format!("https://127.0.0.1:{}", ports[0]);
    let files = Files::write(&dir, &server)?;

    let begun = Instant::now();
    let mut programs = Programs::default();
    programs.running.push(spawn(kube, "kube-apiserver", &dir, &files.api_server(&etcd.url, name, ports[0]))?);
    let client = ClientConfig::from_yaml(&fs::read_to_string(&files.kubeconfig)?)
        .await?
        .retries(0)
        .build("skep-bench")?;
    healthy(&client).await?;
    let kubeconfig = format!("--kubeconfig={}", files.kubeconfig.display());
    let controllers = [
        kubeconfig.clone(),
        format!("--service-account-private-key-file={}", files.key.display()),
        "--use-service-account-credentials=true".to_owned(),
        // Credentials for thirty controllers take seconds at upstream's default of 20 calls a second: as ours.
        "--kube-api-qps=100".to_owned(),
        "--kube-api-burst=200".to_owned(),
        "--leader-elect=false".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={}", ports[1]),
    ];
    let scheduler = [
        kubeconfig,
        "--leader-elect=false".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={}", ports[2]),
    ];
    programs.running.push(spawn(kube, "kube-scheduler", &dir, &scheduler)?);

    let start = || spawn(kube, "kube-controller-manager", &dir, &controllers);
    programs.running.push(start()?);
    // It ends when its API server is slow to answer at first, as with twenty of them; who started it would start it again.
    let there = programs.keep_last(default_service_account(client), start).await?;
    there.with_context(|| format!("bare start {name}"))?;
    Ok((begun.elapsed(), programs))
}

/// Waits until an API server says that it is healthy: kube-controller-manager asks the same, gives up after ten
/// seconds and ends. Asks as often as a virtual node's probes do, so that the yardstick carries no more questions than
/// what is measured with it.
async fn healthy(client: &kube::Client) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let ask = http::Request::get("/healthz").body(Vec::new())?;
        if client.request_text(ask).await.is_ok() {
            return Ok(());
        }
        anyhow::ensure!(begun.elapsed() < LIMIT, "the API server is not healthy in time");
        tokio::time::sleep(LOOK.max(begun.elapsed() / 20)).await;
    }
}

/// Waits until the default ServiceAccount of a cluster can be read: as an event, because twenty clients that ask again
/// and again would take a core for themselves.
pub async fn default_service_account(client: kube::Client) -> anyhow::Result<()> {
    appears(&Api::<ServiceAccount>::namespaced(client, "default"), "default", |_| true).await.map(drop)
}

/// Waits until an object is there and as `wanted`. A watch that cannot be opened yet is tried again.
pub async fn appears<K>(api: &Api<K>, name: &str, wanted: impl Fn(&K) -> bool) -> anyhow::Result<K>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let until = tokio::time::Instant::now() + LIMIT;
    loop {
        let there = await_condition(api.clone(), name, |found: Option<&K>| found.is_some_and(&wanted));
        match tokio::time::timeout_at(until, there).await {
            Ok(Ok(Some(found))) => return Ok(found),
            // Refused or broken off: the server is not there yet.
            Ok(_) => {}
            Err(_) => anyhow::bail!("{name} is not there in time"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

struct Files {
    key: PathBuf,
    public_key: PathBuf,
    certificate: PathBuf,
    certificate_key: PathBuf,
    tokens: PathBuf,
    kubeconfig: PathBuf,
    egress: PathBuf,
}

impl Files {
    fn write(dir: &Path, server: &str) -> anyhow::Result<Self> {
        let files = Self {
            key: dir.join("service-account.key"),
            public_key: dir.join("service-account.pub"),
            certificate: dir.join("server.crt"),
            certificate_key: dir.join("server.key"),
            tokens: dir.join("tokens.csv"),
            kubeconfig: dir.join("kubeconfig"),
            egress: dir.join("egress.yaml"),
        };
        let key = skep_pki::ServiceAccountKey::generate()?;
        fs::write(&files.key, key.private_pem.as_str())?;
        fs::write(&files.public_key, &key.public_pem)?;
        let (life, now) = (Duration::from_secs(3600), jiff::Timestamp::now());
        let authority = skep_pki::Authority::generate("skep-bench", life, now)?;
        let leaf = skep_pki::Leaf::server("kube-apiserver", life).address(Ipv4Addr::LOCALHOST);
        let pair = authority.issue(&leaf.dns("kubernetes.default.svc"), now)?;
        fs::write(&files.certificate, &pair.cert_pem)?;
        fs::write(&files.certificate_key, pair.key_pem.as_str())?;
        fs::write(&files.tokens, "bench,admin,admin,system:masters\n")?;
        let kubeconfig = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "bare",
            "clusters": [{"name": "bare", "cluster": {
                "server": server, "certificate-authority-data": ByteString(authority.cert_pem().into())}}],
            "users": [{"name": "admin", "user": {"token": "bench"}}],
            "contexts": [{"name": "bare", "context": {"cluster": "bare", "user": "admin"}}],
        });
        fs::write(&files.kubeconfig, kubeconfig.to_string())?;
        // No packet may leave for a ClusterIP: the socket does not exist, so that such a dial fails at once.
        let egress = serde_json::json!({
            "apiVersion": "apiserver.k8s.io/v1beta1", "kind": "EgressSelectorConfiguration",
            "egressSelections": [{"name": "cluster", "connection": {"proxyProtocol": "HTTPConnect",
                "transport": {"uds": {"udsName": dir.join("no-egress.sock")}}}}],
        });
        fs::write(&files.egress, egress.to_string())?;
        Ok(files)
    }

    fn api_server(&self, etcd: &str, prefix: &str, port: u16) -> Vec<String> {
        vec![
            format!("--etcd-servers={etcd}"),
            format!("--etcd-prefix=/{prefix}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=198.18.0.1".to_owned(),
            format!("--secure-port={port}"),
            format!("--tls-cert-file={}", self.certificate.display()),
            format!("--tls-private-key-file={}", self.certificate_key.display()),
            format!("--token-auth-file={}", self.tokens.display()),
            format!("--service-account-key-file={}", self.public_key.display()),
            format!("--service-account-signing-key-file={}", self.key.display()),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            format!("--egress-selector-config-file={}", self.egress.display()),
        ]
    }
}

fn spawn(artifact: &Artifact, program: &str, dir: &Path, args: &[String]) -> anyhow::Result<Child> {
    fs::create_dir_all(dir)?;
    let path = artifact.program(program).with_context(|| format!("the engine has no {program}"))?;
    let log = fs::File::create(dir.join(format!("{program}.log")))?;
    Command::new(path)
        .args(args)
        .env_clear()
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {program}"))
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
