//! From an order to a node.

use k8s_openapi::jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};
use skep_api::condition::ConditionType::{Accepted, MachineReady, NetworkPolicyEnforced, NodeReady, Ready};
use skep_api::resources::{KubeProxyMode, PodNetwork};
use skep_infra::State;
use skep_testkit::World as _;

use crate::kubelets::{self, decoded};
use crate::world::World;

/// A machine that somebody made by hand.
fn by_hand(spec: Value) -> Value {
    let mut all = json!({"cluster": "demo", "zone": "a", "template": {"machineClass": "local-small"},
        "drain": {"timeoutSeconds": 600, "onTimeout": "Force"}, "repair": "AsPool"});
    for (field, value) in spec.as_object().unwrap() {
        all[field] = value.clone();
    }
    all["template"]["kubelet"] = json!({});
    json!({"apiVersion": "skep.dev/v1alpha1", "kind": "Machine", "spec": all,
        "metadata": {"namespace": "default", "name": "hand", "generation": 1}})
}

fn cluster_is_ready(world: &World, ready: &str) {
    world.fake.edit("clusters.skep.dev", "default", "demo", |cluster| {
        cluster["status"]["conditions"][0]["status"] = json!(ready);
    });
}

#[tokio::test(start_paused = true)]
async fn nothing_is_ordered_before_the_cluster_serves() {
    let mut world = World::with_pool(1).await;
    cluster_is_ready(&world, "False");
    world.settle().await.unwrap();
    let machine = world.machine();
    assert_eq!(
        (&machine["status"]["phase"], &machine["status"]["template"]),
        (&json!("Pending"), &Value::Null)
    );
    assert_eq!(World::condition(&machine, Ready), "False Waiting: waits for cluster demo to be ready");
    assert!(world.provider.calls().is_empty());
    cluster_is_ready(&world, "True");
    world.settle().await.unwrap();
    assert_eq!(world.machine()["status"]["phase"], "Ready");
}

