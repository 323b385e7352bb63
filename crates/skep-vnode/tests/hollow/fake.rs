//! The driver against the fake API server: it needs no scheduler and no controllers to go wrong in every way.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use skep_testkit::FakeApiServer;

use crate::harness::{Running, node, quick, until};

fn pod(name: &str, node: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {}},
        "spec": {"nodeName": node, "restartPolicy": "Always", "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Pending"},
    });
    change(&mut pod);
    pod
}

fn find(fake: &FakeApiServer, resource: &str, name: &str) -> Option<Value> {
    fake.objects(resource).into_iter().find(|object| object["metadata"]["name"] == name)
}

fn condition(object: &Value, type_: &str) -> String {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == type_);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or_default().to_owned()
}

async fn until_pod(fake: &FakeApiServer, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    until(&format!("pod {name} {what}"), || async { find(fake, "pods", name).filter(&wanted) }).await
}

fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready") == "True"
}

/// Deletes as a person does: the pod stays for its grace period.
fn ask_to_go(fake: &FakeApiServer, name: &str) {
    let at = (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(30))
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string();
    assert!(fake.edit("pods", "default", name, |pod| {
        pod["metadata"]["deletionTimestamp"] = json!(at);
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    }));
}

#[tokio::test]
async fn nodes_register_and_their_pods_run_and_go() {
    let fake = FakeApiServer::bare();
    let fleet = Running::start(fake.client(), quick(), vec![node("h-1"), node("h-2")]);
    until("both nodes", || async { (fleet.figures.nodes.load(Ordering::Relaxed) == 2).then_some(()) }).await;
    let registered = find(&fake, "nodes", "h-1").unwrap();
    assert_eq!(registered["metadata"]["labels"]["skep.dev/hollow"], "true");
    assert_eq!(registered["metadata"]["labels"]["example.com/rack"], "7");
    assert_eq!(condition(&registered, "Ready"), "True");
    let lease = find(&fake, "leases.coordination.k8s.io", "h-1").unwrap();
    assert_eq!(lease["metadata"]["ownerReferences"][0]["uid"], registered["metadata"]["uid"]);

    fake.plant(pod("web", "h-1", |_| {}));
    fake.plant(pod("elsewhere", "real", |_| {}));
    let web = until_pod(&fake, "web", "ready", is_ready).await;
    assert_eq!(
        (web["status"]["phase"].as_str(), web["status"]["podIP"].is_string()),
        (Some("Running"), true)
    );
    assert_eq!(web["status"]["containerStatuses"][0]["imageID"], "hollow://i");
    assert_eq!(find(&fake, "pods", "elsewhere").unwrap()["status"], json!({"phase": "Pending"}));

    // A lease is renewed without end.
    let renewed = lease["spec"]["renewTime"].clone();
    until("another beat", || async {
        let lease = find(&fake, "leases.coordination.k8s.io", "h-1").unwrap();
        (lease["spec"]["renewTime"] != renewed).then_some(())
    })
    .await;

    ask_to_go(&fake, "web");
    until("the pod to go", || async { find(&fake, "pods", "web").is_none().then_some(()) }).await;
    fleet.stop().await;
    assert!(find(&fake, "nodes", "h-1").is_some(), "nodes stay when the driver ends");
}

