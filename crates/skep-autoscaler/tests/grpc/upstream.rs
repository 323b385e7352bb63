//! Upstream's own cluster-autoscaler against both servers. A real API server is hub and cluster at once, its scheduler is real;
//! machines and nodes are objects that the test makes and takes away as the controllers of pools would. Left out where the
//! program is not given (`SKEP_ENGINE_PATH`).

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use skep_api::{Machine, MachineClass, NodePool, labels};
use skep_autoscaler::{Expander, Hub, Provider};
use skep_engine::{Engine, cluster_autoscaler_image};
use skep_kubeops::Recorder;
use skep_testkit::{ApiServer, PATIENCE};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::bed::{self, CLUSTER, NAMESPACE, Running};

/// A pause of those who play a controller, and of looks.
const PAUSE: Duration = Duration::from_millis(200);

async fn program() -> Option<PathBuf> {
    let artifact =
        Engine::from_env().ok()?.ensure(&cluster_autoscaler_image(), &|_: &skep_engine::Update<'_>| {}).await;
    artifact.ok()?.program("cluster-autoscaler")
}

fn read<K: DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).unwrap()
}

/// Two pools, empty; a class for each, of which one costs more.
async fn plant(client: &Client) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &read(json!({"metadata": {"name": NAMESPACE}}))).await.unwrap();
    // Nobody makes it here, and no pod is taken without.
    let account: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    account.create(&PostParams::default(), &read(json!({"metadata": {"name": "default"}}))).await.unwrap();
    for (name, price) in [("dear", "2"), ("cheap", "1")] {
        let class: MachineClass = read(json!({
            "apiVersion": "skep.dev/v1alpha1", "kind": "MachineClass", "metadata": {"name": name},
            "spec": {
                "provider": "Hollow", "zones": ["a"], "hourlyPrice": price,
                "capacity": {"cpu": "4", "memory": "16Gi", "ephemeralStorage": "100Gi", "pods": 110},
            },
        }));
        Api::all(client.clone()).create(&PostParams::default(), &class).await.unwrap();
        let pool: NodePool = read(json!({
            "apiVersion": "skep.dev/v1alpha1", "kind": "NodePool",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"cluster": CLUSTER, "scaling": {"min": 0, "max": 4}, "template": {"machineClass": name}},
        }));
        Api::namespaced(client.clone(), NAMESPACE).create(&PostParams::default(), &pool).await.unwrap();
    }
}

