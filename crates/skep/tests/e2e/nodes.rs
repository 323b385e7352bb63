//! Nodes: pools, machines, what becomes of them.

mod faults;
mod machine;
mod network;
mod storm;

use std::{fs, path::Path, process::Command};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use skep_engine::oci::{Config, Content, Image, Layer, Layout, Name};

use crate::installation::{Installation, eventually};

pub use {faults::faults, network::network, storm::storm};

/// What this host lacks for real nodes.
pub fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("the tests do not run as root".to_owned());
    }
    let there = |name: &&str| {
        std::env::var("PATH")
            .unwrap_or_default()
            .split(':')
            .any(|dir| fs::exists(format!("{dir}/{name}")).unwrap_or(false))
    };
    ["runc", "iptables", "nft", "conntrack", "ip"]
        .iter()
        .find(|name| !there(name))
        .map(|name| format!("the program {name} is missing"))
}

/// Network namespaces and interfaces that belong to machines.
fn on_host() -> String {
    let run = |args: &[&str]| {
        let output = Command::new("ip").args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let all = run(&["netns", "list"]) + &run(&["-brief", "link"]);
    all.lines().filter(|line| line.contains("skep")).collect::<Vec<_>>().join("\n")
}

/// Uids of machines.
pub fn uids(machines: &serde_json::Value) -> Vec<String> {
    let all = machines["items"].as_array().unwrap().iter();
    all.map(|machine| machine["metadata"]["uid"].as_str().unwrap().to_owned()).collect()
}

/// How many of these machines have anything on this host: their names there begin with their uids.
pub fn left(uids: &[String]) -> usize {
    let there = on_host();
    uids.iter().filter(|uid| there.contains(&uid[..8])).count()
}

/// The first process of a machine, as this host sees it.
fn first_process(shared: &Installation, uid: &str) -> Option<i32> {
    let file = shared.data().join("local/machines").join(uid).join("pid.json");
    let pid: serde_json::Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    pid["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok())
}

/// A person brings an image, and it runs.
fn images(shared: &Installation) {
    let pause = shared.skep("engine path skep.dev/pause:v1");
    let image = {
        let mut layer = Layer::default();
        layer.file("app", 0o755, Content::Of(Path::new(pause.trim()).join("pause")));
        let config = Config { entrypoint: vec!["/app".to_owned()], ..Config::default() };
        Image { layers: vec![layer], config }
    };
    let layout = tempfile::tempdir().unwrap();
    let name: Name = "example.org/team/app:1".parse().unwrap();
    Layout::open(layout.path()).unwrap().add(&image, &[name], "").unwrap();
    let archive = shared.file("app.tar");
    let tar = Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(layout.path()).arg(".").status();
    assert!(tar.unwrap().success());

    let manifest = |name: &str| format!("run {name} --image=example.org/team/{name}:1 --restart=Never");
    shared.tenant("demo", &manifest("app"));
    let reason = "get pod app -o jsonpath={.status.containerStatuses[0].state.waiting.reason}";
    eventually("an image that is not there", || {
        ["ErrImagePull", "ImagePullBackOff"].contains(&shared.tenant("demo", reason).trim()).then_some(())
    });
    let loaded = shared.skep(&format!("image load {}", archive.display()));
    assert_eq!(loaded.trim(), "example.org/team/app:1");
    assert!(shared.skep("image list -o name").contains("example.org/team/app:1"));
    shared.tenant("demo", "wait pod app --for=condition=Ready --timeout=2m");
    shared.tenant("demo", "delete pod app --grace-period=1");
}

/// A value of a machine's own group, in whichever version of cgroups there is.
fn group(uid: &str, files: [&str; 2]) -> Option<String> {
    let [first, second] = files;
    ["memory", "cpuacct", ""].into_iter().find_map(|controller| {
        let machines = fs::read_dir(Path::new("/sys/fs/cgroup").join(controller).join("skep")).ok()?;
        let short: String = uid.chars().take(8).collect();
        let own =
            machines.flatten().find(|entry| entry.file_name().to_string_lossy().ends_with(&short))?.path();
        fs::read_to_string(own.join(first)).or_else(|_| fs::read_to_string(own.join(second))).ok()
    })
}

/// What a node says it uses is what its machine uses and may use, not what this host does.
fn only_its_own_use(shared: &Installation) {
    for machine in shared.json("get machines -o json")["items"].as_array().unwrap() {
        let (name, uid) = (&machine["metadata"]["name"], machine["metadata"]["uid"].as_str().unwrap());
        let path = format!("get --raw /api/v1/nodes/{}/proxy/stats/summary", name.as_str().unwrap());
        let summary: serde_json::Value = serde_json::from_str(&shared.tenant("demo", &path)).unwrap();
        // What it calls available is counted from the host's memory; the class is taken off elsewhere.
        let memory = &summary["node"]["memory"];
        let limit: u64 = group(uid, ["memory.limit_in_bytes", "memory.max"]).unwrap().trim().parse().unwrap();
        assert!(memory["usageBytes"].as_u64().unwrap() <= limit, "{limit}: {memory}");
        // The host has used much more since it was started.
        let cpu = summary["node"]["cpu"]["usageCoreNanoSeconds"].as_u64().unwrap();
        let own = group(uid, ["cpuacct.usage", "cpu.stat"]).unwrap();
        let own: u64 = match own.trim().strip_prefix("usage_usec ") {
            Some(stat) => stat.lines().next().unwrap().parse::<u64>().unwrap() * 1000,
            None => own.trim().parse().unwrap(),
        };
        assert!(cpu <= own, "the machine has used {own} ns, and its node says {cpu}");
        println!("{name}: {cpu} ns of the machine's {own}, memory {memory}");
    }
}

/// Pods hold a pool that is being deleted: whoever waits for it reads which, and until when.
fn a_pool_that_is_held(shared: &Installation) {
    shared.tenant("demo", "create deployment held --image=example.org/team/app:1");
    shared.tenant("demo", "create poddisruptionbudget held --selector=app=held --min-available=1");
    shared.tenant("demo", "rollout status deployment held --timeout=2m");
    let said = shared.fails(4, "delete nodepool workers --timeout 30s");
    for part in [
        "is draining since 20",
        "drain.timeoutSeconds 600",
        "default/held-",
        "its disruption budget holds it",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    println!("{said}");
    shared.tenant("demo", "delete poddisruptionbudget held");
    shared.skep("delete nodepool workers");
    shared.tenant("demo", "delete deployment held");
}

/// Two real nodes join, one survives the end of its first process, all go without a trace.
pub fn real_nodes(shared: &Installation) {
    if let Some(missing) = missing() {
        println!("LEFT OUT: real nodes: {missing}");
        return;
    }
    assert!(shared.skep("get machineclasses").contains("local-small"));
    let refused = shared.fails(6, "create nodepool wrong -c demo --class giant");
    assert!(refused.contains("local-small"), "{refused}");
    shared.skep("delete nodepool wrong");

    // The first pool on a machine builds kubelet and containerd.
    shared.skep("create nodepool workers -c demo --class local-small --replicas 2 --timeout 30m");
    let nodes = shared.tenant("demo", "get nodes -o wide");
    assert_eq!(nodes.lines().filter(|line| line.contains(" Ready ")).count(), 2, "{nodes}");
    assert_eq!(nodes.matches("v1.36.3").count(), 2, "{nodes}");
    let versions = shared.json("get nodepools workers -o json")["status"]["version"].clone();
    assert_eq!(versions, "v1.36.3");

    // Names resolve, resources are counted, and what is inside of the cluster is reached through the tunnel.
    let coredns = "-n kube-system rollout status deployment coredns metrics-server --timeout=10m";
    shared.tenant("demo", coredns);
    let said = shared.tenant("demo", "-n kube-system logs deployment/coredns");
    assert!(said.contains("CoreDNS-"), "{said}");
    let version = shared.tenant("demo", "-n kube-system exec deployment/coredns -- coredns -version");
    assert!(version.contains("CoreDNS-"), "{version}");
    let service = "get --raw /api/v1/namespaces/kube-system/services/kube-dns:metrics/proxy/metrics";
    assert!(shared.tenant("demo", service).contains("coredns_build_info"));
    let counted = eventually("metrics of both nodes", || {
        let top = shared.try_tenant("demo", "top nodes --no-headers")?;
        (top.lines().filter(|line| !line.contains("unknown")).count() == 2).then_some(top)
    });
    println!("{counted}");
    only_its_own_use(shared);
    images(shared);

    // The power goes: the machine comes back as the same node.
    let machines = shared.json("get machines -o json");
    let uids = uids(&machines);
    assert_eq!(left(&uids), 2);
    let machine = &machines["items"][0]["metadata"];
    let (name, uid) = (machine["name"].as_str().unwrap(), machine["uid"].as_str().unwrap());
    let first = first_process(shared, uid).expect("the machine's first process is written down");
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    eventually("another first process", || first_process(shared, uid).filter(|pid| *pid != first));
    let boot = |shared: &Installation| {
        shared.tenant("demo", &format!("get node {name} -o jsonpath={{.status.conditions[-1].status}}"))
    };
    eventually("the node is ready again", || (boot(shared) == "True").then_some(()));

    shared.kubectl("scale nodepool workers --replicas=1");
    eventually("one machine is left", || {
        let machines = shared.json("get machines -o json");
        machines["items"].as_array().filter(|items| items.len() == 1).map(drop)
    });
    a_pool_that_is_held(shared);
    eventually("nothing of them is on this host", || (left(&uids) == 0).then_some(()));
    assert_eq!(shared.tenant("demo", "get nodes -o name"), "");
}

/// A node that nobody on it can help any more is started anew, once. Then its pool goes from one minor to the next, new
/// machines first.
pub fn repair_and_upgrade(shared: &Installation) {
    if let Some(missing) = missing() {
        println!("LEFT OUT: repair and upgrade of real nodes: {missing}");
        return;
    }
    shared.skep(
        "create nodepool sick -c demo --class local-small --replicas 2 --version v1.35.4 --timeout 30m",
    );
    shared
        .skep("kubectl patch nodepool sick --type=merge -p={\"spec\":{\"repair\":{\"notReadySeconds\":30}}}");
    let pool = |shared: &Installation| shared.json("get nodepools sick -o json");
    eventually("repair has looked at the pool", || (allowed(shared, "sick").0 == "Idle").then_some(()));
    let machines = shared.json("get machines -o json");
    let machine = machines["items"][0].clone();
    let name = machine["metadata"]["name"].as_str().unwrap().to_owned();
    let uid = machine["metadata"]["uid"].as_str().unwrap().to_owned();
    let first = first_process(shared, &uid).unwrap();
    let kubelet = || {
        let here = namespaces(first);
        let is_it = |pid: &i32| *pid != first && program(*pid) == "kubelet" && namespaces(*pid) == here;
        processes().into_iter().find(is_it)
    };

    // The agent sees to a kubelet that ends. Nothing comes of it outside.
    let killed = kubelet().expect("the machine has a kubelet");
    kill(Pid::from_raw(killed), Signal::SIGKILL).unwrap();
    eventually("another kubelet", || kubelet().filter(|pid| *pid != killed));
    assert_eq!(pool(shared)["status"]["repairs"], serde_json::Value::Null);

    // Then the agent hangs, and the kubelet ends.
    kill(Pid::from_raw(first), Signal::SIGSTOP).unwrap();
    kill(Pid::from_raw(kubelet().unwrap()), Signal::SIGKILL).unwrap();
    eventually("the node is not ready", || allowed(shared, "sick").1.contains(&name).then_some(()));
    println!("{:?}", allowed(shared, "sick"));
    eventually("another first process", || first_process(shared, &uid).filter(|pid| *pid != first));
    eventually("the node is ready again", || (allowed(shared, "sick").0 == "Idle").then_some(()));
    let orders = pool(shared)["status"]["repairs"].clone();
    assert_eq!(orders.as_array().map(Vec::len), Some(1), "{orders}");
    assert_eq!((&orders[0]["machine"], &orders[0]["action"]), (&name.as_str().into(), &"Reboot".into()));
    let console = shared.kubectl(&format!("get configmap {name}-reboot -o jsonpath={{.data.console\\.log}}"));
    assert!(console.contains("kubelet"), "{console}");

    // The next minor: first what it would do, then it.
    let file = shared.file("sick.yaml");
    let wanted = "{apiVersion: skep.dev/v1alpha1, kind: NodePool, metadata: {name: sick, namespace: default}, \
         spec: {cluster: demo, template: {machineClass: local-small, version: v1.36.3}}}\n";
    fs::write(&file, wanted).unwrap();
    let plan = shared.skep(&format!("plan -f {}", file.display()));
    assert!(plan.contains("version v1.35.4 → v1.36.3") && plan.contains(&name), "{plan}");
    println!("{plan}");
    shared.kubectl(&format!("apply --server-side --force-conflicts -f {}", file.display()));
    shared.skep("wait nodepool sick --for=ready --timeout 10m");
    let status = pool(shared)["status"].clone();
    assert_eq!(status["versionSummary"], "v1.36.3 (2)", "{status:#}");
    assert_eq!(status["healthyTemplate"]["version"], "v1.36.3", "{status:#}");
    let machines = shared.json("get machines -o json");
    assert!(machines["items"].as_array().unwrap().iter().all(|one| one["metadata"]["name"] != name.as_str()));
    let mut uids = uids(&machines);
    uids.push(uid);
    assert_eq!(left(&uids), 2, "{uids:?} {}", on_host());
    shared.skep("delete nodepool sick");
    eventually("nothing of them is on this host", || (left(&uids) == 0).then_some(()));
    assert_eq!(shared.kubectl("get configmaps -l skep.dev/evidence -o name"), "", "it goes with the pool");
}

/// Numbers of all processes of this host.
fn processes() -> Vec<i32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok()).collect()
}

/// What a process runs.
fn program(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// Which network a process is in.
fn namespaces(pid: i32) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/net"));
    link.map(|link| link.display().to_string()).unwrap_or_default()
}

/// Reason and message of what repair may do in a pool; empty before it has looked.
fn allowed(shared: &Installation, pool: &str) -> (String, String) {
    let pool = shared.json(&format!("get nodepools {pool} -o json"));
    let conditions = pool["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let said = conditions.iter().find(|one| one["type"] == "RepairAllowed").cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    (text(&said["reason"]), text(&said["message"]))
}

/// What repair has ordered in a pool, with whom.
fn repairs(shared: &Installation, pool: &str) -> Vec<(String, String)> {
    let pool = shared.json(&format!("get nodepools {pool} -o json"));
    let orders = pool["status"]["repairs"].as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut orders: Vec<_> =
        orders.iter().map(|order| (text(&order["machine"]), text(&order["action"]))).collect();
    orders.sort();
    orders
}