#[tokio::test]
async fn jobs_complete_and_orders_on_labels_are_followed() {
    let fake = FakeApiServer::bare();
    let fleet = Running::start(fake.client(), quick(), vec![node("h-1")]);
    let ordered = |order: &'static str| {
        move |pod: &mut Value| {
            pod["metadata"]["labels"]["skep.dev/hollow"] = json!(order);
            pod["spec"]["restartPolicy"] = json!("Never");
        }
    };
    until("the node", || async { find(&fake, "nodes", "h-1") }).await;
    fake.plant(pod("job", "h-1", |pod| pod["spec"]["restartPolicy"] = json!("Never")));
    fake.plant(pod("bad", "h-1", ordered("exit-3")));
    fake.plant(pod("stuck", "h-1", ordered("fail-start")));
    until_pod(&fake, "job", "succeeds", |pod| pod["status"]["phase"] == "Succeeded").await;
    let bad = until_pod(&fake, "bad", "fails", |pod| pod["status"]["phase"] == "Failed").await;
    let ended = &bad["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(3), &json!("Error")));
    let stuck = until_pod(&fake, "stuck", "fails", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(stuck["status"]["containerStatuses"][0]["state"]["terminated"]["reason"], "StartError");
    fleet.stop().await;
}

#[tokio::test]
async fn a_dark_node_says_nothing_until_it_is_back() {
    let fake = FakeApiServer::bare();
    let fleet = Running::start(fake.client(), quick(), vec![node("h-1"), node("h-2")]);
    for name in ["h-1", "h-2"] {
        until("the node", || async { find(&fake, "leases.coordination.k8s.io", name) }).await;
    }
    let label = |value: &str| {
        let value = value.to_owned();
        fake.edit("nodes", "", "h-1", move |node| {
            node["metadata"]["labels"]["skep.dev/hollow"] = json!(value)
        });
    };
    label("dark");
    // The light of the other one shows that time passes; two of its beats are enough for one of ours.
    let beat = |name: &'static str| {
        find(&fake, "leases.coordination.k8s.io", name).unwrap()["spec"]["renewTime"].clone()
    };
    for _ in 0..2 {
        let before = beat("h-2");
        until("a beat of the other node", || async { (beat("h-2") != before).then_some(()) }).await;
    }
    let silent = beat("h-1");
    fake.plant(pod("web", "h-1", |_| {}));
    fake.plant(pod("other", "h-2", |_| {}));
    until_pod(&fake, "other", "ready", is_ready).await;
    let before = beat("h-2");
    until("a beat of the other node", || async { (beat("h-2") != before).then_some(()) }).await;
    assert_eq!(beat("h-1"), silent);
    assert_eq!(find(&fake, "pods", "web").unwrap()["status"], json!({"phase": "Pending"}));

    label("true");
    until_pod(&fake, "web", "ready", is_ready).await;
    until("the node is heard of", || async { (beat("h-1") != silent).then_some(()) }).await;
    fleet.stop().await;
}

#[tokio::test]
async fn a_new_process_goes_on_where_the_old_one_was() {
    let fake = FakeApiServer::bare();
    let fleet = Running::start(fake.client(), quick(), vec![node("h-1")]);
    until("the node", || async { find(&fake, "nodes", "h-1") }).await;
    fake.plant(pod("web", "h-1", |_| {}));
    let web = until_pod(&fake, "web", "ready", is_ready).await;
    fleet.stop().await;
    let fleet = Running::start(fake.client(), quick(), vec![node("h-1")]);
    until("the node is taken over", || async {
        (fleet.figures.nodes.load(Ordering::Relaxed) == 1).then_some(())
    })
    .await;
    fake.plant(pod("next", "h-1", |_| {}));
    let next = until_pod(&fake, "next", "ready", is_ready).await;
    let same = find(&fake, "pods", "web").unwrap();
    assert_eq!(same["status"]["containerStatuses"], web["status"]["containerStatuses"]);
    assert_ne!(same["status"]["podIP"], next["status"]["podIP"]);
    // A machine that was switched off and on has restarted what ran on it.
    let mut rebooted = node("h-1");
    rebooted.boot = 1;
    fleet.want(vec![rebooted]);
    until_pod(&fake, "web", "restarts", |pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1)
        .await;
    fleet.want(Vec::new());
    until("no node is played", || async { (fleet.figures.nodes.load(Ordering::Relaxed) == 0).then_some(()) })
        .await;
    fleet.stop().await;
}

#[tokio::test]
async fn a_node_of_somebody_else_is_left_alone_and_a_deleted_one_is_made_again() {
    let fake = FakeApiServer::bare();
    let foreign = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "h-1"},
        "spec": {"providerID": "skep-local://x"}});
    fake.plant(foreign);
    let fleet = Running::start(fake.client(), quick(), vec![node("h-1"), node("h-2")]);
    let first = until("the other node", || async { find(&fake, "nodes", "h-2") }).await;
    let api = kube::Api::<k8s_openapi::api::core::v1::Node>::all(fake.client());
    api.delete("h-2", &kube::api::DeleteParams::default()).await.unwrap();
    let lease =
        kube::Api::<k8s_openapi::api::coordination::v1::Lease>::namespaced(fake.client(), "kube-node-lease");
    let _ = lease.delete("h-2", &kube::api::DeleteParams::default()).await;
    until("it to be made again", || async {
        find(&fake, "nodes", "h-2").filter(|node| node["metadata"]["uid"] != first["metadata"]["uid"])
    })
    .await;
    let foreign = find(&fake, "nodes", "h-1").unwrap();
    assert!(foreign["metadata"]["labels"].is_null() && foreign["status"].is_null(), "{foreign}");
    fleet.stop().await;
}
