//! Two real nodes of a real API server: containerd, kubelet, kube-proxy and pods.
//!
//! Needs the engine's images `node`, `containerd` and `cni`; they are not built here.

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use skep_agent::config::{ClusterFacts, Host, Join, KubeProxyMode, PodNetwork};
use skep_engine::Engine;

use crate::{
    image,
    machine::{Machine, Segment},
    possible,
    server::{Cluster, HOST, TOKEN},
    until,
};

const IMAGE: &str = "skep.test/tools:1";
const SANDBOX: &str = "registry.k8s.io/pause:3.10.1";

struct Programs {
    kubernetes: PathBuf,
    containerd: PathBuf,
    cni: PathBuf,
}

impl Programs {
    fn host(&self, machine: &Machine) -> Host {
        machine.host(&self.kubernetes, &self.containerd, &self.cni)
    }
}

/// The programs, if the engine has them.
fn programs() -> Option<Programs> {
    let engine = Engine::from_env().unwrap();
    let find = |image: &skep_engine::ImageRef| engine.find(image).map(|artifact| artifact.bin_dir);
    // An older one than the API server's, if somebody wants to know.
    let version = std::env::var("SKEP_TEST_NODE").unwrap_or_else(|_| skep_engine::KUBERNETES[0].into());
    let kubernetes = find(&skep_engine::node_image(&version).unwrap())?;
    Some(Programs {
        kubernetes,
        containerd: find(&skep_engine::containerd_image())?,
        cni: find(&skep_engine::cni_image())?,
    })
}

fn join(cluster: &Cluster, node: &str, pod_network: PodNetwork, kube_proxy: KubeProxyMode) -> Join {
    Join {
        node: node.into(),
        cluster: ClusterFacts {
            server: format!("https://{}", cluster.gateway),
            host: HOST.into(),
            authorities: cluster.server.authority().cert_pem().into(),
            api_server_address: [198, 18, 0, 1].into(),
            service_cidr: "198.19.0.0/16".into(),
            pod_cidr: "10.244.0.0/16".into(),
            cluster_domain: "cluster.local".into(),
            cluster_dns: [198, 19, 0, 10].into(),
            pod_network,
            kube_proxy,
        },
        token: TOKEN.into(),
        template: serde_json::from_value(json!({
            "machineClass": "small", "version": "v1.36.3", "labels": {"example.com/disk": "ssd"},
            "taints": [{"key": "example.com/test", "value": "x", "effect": "PreferNoSchedule"}],
            "kubelet": {"reservedCpu": "100m"},
        }))
        .unwrap(),
        zone: "a".into(),
        labels: BTreeMap::from([("skep.dev/pool".into(), "workers".into())]),
        capacity: serde_json::from_value(
            json!({"cpu": "1", "memory": "2Gi", "ephemeralStorage": "4Gi", "pods": 20}),
        )
        .unwrap(),
        registry: None,
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn pod(name: &str, node: &str, script: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "nodeName": node, "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": IMAGE, "command": ["/bin/sh", "-c", script], "imagePullPolicy": "Never"}],
        },
    }))
    .unwrap()
}

async fn phase(pods: &Api<Pod>, name: &str, wanted: &str) -> Pod {
    until(&format!("{name} {wanted}"), || async {
        let pod = pods.get(name).await.ok()?;
        let phase = pod.status.as_ref()?.phase.clone()?;
        assert!(phase == wanted || phase != "Failed", "{:?}", pod.status);
        (phase == wanted).then_some(pod)
    })
    .await
}

/// The programs, if a test can run; says why not otherwise.
fn ready_to_run(test: &str) -> Option<Programs> {
    if !possible(test) {
        return None;
    }
    let found = programs().filter(|_| image::possible());
    if found.is_none() {
        eprintln!(
            "SKIPPED {test}: it needs a static busybox and the engine's images node, containerd and cni"
        );
    }
    found
}

/// The container that a pod runs in now.
async fn container(pods: &Api<Pod>, name: &str) -> Option<String> {
    let status = pods.get(name).await.unwrap().status?;
    status.container_statuses?.first()?.container_id.clone()
}

/// Makes a pod as soon as its namespace has an account for it.
async fn create(pods: &Api<Pod>, name: &str, node: &str, script: &str) {
    let pod = pod(name, node, script);
    until("default account", || async { pods.create(&PostParams::default(), &pod).await.ok() }).await;
}

