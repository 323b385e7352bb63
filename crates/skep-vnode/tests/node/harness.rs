//! One control plane for all tests of this binary, and a virtual node of its own for each test.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Api, Client};
use serde_json::{Value, json};
use skep_pki::{Authority, Leaf};
use skep_plan::address::LoopbackNet;
use skep_testkit::{ApiServer, Options};
use skep_vnode::backend::{ImageError, ImageRoot, ImageSource};
use skep_vnode::config::{HostConfig, NodeConfig};
use skep_vnode::host::{Host, HostError};
use skep_vnode::node::object::Capacity;
use skep_vnode::process::{Marker, ProcessBackend, ProcessConfig, Timings, marker};
use skep_vnode::server::KubeletTls;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Bound on everything that is certain to happen.
pub const PATIENCE: Duration = Duration::from_secs(60);
const LIFE: Duration = Duration::from_secs(24 * 3600);

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
static NODES: AtomicU8 = AtomicU8::new(0);

/// The control plane.
pub struct Cluster {
    pub server: ApiServer,
    /// Signs what API server and nodes show each other.
    pub authority: Authority,
    _files: tempfile::TempDir,
}

impl Cluster {
    pub async fn get() -> &'static Self {
        CLUSTER.get_or_init(|| async { Self::start().await.unwrap() }).await
    }

    async fn start() -> anyhow::Result<Self> {
        let files = tempfile::tempdir()?;
        let authority = Authority::generate("kubelets", LIFE, Timestamp::now())?;
        let client =
            authority.issue(&Leaf::client("kube-apiserver-kubelet-client", LIFE), Timestamp::now())?;
        let write = |name: &str, text: &str| -> std::io::Result<String> {
            let path = files.path().join(name);
            std::fs::write(&path, text)?;
            Ok(path.display().to_string())
        };
        let flags = vec![
            format!("--kubelet-certificate-authority={}", write("ca.crt", authority.cert_pem())?),
            format!("--kubelet-client-certificate={}", write("client.crt", &client.cert_pem)?),
            format!("--kubelet-client-key={}", write("client.key", client.key_pem.as_str())?),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
        ];
        let options = Options { reach_nodes: true, apiserver_flags: flags, ..Options::whole() };
        Ok(Self { server: ApiServer::start(options).await?, authority, _files: files })
    }
}

/// An image that stands for the programs of the host.
struct Images;

#[async_trait]
impl ImageSource for Images {
    async fn resolve(&self, image: &str) -> Result<ImageRoot, ImageError> {
        match image {
            "host" => Ok(ImageRoot { id: "host".into(), host_programs: true, ..ImageRoot::default() }),
            _ => Err(ImageError::Unknown { image: image.into(), known: vec!["host".into()] }),
        }
    }
}

/// A node, its namespace, and the promise that no process is left whatever the test does.
pub struct TestNode {
    pub cluster: &'static Cluster,
    pub client: Client,
    pub name: String,
    pub namespace: String,
    pub dir: tempfile::TempDir,
    net: LoopbackNet,
    instance: String,
    running: Option<Running>,
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<(), HostError>>,
}

impl TestNode {
    /// A node that is ready, and a namespace whose pods may run.
    pub async fn start(label: &str) -> Self {
        let cluster = Cluster::get().await;
        let client = cluster.server.client().await.unwrap();
        let namespace = cluster.server.namespace(&client, label).await.unwrap();
        // Spread by process so that two test binaries at once rarely meet; a taken network is stepped over below.
        let number = NODES.fetch_add(1, Ordering::Relaxed);
        let octet = 64 + ((std::process::id() as u8).wrapping_add(number) % 63);
        let mut node = Self {
            cluster,
            client,
            name: format!("node-{label}"),
            namespace,
            dir: tempfile::tempdir().unwrap(),
            net: LoopbackNet::new(octet).unwrap(),
            instance: format!("test-node-{}-{number}", std::process::id()),
            running: None,
        };
        node.find_network();
        node.run().await;
        let accounts = Api::<ServiceAccount>::namespaced(node.client.clone(), &node.namespace);
        until("the default service account", || async { accounts.get_opt("default").await.unwrap() }).await;
        node
    }