#[tokio::test(start_paused = true)]
async fn a_machine_goes_through_its_phases_and_its_token_lives_as_long_as_it_is_needed() {
    let world = World::with_pool(1).await;
    let mut phases = Vec::new();
    for _ in 0..12 {
        world.step().await.unwrap();
        let machine = world.machine();
        let phase = machine["status"]["phase"].as_str().unwrap_or("none").to_owned();
        let tokens = kubelets::tokens(&world.fake).len();
        if phases.last() != Some(&(phase.clone(), tokens)) {
            phases.push((phase, tokens));
        }
    }
    let expected = [("Provisioning", 1), ("Joining", 1), ("Ready", 0)];
    assert_eq!(phases, expected.map(|(phase, tokens)| (phase.to_owned(), tokens)));
    let machine = world.machine();
    let name = world.name();
    assert_eq!(machine["status"]["providerId"], format!("fake://{name}"));
    assert_eq!(machine["status"]["address"], "198.19.1.97");
    assert_eq!(machine["status"]["node"], name);
    assert_eq!(machine["status"]["versions"]["containerRuntime"], "containerd://2.2.1");
    assert_eq!(machine["status"]["template"], machine["spec"]["template"]);
    for type_ in [Accepted, MachineReady, NodeReady, Ready] {
        assert!(
            World::condition(&machine, type_).starts_with("True"),
            "{}",
            World::condition(&machine, type_)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_says_all_that_a_node_has_to_know() {
    let world = World::running(1).await;
    let name = world.name();
    let made = world.provider.machines().remove(&name).unwrap();
    let join = &made.order.join;
    assert_eq!((join.node.as_str(), join.zone.as_str()), (name.as_str(), "a"));
    assert_eq!(join.cluster.server, "https://198.19.1.1:6443", "the gateway as machines reach it");
    assert_eq!(join.cluster.host, "demo-abcd2345.skep.internal");
    assert_eq!(join.cluster.authorities, "CA of the tenant");
    assert_eq!(join.cluster.api_server_address.to_string(), "198.18.0.1");
    assert_eq!(join.cluster.cluster_dns.to_string(), "10.96.0.10");
    assert_eq!(
        (join.cluster.service_cidr.as_str(), join.cluster.pod_cidr.as_str()),
        ("10.96.0.0/16", "10.244.0.0/16")
    );
    assert_eq!(
        (join.cluster.pod_network, join.cluster.kube_proxy),
        (PodNetwork::HostGw, KubeProxyMode::Nftables),
        "what the infrastructure is best at"
    );
    assert_eq!(join.labels["skep.dev/pool"], "workers");
    assert_eq!(join.labels["node.kubernetes.io/instance-type"], "local-small");
    assert_eq!(join.capacity.memory, "2Gi");
    assert_eq!(join.template.version.as_deref(), Some("v1.36.3"));
    let (id, secret) = join.token.split_once('.').unwrap();
    assert_eq!((id.len(), secret.len()), (6, 16));
    assert!(!format!("{:?}", made.order).contains(secret), "a secret is not printed");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_chooses_its_network_gets_it() {
    let mut world = World::with_pool(1).await;
    world.fake.edit("controlplanes.skep.dev", "demo-abcd2345", "demo-abcd2345", |plane| {
        (plane["spec"]["network"]["podNetwork"], plane["spec"]["network"]["kubeProxy"]) =
            (json!("Vxlan"), json!("Iptables"));
    });
    world.settle().await.unwrap();
    let made = world.provider.machines().remove(&world.name()).unwrap();
    let cluster = &made.order.join.cluster;
    assert_eq!((cluster.pod_network, cluster.kube_proxy), (PodNetwork::Vxlan, KubeProxyMode::Iptables));
    let said = World::condition(&world.pool(), NetworkPolicyEnforced);
    assert!(said.contains("(vxlan)"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn the_tenant_gets_its_bindings_once() {
    let world = World::running(2).await;
    let bindings = world.fake.objects("clusterrolebindings.rbac.authorization.k8s.io");
    let said: Vec<_> = bindings
        .iter()
        .map(|b| (b["roleRef"]["name"].as_str().unwrap(), b["subjects"][0]["name"].as_str().unwrap()))
        .collect();
    assert_eq!(
        said,
        [("system:node-bootstrapper", "system:bootstrappers:skep"), ("system:node-proxier", "system:nodes")]
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_while_nobody_has_joined() {
    let world = World::with_pool(1).await;
    for _ in 0..3 {
        world.pass(&world.reconcilers(world.fake.client())).await.unwrap();
    }
    let before = kubelets::tokens(&world.fake).remove(0);
    assert_eq!(decoded(&before, "auth-extra-groups"), "system:bootstrappers:skep");
    assert!(before["data"].get("usage-bootstrap-signing").is_none(), "it authenticates and nothing else");
    let expires = |token: &Value| decoded(token, "expiration").parse::<Timestamp>().unwrap();
    let hour = expires(&before).duration_since(Timestamp::now()).as_secs();
    assert!((3500..=3600).contains(&hour), "{hour}");

    // Most of its time is over.
    let name = before["metadata"]["name"].as_str().unwrap();
    let soon = Timestamp::now() + 10.minutes();
    let encoded = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(soon.to_string())
    };
    world.fake.edit("secrets", "kube-system", name, |secret| secret["data"]["expiration"] = json!(encoded));
    world.pass(&world.reconcilers(world.fake.client())).await.unwrap();
    let after = kubelets::tokens(&world.fake).remove(0);
    assert!(expires(&after) > soon + 40.minutes());
    assert_eq!(
        decoded(&after, "token-secret"),
        decoded(&before, "token-secret"),
        "the machine knows this one"
    );
}

/// Nobody was there to renew it, and the tenant has cleaned it up.
#[tokio::test(start_paused = true)]
async fn a_machine_whose_token_is_no_more_is_told_another_one() {
    let mut world = World::with_pool(1).await;
    for _ in 0..3 {
        world.pass(&world.reconcilers(world.fake.client())).await.unwrap();
    }
    assert_eq!(world.machine()["status"]["phase"], "Joining");
    let old = world.provider.machines().remove(&world.name()).unwrap().order.join.token;
    let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> =
        kube::Api::namespaced(world.fake.client(), "kube-system");
    let name = kubelets::tokens(&world.fake)[0]["metadata"]["name"].as_str().unwrap().to_owned();
    secrets.delete(&name, &Default::default()).await.unwrap();
    world.pass(&world.reconcilers(world.fake.client())).await.unwrap();
    assert_ne!(world.provider.machines().remove(&world.name()).unwrap().order.join.token, old);
    let reboots = |world: &World| world.provider.calls().iter().filter(|c| c.starts_with("reboot")).count();
    assert_eq!(reboots(&world), 1, "it reads it when it starts");
    world.settle().await.unwrap();
    assert_eq!((world.machine()["status"]["phase"].as_str(), reboots(&world)), (Some("Ready"), 1));
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_not_ours_is_not_written_over() {
    let world = World::with_pool(1).await;
    world.pass(&world.reconcilers(world.fake.client())).await.unwrap();
    let token = kubelets::tokens(&world.fake).remove(0);
    let name = token["metadata"]["name"].as_str().unwrap();
    world.fake.edit("secrets", "kube-system", name, |secret| secret["metadata"]["labels"] = json!({}));
    let error = world.pass(&world.reconcilers(world.fake.client())).await.unwrap_err().to_string();
    assert!(error.contains("SKEP-8061") && error.contains(name), "{error}");
    assert_eq!(decoded(&kubelets::tokens(&world.fake)[0], "token-secret"), decoded(&token, "token-secret"));
    let said = World::condition(&world.machine(), Ready);
    assert!(said.starts_with("False ForeignToken: "), "{said}");
}

#[tokio::test(start_paused = true)]
async fn without_its_infrastructure_a_machine_says_why_and_leaves_nothing() {
    let mut world = World::with_pool(1).await;
    world.no_root = Some("local machines need root: run skep as root".into());
    world.settle().await.unwrap();
    let machine = world.machine();
    assert_eq!(machine["status"]["phase"], "Failed");
    let said = World::condition(&machine, Accepted);
    assert_eq!(said, "False NoInfrastructure: local machines need root: run skep as root (SKEP-8057)");
    let said = World::condition(&world.pool(), Ready);
    assert!(
        said.contains("0 of 1 nodes are ready; machine demo-workers-") && said.contains("need root"),
        "{said}"
    );
    // Nothing was asked of anybody, so nothing has to be given back.
    world.delete_pool().await;
    world.settle().await.unwrap();
    assert!(world.machines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_infrastructure_that_fails_is_a_condition_and_is_asked_again() {
    let mut world = World::with_pool(1).await;
    world.provider.break_down(Some("the disk is full"));
    let error = world.settle().await.unwrap_err().to_string();
    assert!(error.contains("the disk is full") && error.contains("SKEP-8042"), "{error}");
    let machine = world.machine();
    assert_eq!(machine["status"]["phase"], "Failed");
    for type_ in [MachineReady, Ready] {
        let said = World::condition(&machine, type_);
        assert!(
            said.starts_with("False InfrastructureFailed: ") && said.contains("the disk is full"),
            "{said}"
        );
    }
    world.provider.break_down(None);
    world.settle().await.unwrap();
    assert_eq!(world.machine()["status"]["phase"], "Ready");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_ready_shows_and_comes_back() {
    let mut world = World::running(1).await;
    let name = world.name();
    let ready = |world: &World, status: &str| {
        world.change_node(&name, |node| {
            node["status"]["conditions"][0] = json!({"type": "Ready", "status": status, "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status."});
        });
    };
    ready(&world, "Unknown");
    world.settle().await.unwrap();
    let machine = world.machine();
    assert_eq!(machine["status"]["phase"], "NotReady");
    let said = World::condition(&machine, NodeReady);
    assert_eq!(said, "Unknown NodeStatusUnknown: the node says: Kubelet stopped posting node status.");
    assert_eq!(world.pool()["status"]["readyReplicas"], 0);
    ready(&world, "True");
    world.settle().await.unwrap();
    assert_eq!(world.machine()["status"]["phase"], "Ready");
    assert_eq!(world.provider.made(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_away_for_a_while_changes_nothing() {
    let mut world = World::running(1).await;
    cluster_is_ready(&world, "False");
    world.settle().await.unwrap();
    let machine = world.machine();
    assert_eq!(
        (&machine["status"]["phase"], &machine["status"]["node"]),
        (&json!("Ready"), &json!(world.name()))
    );
    assert!(World::condition(&machine, NodeReady).starts_with("True"));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_taken_away_is_made_anew() {
    let mut world = World::running(1).await;
    let name = world.name();
    let old = kubelets::node(&world.fake, &name).unwrap()["metadata"]["uid"].clone();
    world.provider.lose(&name);
    world.settle().await.unwrap();
    assert_eq!(world.provider.made(), 2);
    assert_eq!(world.machine()["status"]["phase"], "Ready");
    assert_ne!(kubelets::node(&world.fake, &name).unwrap()["metadata"]["uid"], old, "another node");
    assert!(kubelets::tokens(&world.fake).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_deleted_by_hand_leaves_its_machine() {
    let mut world = World::running(1).await;
    let name = world.name();
    let nodes: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(world.fake.client());
    nodes.delete(&name, &Default::default()).await.unwrap();
    world.pass(&world.reconcilers(world.fake.client())).await.unwrap();
    let machine = world.machine();
    assert_eq!((&machine["status"]["phase"], &machine["status"]["node"]), (&json!("NotReady"), &Value::Null));
    world.settle().await.unwrap();
    assert_eq!(world.machine()["status"]["phase"], "Ready", "it has registered again");
    assert_eq!(world.provider.made(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_of_the_same_name_on_another_machine_is_not_taken_for_it() {
    let mut world = World::new();
    world.fake.plant(by_hand(json!({})));
    world.fake.plant(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "hand"},
        "spec": {"providerID": "elsewhere://7"},
        "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "x", "message": "y"}]}}));
    world.settle().await.unwrap();
    let said = World::condition(&world.machine(), NodeReady);
    assert!(
        said.starts_with("False ForeignNode: ")
            && said.contains("elsewhere://7")
            && said.contains("SKEP-8058"),
        "{said}"
    );
    assert_eq!(world.machine()["status"]["node"], Value::Null);
    assert_eq!(world.provider.made(), 0, "its kubelet could not register");
    // Its machine may go without it.
    world.delete_machine("hand").await;
    world.settle().await.unwrap();
    assert!(world.machines().is_empty());
    assert!(kubelets::node(&world.fake, "hand").is_some(), "not ours to delete");
}

#[tokio::test(start_paused = true)]
async fn a_machine_made_by_hand_follows_its_cluster_out() {
    let mut world = World::new();
    world.fake.plant(by_hand(json!({"zone": "b"})));
    world.settle().await.unwrap();
    let machine = world.machine();
    assert_eq!(machine["status"]["phase"], "Ready");
    assert_eq!(machine["metadata"]["ownerReferences"][0]["kind"], "Cluster");
    assert_eq!(machine["spec"]["template"]["version"], Value::Null, "the spec is its author's");
    assert_eq!(machine["status"]["template"]["version"], "v1.36.3");
    // It keeps the version it was made with.
    world.fake.edit("clusters.skep.dev", "default", "demo", |c| c["status"]["version"] = json!("v1.35.4"));
    world.settle().await.unwrap();
    assert_eq!(world.provider.made(), 1);
    let clusters: kube::Api<skep_api::Cluster> = kube::Api::namespaced(world.fake.client(), "default");
    clusters.delete("demo", &Default::default()).await.unwrap();
    world.settle().await.unwrap();
    assert!(world.machines().is_empty() && world.provider.machines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stopped_machine_is_asked_for_again() {
    let mut world = World::running(1).await;
    let name = world.name();
    world.provider.set_state(&name, State::Stopped);
    let before = world.provider.calls().len();
    world.settle().await.unwrap();
    assert!(World::condition(&world.machine(), MachineReady).starts_with("False Stopped"));
    assert!(world.provider.calls().len() > before);
}

#[tokio::test(start_paused = true)]
async fn a_kubeconfig_that_runs_something_is_refused() {
    let mut world = World::with_pool(1).await;
    world.fake.edit("secrets", "default", "demo-kubeconfig", |secret| {
        use base64::Engine as _;
        let text = json!({"apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443"}}],
            "users": [{"name": "u", "user": {"exec": {"command": "id", "apiVersion": "client.authentication.k8s.io/v1"}}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]});
        secret["data"]["value"] = json!(base64::engine::general_purpose::STANDARD.encode(text.to_string()));
    });
    let error = world.settle().await.unwrap_err().to_string();
    assert!(error.contains("default/demo-kubeconfig") && error.contains("SKEP-8060"), "{error}");
    assert!(world.provider.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_settled_machine_is_left_in_peace() {
    let world = World::running(2).await;
    let before = world.backend().state().await.unwrap();
    for _ in 0..3 {
        world.pass(&world.reconcilers(world.fake.client())).await.unwrap();
    }
    assert_eq!(world.backend().state().await.unwrap(), before);
}