/// A pod that ends well.
async fn succeeds(pods: &Api<Pod>, name: &str, node: &str, script: &str) {
    create(pods, name, node, script).await;
    phase(pods, name, "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_machines_become_nodes_that_run_pods() {
    let Some(programs) = ready_to_run("two_machines_become_nodes_that_run_pods") else { return };
    two_machines(programs, PodNetwork::HostGw, KubeProxyMode::Nftables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_machines_with_vxlan_and_iptables() {
    let Some(programs) = ready_to_run("two_machines_with_vxlan_and_iptables") else { return };
    two_machines(programs, PodNetwork::Vxlan, KubeProxyMode::Iptables).await;
}

async fn two_machines(programs: Programs, network: PodNetwork, proxy: KubeProxyMode) {
    let segment = Segment::new();
    let cluster = Cluster::start(&segment).await;
    let mut machines = [Machine::new(&segment, 2), Machine::new(&segment, 3)];
    let names = ["one", "two"];
    for (machine, name) in machines.iter_mut().zip(names) {
        machine.start(&join(&cluster, name, network, proxy), &programs.host(machine));
    }
    bring_image(&programs, &machines).await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    for (machine, name) in machines.iter().zip(names) {
        let ready = || async { nodes.get(name).await.ok().filter(is_ready) };
        check(&until(&format!("node {name}"), ready).await, machine);
    }

    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    create(&pods, "listens", "one", "while :; do echo hello | nc -l -p 80; done").await;
    let address = phase(&pods, "listens", "Running").await.status.unwrap().pod_ip.unwrap();
    // Between pods, from the other node.
    let hears = format!("until [ \"$(nc {address} 80 </dev/null)\" = hello ]; do sleep 0.1; done");
    succeeds(&pods, "calls", "two", &hears).await;
    // A Service whose endpoint is on the node itself and leads to the API server.
    let before = *cluster.proxied.borrow();
    let asks = "until nc $KUBERNETES_SERVICE_HOST 443 -w 1 </dev/null; do sleep 0.1; done";
    succeeds(&pods, "asks", "two", asks).await;
    let proxied = || async { (*cluster.proxied.borrow() > before).then_some(()) };
    until("a connection for the tenant", proxied).await;

    // Killed programs come again; pods do not notice.
    let [mut one, mut two] = machines;
    let before = container(&pods, "listens").await;
    for part in ["/etc/containerd.toml", "--hostname-override=one", "/etc/kube-proxy.json"] {
        let old = the_one(&one, part).await;
        kill(Pid::from_raw(old), Signal::SIGKILL).unwrap();
        let another = || async { one.processes(part).first().filter(|new| **new != old).copied() };
        until(part, another).await;
    }
    succeeds(&pods, "after", "one", "echo again").await;
    assert_eq!(container(&pods, "listens").await, before);

    // A node that is gone is no longer on the way.
    let ways = || one.inside("ip route show proto 83").lines().count();
    until("a route", || async { (ways() == 1).then_some(()) }).await;
    assert_eq!(two.stop(), Some(0), "{}", two.console());
    nodes.delete("two", &DeleteParams::default()).await.unwrap();
    until("no route", || async { (ways() == 0).then_some(()) }).await;

    // After a power cut the node is there again.
    one.cut();
    one.start(&join(&cluster, "one", network, proxy), &programs.host(&one));
    succeeds(&pods, "much-later", "one", "echo again").await;
    until("all waited for", || async { (one.zombies() == 0).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_go_on_while_the_agent_is_replaced() {
    let Some(programs) = ready_to_run("pods_go_on_while_the_agent_is_replaced") else { return };
    let segment = Segment::new();
    let cluster = Cluster::start(&segment).await;
    let mut machine = Machine::new(&segment, 2);
    let join = join(&cluster, "one", PodNetwork::HostGw, KubeProxyMode::Nftables);
    machine.start_service(&join, &programs.host(&machine));
    bring_image(&programs, std::slice::from_ref(&machine)).await;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    create(&pods, "stays", "one", "exec sleep 1000000").await;
    phase(&pods, "stays", "Running").await;
    let before = container(&pods, "stays").await;

    let shell = machine.first_process().unwrap();
    let agent = || machine.processes("again::agent_process").into_iter().find(|pid| *pid != shell);
    for (signal, name) in [(Signal::SIGKILL, "after-a-kill"), (Signal::SIGTERM, "after-a-stop")] {
        let old = agent().unwrap();
        kill(Pid::from_raw(old), signal).unwrap();
        until("another agent", || async { agent().filter(|new| *new != old) }).await;
        succeeds(&pods, name, "one", "echo again").await;
        assert_eq!(container(&pods, "stays").await, before);
        for part in ["/etc/containerd.toml", "--hostname-override=one"] {
            the_one(&machine, part).await;
        }
    }
}

/// The only process with this in its command line. What a program starts has the program's own for a moment.
async fn the_one(machine: &Machine, part: &str) -> i32 {
    let one = || async { <[i32; 1]>::try_from(machine.processes(part)).ok() };
    let [one] = until(&format!("one process of {part}"), one).await;
    one
}

/// The Node says what it was told to say.
fn check(node: &Node, machine: &Machine) {
    let status = node.status.clone().unwrap();
    let allocatable = status.allocatable.unwrap();
    assert_eq!(allocatable["memory"].0, "2Gi");
    assert_eq!(allocatable["cpu"].0, "900m");
    assert_eq!(allocatable["ephemeral-storage"].0, "4Gi");
    assert_eq!(allocatable["pods"].0, "20");
    let address = machine.address.to_string();
    assert!(status.addresses.unwrap().iter().any(|a| a.type_ == "InternalIP" && a.address == address));
    let labels = node.metadata.labels.clone().unwrap();
    for (key, value) in [
        ("example.com/disk", "ssd"),
        ("skep.dev/pool", "workers"),
        ("topology.kubernetes.io/zone", "a"),
        ("node.kubernetes.io/instance-type", "small"),
    ] {
        assert_eq!(labels.get(key).map(String::as_str), Some(value), "{key}");
    }
    let spec = node.spec.clone().unwrap();
    assert!(spec.provider_id.unwrap().starts_with("skep-test://"));
    assert!(spec.taints.unwrap().iter().any(|taint| taint.key == "example.com/test"));
}

/// Puts the image of pods and sandboxes on both machines as soon as their runtime answers.
async fn bring_image(programs: &Programs, machines: &[Machine]) {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("image.tar");
    image::write(&archive, &[IMAGE, SANDBOX]);
    for machine in machines {
        let socket = machine.file("var/lib/skep/containerd/containerd.sock");
        until("the image", || async {
            let mut ctr = Command::new(programs.containerd.join("ctr"));
            ctr.arg("-a").arg(&socket).args(["-n", "k8s.io", "image", "import"]).arg(&archive);
            ctr.output().unwrap().status.success().then_some(())
        })
        .await;
    }
}