    fn find_network(&mut self) {
        for step in 0..63 {
            let octet = 64 + (self.net.octet() - 64 + step) % 63;
            let net = LoopbackNet::new(octet).unwrap();
            if std::net::TcpListener::bind((net.node(0).unwrap(), 10_250)).is_ok() {
                self.net = net;
                return;
            }
        }
        panic!("no free network");
    }

    /// Starts the node on what an earlier run of it left, and waits until it is ready.
    pub async fn run(&mut self) {
        let stop = CancellationToken::new();
        let task = tokio::spawn(self.host().run(stop.clone()));
        self.running = Some(Running { stop, task });
        let nodes = Api::<Node>::all(self.client.clone());
        until("the node to be ready", || async {
            nodes.get_opt(&self.name).await.unwrap().filter(|node| {
                node.status
                    .iter()
                    .flat_map(|status| status.conditions.iter().flatten())
                    .any(|condition| condition.type_ == "Ready" && condition.status == "True")
            })
        })
        .await;
    }

    pub fn host(&self) -> Host {
        let address = self.net.node(0).unwrap();
        let server = Leaf::server(&*self.name, LIFE).address(address);
        let pair = self.cluster.authority.issue(&server, Timestamp::now()).unwrap();
        let tls =
            KubeletTls::from_pem(&pair.cert_pem, pair.key_pem.as_str(), self.cluster.authority.cert_pem())
                .unwrap();
        let data = self.dir.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        let mut config = ProcessConfig::new(data.join("node"), &self.instance, &self.name, Arc::new(Images));
        config.timings = Timings {
            backoff: Duration::from_millis(300),
            volume_retry: Duration::from_millis(50),
            least_grace: Duration::from_millis(300),
            ..Timings::default()
        };
        let backend = ProcessBackend::new(config).unwrap();
        let mut node = NodeConfig::new(&self.name, "a", 0, backend);
        node.capacity =
            Some(Capacity { cpu_milli: 2000, memory: 4 << 30, ephemeral_storage: 8 << 30, pods: 50 });
        Host::new(HostConfig::new(self.client.clone(), self.net, tls, data), vec![node])
    }

    /// Ends the node in order; its pods go on.
    pub async fn stop(&mut self) {
        let Running { stop, task } = self.running.take().unwrap();
        stop.cancel();
        task.await.unwrap().unwrap();
    }

    /// Ends the node as a crash does: nothing is told, nothing is finished.
    pub async fn crash(&mut self) {
        let Running { task, .. } = self.running.take().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }

    pub fn address(&self) -> std::net::Ipv4Addr {
        self.net.node(0).unwrap()
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A pod of this node with one container `c` that runs a shell script.
    pub fn script(&self, name: &str, script: &str) -> Value {
        self.pod(name, json!({"containers": [container("c", script)]}))
    }

    /// A pod that only this node may run.
    pub fn pod(&self, name: &str, spec: Value) -> Value {
        let mut spec = spec;
        spec["nodeSelector"] = json!({"kubernetes.io/hostname": self.name});
        if spec["terminationGracePeriodSeconds"].is_null() {
            spec["terminationGracePeriodSeconds"] = json!(2);
        }
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    }

    /// Creates or replaces an object in the node's namespace.
    pub async fn apply(&self, mut object: Value) {
        let version = object["apiVersion"].as_str().unwrap().to_owned();
        let (group, version) = version.split_once('/').unwrap_or(("", &version));
        let kind = GroupVersionKind::gvk(group, version, object["kind"].as_str().unwrap());
        object["metadata"]["namespace"] = json!(self.namespace);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::from_gvk(&kind));
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await.unwrap();
    }