/// Plays the controllers of pools and machines: what is named goes, what is lacking comes.
async fn play(client: Client, stop: CancellationToken) {
    let mut number = 0;
    while !stop.is_cancelled() {
        let pools: Api<NodePool> = Api::namespaced(client.clone(), NAMESPACE);
        for pool in pools.list(&ListParams::default()).await.unwrap() {
            let machines = machines(&client, &pool.name_any()).await;
            let named = pool.spec.scaling.clone().map(|scaling| scaling.remove).unwrap_or_default();
            for name in machines.iter().filter(|name| named.contains(name)) {
                take_away(&client, name).await;
            }
            let stay = machines.iter().filter(|name| !named.contains(name)).count();
            for _ in stay..skep_plan::node_pool::replicas(&pool.spec) {
                number += 1;
                bring(&client, &pool, &format!("{}-{number}", pool.name_any())).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn machines(client: &Client, pool: &str) -> Vec<String> {
    let api: Api<Machine> = Api::namespaced(client.clone(), NAMESPACE);
    let of_pool = ListParams::default().labels(&format!("{}={pool}", labels::POOL));
    api.list(&of_pool).await.unwrap().iter().map(|machine| machine.name_any()).collect()
}

async fn take_away(client: &Client, name: &str) {
    let nodes: Api<Node> = Api::all(client.clone());
    let _ = nodes.delete(name, &DeleteParams::default()).await;
    let machines: Api<Machine> = Api::namespaced(client.clone(), NAMESPACE);
    machines.delete(name, &DeleteParams::default()).await.unwrap();
}

async fn bring(client: &Client, pool: &NodePool, name: &str) {
    let (pool_name, class) = (pool.name_any(), pool.spec.template.machine_class.clone());
    let provider = format!("skep-hollow://{name}");
    let machine: Machine = read(json!({
        "apiVersion": "skep.dev/v1alpha1", "kind": "Machine",
        "metadata": {
            "name": name, "namespace": NAMESPACE,
            "labels": {labels::CLUSTER: CLUSTER, labels::POOL: pool_name, labels::MANAGED_BY: labels::MANAGED_BY_SKEP},
            "ownerReferences": [{
                "apiVersion": "skep.dev/v1alpha1", "kind": "NodePool", "name": pool_name,
                "uid": pool.metadata.uid, "controller": true,
            }],
        },
        "spec": {"cluster": CLUSTER, "zone": "a", "template": {"machineClass": class}},
    }));
    let machines: Api<Machine> = Api::namespaced(client.clone(), NAMESPACE);
    machines.create(&PostParams::default(), &machine).await.unwrap();
    let status = json!({"status": {"phase": "Ready", "node": name, "providerId": provider}});
    machines.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    let node: Node = read(json!({
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "topology.kubernetes.io/zone": "a", labels::POOL: pool_name,
        }},
        "spec": {"providerID": provider},
    }));
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let room = json!({"cpu": "4", "memory": "16Gi", "ephemeral-storage": "100Gi", "pods": "110"});
    let now = jiff::Timestamp::now().to_string();
    let status = json!({"status": {
        "capacity": room, "allocatable": room,
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "Played", "message": "", "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }],
    }});
    nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(&status)).await.unwrap();
    // The API server adds it to new nodes; whoever looks after nodes takes it away.
    let clean = json!({"spec": {"taints": null}});
    nodes.patch(name, &PatchParams::default(), &Patch::Merge(&clean)).await.unwrap();
}

/// Its command line is that of the component, with short times.
fn start(program: &Path, kubeconfig: &Path, directory: &Path, servers: [&Running; 2]) -> Child {
    let [provider, expander] = servers;
    let at = |name: &str| directory.join(name);
    let pair = bed::client_pair(&provider.authority);
    std::fs::write(at("client.crt"), &pair.cert_pem).unwrap();
    std::fs::write(at("client.key"), pair.key_pem.as_str()).unwrap();
    std::fs::write(at("ca.crt"), provider.authority.cert_pem()).unwrap();
    std::fs::write(at("expander-ca.crt"), expander.authority.cert_pem()).unwrap();
    let config = format!(
        "address: {}\ncert: client.crt\nkey: client.key\ncacert: ca.crt\ngrpc_timeout: 20s\n",
        provider.address
    );
    std::fs::write(at("cloud-config"), config).unwrap();
    let log = std::fs::File::create(at("log")).unwrap();
    Command::new(program)
        .current_dir(directory)
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .args([
            "--cloud-provider=externalgrpc",
            "--cloud-config=cloud-config",
            "--leader-elect=false",
            "--v=4",
        ])
        .args([
            "--expander=grpc,least-waste",
            "--grpc-expander-cert=expander-ca.crt",
            "--address=127.0.0.1:0",
        ])
        .arg(format!("--grpc-expander-url={}", expander.address))
        .args(["--scan-interval=1s", "--scale-down-unneeded-time=3s", "--scale-down-delay-after-add=3s"])
        .args(["--scale-down-delay-after-delete=0s", "--unremovable-node-recheck-timeout=2s"])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn eventually(what: &str, log: &Path, look: impl AsyncFn() -> bool) {
    let reached = async {
        while !look().await {
            tokio::time::sleep(PAUSE).await;
        }
    };
    if tokio::time::timeout(PATIENCE, reached).await.is_err() {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        panic!("{what}: never\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cheaper_pool_grows_from_nothing_and_idle_machines_go_by_name() {
    let Some(program) = program().await else {
        println!("LEFT OUT: cluster-autoscaler is not given: see docs/autoscale-nodes.md");
        return;
    };
    let options = skep_testkit::apiserver::Options { scheduler: true, ..Default::default() };
    let server = ApiServer::start(options).await.unwrap();
    let client = server.client().await.unwrap();
    plant(&client).await;
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let playing = tokio::spawn(play(client.clone(), stop.clone()));

    let hub = Hub::new(client.clone(), NAMESPACE, CLUSTER);
    let recorder = Recorder::new(client.clone(), skep_autoscaler::NAME, "test");
    let provider = Running::new(Provider::new(hub.clone()), true).await;
    let expander = Running::new(Expander::new(hub, None, recorder), false).await;
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let _child = start(&program, &server.kubeconfig_path(), directory.path(), [&provider, &expander]);

    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    for number in 0..3 {
        let pod: Pod = read(json!({
            "metadata": {"name": format!("work-{number}")},
            "spec": {
                "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
                "containers": [{"name": "work", "image": "example.org/work:1", "resources": {"requests": {"cpu": "3"}}}],
            },
        }));
        pods.create(&PostParams::default(), &pod).await.unwrap();
    }
    let place = async |number: i32| {
        let pod = pods.get(&format!("work-{number}")).await.unwrap();
        pod.spec.and_then(|spec| spec.node_name)
    };
    eventually("three pods have nodes", &log, async || {
        place(0).await.is_some() && place(1).await.is_some() && place(2).await.is_some()
    })
    .await;
    assert_eq!(machines(&client, "cheap").await.len(), 3);
    assert_eq!(machines(&client, "dear").await.len(), 0);
    let events: Api<k8s_openapi::api::events::v1::Event> = Api::all(client.clone());
    let explained = async |pool: &str, reason: &str| {
        let all = events.list(&ListParams::default()).await.unwrap();
        all.iter().any(|event| {
            event.reason.as_deref() == Some(reason)
                && event.regarding.as_ref().and_then(|on| on.name.as_deref()) == Some(pool)
        })
    };
    eventually("the choice is explained", &log, async || {
        explained("cheap", "ExpansionPossible").await && explained("dear", "ExpansionPassedOver").await
    })
    .await;

    // Two pods go; exactly the machines that are idle then follow them.
    let stays = place(1).await.unwrap();
    for number in [0, 2] {
        pods.delete(&format!("work-{number}"), &DeleteParams::default().grace_period(0)).await.unwrap();
    }
    eventually("the idle ones are gone", &log, async || machines(&client, "cheap").await == [stays.clone()])
        .await;
    pods.delete("work-1", &DeleteParams::default().grace_period(0)).await.unwrap();
    eventually("none is left", &log, async || machines(&client, "cheap").await.is_empty()).await;
    stop.cancel();
    playing.await.unwrap();
}
