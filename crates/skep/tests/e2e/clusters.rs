//! Clusters from their creation to their end.

use std::{
    fs,
    process::Command,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
};

use crate::{hub::Hub, installation::eventually, writers::Writers};

pub fn create_and_use(shared: &Hub) {
    let cluster = shared.json("create cluster demo -o json");
    assert_eq!(cluster["status"]["phase"], "Ready");
    assert!(shared.tenant("demo", "get namespaces").contains("kube-system"));
    assert!(shared.tenant("demo", "version -o json").contains("\"v1.36.3\""));
    assert!(shared.tenant("demo", "get serviceaccount default -o name").contains("default"));

    // What was in the person's kubeconfig stays.
    let own = shared.file("kubeconfig");
    let other = "apiVersion: v1\nkind: Config\nclusters:\n- name: work\n  cluster: {server: https://work}\ncontexts: []\nusers: []\n";
    fs::write(&own, other).unwrap();
    assert!(shared.skep("use demo").contains("skep-default-demo"));
    let merged = fs::read_to_string(&own).unwrap();
    assert!(
        merged.contains("https://work") && merged.contains("current-context: skep-default-demo"),
        "{merged}"
    );

    assert!(shared.skep("get clusters").contains("Ready"));
    assert_eq!(shared.skep("get clusters -o name"), "cluster.skep.dev/demo\n");
    assert_eq!(shared.json("get clusters demo -o json")["metadata"]["name"], "demo");
    let page = shared.skep("describe cluster demo");
    for part in ["Conditions:", "Pods:", "kube-apiserver", "Events:", "the control plane is as the spec says"]
    {
        assert!(page.contains(part), "{part} is missing in\n{page}");
    }
    assert!(!shared.skep("logs demo/kube-apiserver --tail 5").is_empty());
    assert!(shared.fails(6, "create cluster demo").contains("SKEP-3002"));
    assert!(shared.fails(3, "kubeconfig nothing").contains("SKEP-3001"));
    assert!(shared.fails(3, "delete cluster nothing").contains("SKEP-3001"));
    shared.skep("delete cluster nothing --ignore-not-found");
}

pub fn what_cannot_be_is_refused_with_what_can(shared: &Hub) {
    for (option, known) in
        [("--version v1.99.0", "v1.36.3"), ("--size giant", "small"), ("--profile none", "standard")]
    {
        let error = shared.fails(6, &format!("create cluster wrong {option}"));
        assert!(error.contains("SKEP-3010") && error.contains(known), "{option}: {error}");
        shared.skep("delete cluster wrong");
    }
    let error = shared.fails(6, "create cluster wrong --version latest");
    assert!(error.contains("SKEP-3003") && error.contains("spec.version"), "{error}");
    assert!(shared.fails(6, "create cluster Wrong_Name").contains("SKEP-3003"));
    assert!(shared.fails(2, "create cluster wrong --timeout soon").contains("5m"));
}

/// Asks the tenant again and again, each time on a new connection, and writes over kept HTTP/1.1 connections without
/// ever repeating a request, from before `change` until every replaced API server has ended.
fn no_request_fails(shared: &Hub, cluster: &str, change: impl FnOnce()) {
    shared.tenant(cluster, "get namespaces");
    let writers = Writers::start(&shared.skep(&format!("kubeconfig {cluster}")));
    let file = format!("--kubeconfig={}", shared.file(&format!("{cluster}.kubeconfig")).display());
    let ask = || shared.command(["kubectl", &file, "get", "--raw", "/api/v1/namespaces/default"]);
    asked_meanwhile(shared, ask, change);
    writers.go_on();
    let (written, failures) = writers.stop();
    assert_eq!(failures, Vec::<String>::new(), "of {written} writes");
    println!("{written} writes, none failed");
}