    /// Waits until the pod is as wanted.
    pub async fn until_pod(&self, name: &str, what: &str, wanted: impl Fn(&Pod) -> bool) -> Pod {
        let pods = self.pods();
        let wait = until(what, || async { pods.get_opt(name).await.unwrap().filter(&wanted) });
        match std::panic::AssertUnwindSafe(wait).catch_unwind().await {
            Ok(pod) => pod,
            Err(_) => panic!("pod {name}: never {what}: {:#?}", pods.get_opt(name).await),
        }
    }

    /// Waits until the pod is ready.
    pub async fn up(&self, pod: Value) -> Pod {
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        self.apply(pod).await;
        self.until_pod(&name, "ready", is_ready).await
    }

    /// Waits until the pod is gone.
    pub async fn until_gone(&self, name: &str, uid: &str) {
        let pods = self.pods();
        until(&format!("pod {name} to go"), || async {
            let pod = pods.get_opt(name).await.unwrap();
            pod.is_none_or(|pod| pod.metadata.uid.as_deref() != Some(uid)).then_some(())
        })
        .await;
    }

    /// Runs kubectl in the node's namespace.
    pub async fn kubectl(&self, arguments: &[&str]) -> Output {
        self.kubectl_with(arguments, &[], b"").await
    }

    /// Runs kubectl with further environment and something to read.
    pub async fn kubectl_with(&self, arguments: &[&str], env: &[(&str, &str)], input: &[u8]) -> Output {
        let mut child = self.kubectl_command(arguments, env).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let feed = tokio::spawn(async move {
            // A command may end before it has read everything.
            let _ = stdin.write_all(&input).await;
        });
        let output =
            tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("kubectl hangs").unwrap();
        feed.await.unwrap();
        output
    }

    pub fn kubectl_command(&self, arguments: &[&str], env: &[(&str, &str)]) -> Command {
        let mut command = Command::new(self.cluster.server.program("kubectl").unwrap());
        command
            .env("KUBECONFIG", self.cluster.server.kubeconfig_path())
            .envs(env.iter().copied())
            .args(["-n", &self.namespace])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// A file outside the node's directory, for scripts to leave signs in.
    pub fn sign(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn volumes(&self) -> PathBuf {
        self.dir.path().join("data/volumes")
    }

    /// Processes of this node's pods.
    pub fn processes(&self) -> usize {
        marker::find(&Marker::new(&self.instance)).unwrap().into_iter().filter(|found| !found.helper).count()
    }

    /// Deletes everything, and checks that nothing is left.
    pub async fn end(mut self) {
        let pods = self.pods();
        pods.delete_collection(&DeleteParams::default().grace_period(1), &kube::api::ListParams::default())
            .await
            .unwrap();
        until("all pods to go", || async {
            pods.list(&kube::api::ListParams::default()).await.unwrap().items.is_empty().then_some(())
        })
        .await;
        assert_eq!(self.processes(), 0, "processes are left");
        self.stop().await;
        Api::<Node>::all(self.client.clone()).delete(&self.name, &DeleteParams::default()).await.unwrap();
        Api::<Namespace>::all(self.client.clone())
            .delete(&self.namespace, &DeleteParams::default())
            .await
            .unwrap();
    }
}

impl Drop for TestNode {
    /// For tests that fail half way.
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.task.abort();
        }
        for _ in 0..20 {
            let found = marker::find(&Marker::new(&self.instance)).unwrap_or_default();
            if found.is_empty() {
                return;
            }
            for process in found {
                if let Some(pid) = rustix::process::Pid::from_raw(process.id.pid) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A container that runs a shell script; `$` is the shell's.
pub fn container(name: &str, script: &str) -> Value {
    json!({"name": name, "image": "host", "command": ["/bin/sh", "-c", script.replace("$(", "$$(")]})
}

/// Runs for ever and ends at once when told to.
pub const IDLE: &str = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done";

pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready") == Some("True".to_owned())
}

pub fn condition(pod: &Pod, type_: &str) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == type_).map(|condition| condition.status.clone())
}

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap()
}

pub fn ip(pod: &Pod) -> std::net::Ipv4Addr {
    pod.status.as_ref().unwrap().pod_ip.as_ref().unwrap().parse().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
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
