//! A cell with one datastore: the real controller, and a kubelet of a few lines that runs what it builds.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use skep_api::control_plane::DatastoreRef;
use skep_api::{Datastore, TenantId};
use skep_engine::{Engine, Lines};
use skep_kubeops::watch::Select;
use skep_plan::address::{LoopbackNet, PodNetwork};
use skep_testkit::apiserver::guard::Guarded;
use skep_testkit::{ApiServer, PATIENCE};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::reconcile::validate::tests::datastore;
use crate::{Config, Context, Datastores, EtcdTenants, TenantAccess, TenantStore};

static RUNS: AtomicUsize = AtomicUsize::new(0);
static NETS: AtomicU8 = AtomicU8::new(0);

/// The cell. Everything ends when it is dropped.
pub(super) struct Cell {
    pub client: Client,
    pub namespace: String,
    pub datastores: Datastores,
    pub store: EtcdTenants,
    pub etcd_programs: PathBuf,
    pub directory: TempDir,
    ip: Ipv4Addr,
    member: Option<Guarded>,
    _controller: DropGuard,
}

impl Cell {
    /// A datastore that serves.
    pub(super) async fn serving() -> Self {
        let mut cell = Self::empty().await;
        cell.start_member().await;
        cell.wait_for("Ready", "True").await;
        cell
    }

    /// A datastore whose pod does not run yet.
    pub(super) async fn empty() -> Self {
        let api_server = ApiServer::shared().await.unwrap();
        let client = api_server.client().await.unwrap();
        let namespace = api_server.namespace(&client, &format!("ds-{}", std::process::id())).await.unwrap();
        // A network for each cell: two of them could get the same address in one.
        let cell = std::process::id() % 63 + u32::from(NETS.fetch_add(1, Ordering::Relaxed));
        let net = LoopbackNet::new(64 + (cell % 63) as u8).unwrap();
        let image = skep_engine::etcd_image();
        let etcd = Engine::from_env().unwrap().ensure(&image, &Lines::stderr()).await.unwrap();
        let datastores = Datastores::new(client.clone());
        let stop = CancellationToken::new();
        let context = Context {
            client: client.clone(),
            datastores: datastores.clone(),
            config: Config::new(PodNetwork::Loopback(net)),
            metrics: skep_kubeops::Metrics::default(),
            recorder: None,
        };
        // Each test has an operator and a namespace of its own.
        let mine = Select::all().namespace(namespace.as_str());
        tokio::spawn(crate::controller(context).select(mine).run(stop.clone()));
        let mut manifest = datastore();
        manifest.metadata = kube::api::ObjectMeta { name: Some("main".into()), ..Default::default() };
        let api: Api<Datastore> = Api::namespaced(client.clone(), &namespace);
        api.create(&PostParams::default(), &manifest).await.unwrap();
        Self {
            store: EtcdTenants::new(datastores.clone()),
            ip: net.stable(&namespace, "main-0"),
            etcd_programs: etcd.bin_dir,
            directory: tempfile::tempdir().unwrap(),
            member: None,
            _controller: stop.drop_guard(),
            client,
            namespace,
            datastores,
        }
    }

    pub(super) fn reference(&self) -> DatastoreRef {
        DatastoreRef { namespace: self.namespace.clone(), name: "main".into() }
    }

    pub(super) fn api(&self) -> Api<Datastore> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// URL of etcd's clients.
    pub(super) fn endpoint(&self) -> String {
        format!("https://{}:2379", self.ip)
    }

    /// Lets a tenant in and gives what it gets.
    pub(super) async fn ensure(&self, tenant: &str) -> TenantAccess {
        let tenant: TenantId = tenant.parse().unwrap();
        self.store.ensure(&self.reference(), &tenant, None).await.unwrap()
    }

    /// The StatefulSet once the controller made it.
    pub(super) async fn stateful_set(&self) -> StatefulSet {
        let sets: Api<StatefulSet> = Api::namespaced(self.client.clone(), &self.namespace);
        eventually("a StatefulSet", async || sets.get_opt("main").await.unwrap()).await
    }

    /// What a kubelet does: writes the Secret to files, runs the command, and reports the pod.
    pub(super) async fn start_member(&mut self) {
        let set = self.stateful_set().await;
        self.mount().await;
        let files = self.directory.path().to_owned();
        let run = files.join(format!("run-{}", RUNS.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir_all(&run).unwrap();
        let container = &set.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0];
        let place = |argument: &String| {
            argument
                .replace("$(POD_IP)", &self.ip.to_string())
                .replace("/etc/skep/tls", files.join("tls").to_str().unwrap())
                .replace("/var/lib/etcd", files.join("data").to_str().unwrap())
        };
        let mut arguments: Vec<String> = container.args.iter().flatten().map(place).collect();
        // A disk that is thrown away need not survive a power cut.
        arguments.push("--unsafe-no-fsync".into());
        let program = self.etcd_programs.join(&container.command.as_ref().unwrap()[0]);
        self.member = Some(Guarded::spawn("etcd", &run, &program, &arguments).unwrap());
        let probe = format!("{}:2381", self.ip);
        eventually("etcd's probes", async || {
            if self.member.as_ref().is_some_and(Guarded::has_ended) {
                panic!("etcd ended: {}", self.log());
            }
            tokio::net::TcpStream::connect(&probe).await.ok()
        })
        .await;
        self.report(1).await;
    }

    /// Files of the Secret that etcd mounts, as they are now.
    pub(super) async fn mount(&self) {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let secret = secrets.get("main-server").await.unwrap();
        let tls = self.directory.path().join("tls");
        fs::create_dir_all(&tls).unwrap();
        for (name, content) in secret.data.unwrap() {
            write(&tls.join(name), &content.0);
        }
    }

    /// Ends etcd at once, as a node that dies does.
    pub(super) async fn kill_member(&mut self) {
        self.member = None;
        self.report(0).await;
    }

    /// What etcd wrote.
    pub(super) fn log(&self) -> String {
        self.member.as_ref().map(Guarded::log_tail).unwrap_or_default()
    }

    async fn report(&self, ready: i32) {
        let sets: Api<StatefulSet> = Api::namespaced(self.client.clone(), &self.namespace);
        let generation = self.stateful_set().await.metadata.generation;
        let status = json!({"status": {
            "replicas": 1, "readyReplicas": ready, "updatedReplicas": 1, "observedGeneration": generation,
        }});
        sets.patch_status("main", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }

    /// Waits for a condition; gives its reason.
    pub(super) async fn wait_for(&self, type_: &str, status: &str) -> String {
        let api = self.api();
        let mut last = String::new();
        let asking = async {
            loop {
                let found = api.get("main").await.unwrap().status.unwrap_or_default();
                let wanted = found.conditions.iter().find(|c| c.type_ == type_ && c.status == status);
                if let Some(condition) = wanted {
                    return condition.reason.clone();
                }
                last = format!("{found:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(reason) => reason,
            Err(_) => panic!("no {type_}={status} in {PATIENCE:?}: {last}\n{}", self.log()),
        }
    }
}

/// Replaces a file as a kubelet does: never half written.
fn write(path: &Path, content: &[u8]) {
    let next = path.with_extension("next");
    fs::write(&next, content).unwrap();
    fs::rename(next, path).unwrap();
}

/// Asks until there is an answer.
pub(super) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("no {what} in {PATIENCE:?}"))
}