/// Asks again and again, and nothing fails, from before `change` until every replaced API server has ended.
pub fn asked_meanwhile(shared: &Hub, ask: impl Fn() -> Command + Sync, change: impl FnOnce()) {
    let before = shared.container("kube-apiserver");
    let (stop, asked) = (AtomicBool::new(false), AtomicU32::new(0));
    let failures: Vec<String> = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut failures = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                let output = ask().output().unwrap();
                asked.fetch_add(1, Ordering::SeqCst);
                if !output.status.success() {
                    failures.push(String::from_utf8_lossy(&output.stderr).into_owned());
                }
            }
            failures
        });
        change();
        eventually("the old API server's end", || {
            let now = shared.container("kube-apiserver");
            (now.len() == before.len() && now != before).then_some(())
        });
        let last = asked.load(Ordering::SeqCst);
        eventually("requests after the change", || (asked.load(Ordering::SeqCst) > last + 10).then_some(()));
        stop.store(true, Ordering::SeqCst);
        asking.join().unwrap()
    });
    let asked = asked.into_inner();
    assert_eq!(failures, Vec::<String>::new(), "of {asked} requests");
    println!("{asked} requests, none failed");
}

/// Applies a spec for a cluster and waits until it is so.
pub fn change(shared: &Hub, cluster: &str, spec: &str) {
    let file = shared.file(&format!("{cluster}.yaml"));
    let text =
        format!("apiVersion: skep.dev/v1alpha1\nkind: Cluster\nmetadata:\n  name: {cluster}\nspec:\n{spec}");
    fs::write(&file, text).unwrap();
    let plan = shared.skep(&format!("plan -f {}", file.display()));
    assert!(plan.contains("kube-apiserver rolls"), "{plan}");
    shared.kubectl(&format!("apply --server-side --force-conflicts -f {}", file.display()));
    shared.skep(&format!("wait cluster {cluster} --timeout 4m"));
    let plan = shared.skep(&format!("plan -f {}", file.display()));
    assert!(plan.contains("No changes."), "{plan}");
}

pub fn a_resize_loses_no_request(shared: &Hub) {
    no_request_fails(shared, "demo", || change(shared, "demo", "  size:\n    class: medium\n"));
    assert!(shared.skep("get clusters demo").contains("medium"));
}

pub fn a_version_change_loses_no_request(shared: &Hub) {
    // The older minor may have to be built first.
    shared.skep("create cluster old --version v1.35.4 --timeout 20m");
    assert!(shared.tenant("old", "version -o json").contains("\"v1.35.4\""));
    shared.tenant("old", "create configmap kept --from-literal=a=b");
    no_request_fails(shared, "old", || change(shared, "old", "  version: v1.36.3\n"));
    let version = shared.tenant("old", "get --raw /version");
    assert!(version.contains("\"v1.36.3\""), "{version}");
    assert_eq!(shared.tenant("old", "get configmap kept -o jsonpath={.data.a}"), "b");
    // There is no way back: what the new version stored, the old one may not read.
    let file = shared.file("back.yaml");
    let back =
        "apiVersion: skep.dev/v1alpha1\nkind: Cluster\nmetadata:\n  name: old\nspec:\n  version: v1.35.4\n";
    fs::write(&file, back).unwrap();
    let error = shared.fails(6, &format!("plan -f {}", file.display()));
    assert!(error.contains("SKEP-4006") && error.contains("cannot go back"), "{error}");
    shared.skep("delete cluster old");
}

pub fn delete_leaves_nothing(shared: &Hub) {
    let tenant = shared.kubectl("get cluster demo -o jsonpath={.status.tenant}");
    shared.skep("delete cluster demo");
    assert_eq!(shared.skep("get clusters -o name"), "");
    eventually("the namespace's end", || {
        shared.kubectl("get namespaces -o name").lines().all(|line| !line.contains(&tenant)).then_some(())
    });
    for program in ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        eventually(program, || shared.container(program).is_empty().then_some(()));
    }
    let datastore = shared.json("get datastores main -o json");
    assert_eq!(datastore["status"]["tenants"], 0, "{}", datastore["status"]);
}
