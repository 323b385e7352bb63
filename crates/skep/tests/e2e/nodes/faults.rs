//! What dies on a machine comes back by itself and pods hardly notice; a machine that is cut off or stands still is repaired
//! once, and its pods are elsewhere meanwhile; a full disk costs the pod that filled it.

use std::{collections::BTreeMap, fs};

use nix::fcntl::posix_fallocate;
use serde_json::Value;

use super::{
    machine::{Disk, Machine, mounts},
    missing, on_host, repairs,
};
use crate::installation::{Installation, eventually, kill};

const POOL: &str = "
apiVersion: skep.dev/v1alpha1
kind: NodePool
metadata: {name: frail, namespace: default}
spec:
  cluster: demo
  replicas: 3
  template:
    machineClass: local-small
    kubelet: {evictionHard: {nodefs.available: 64Mi, imagefs.available: 32Mi}}
  # As soon as it may, and also with two of three nodes away.
  repair: {notReadySeconds: 30, maxUnhealthy: 2}
";
/// Pods that leave a node some time after it is known to be away.
const LOAD: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  replicas: 1
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: NAME}}}
      affinity:
        nodeAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
          - {weight: 100, preference: {matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [NODE]}]}}
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: SECONDS}
      - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: SECONDS}
      containers: [{name: app, image: "skep.dev/pause:v1", volumeMounts: [{name: data, mountPath: /data}]}]
      volumes: [{name: data, emptyDir: {}}]
"#;
/// Size of a machine's own disk, and what is left of it when it is full.
const DISK_MIB: u64 = 768;
const LEFT: u64 = 24 << 20;

pub fn faults(shared: &Installation) {
    if let Some(missing) = missing() {
        println!("LEFT OUT: faults of real nodes: {missing}");
        return;
    }
    let file = shared.file("frail.yaml");
    fs::write(&file, POOL).unwrap();
    shared.kubectl(&format!("apply -f {}", file.display()));
    shared.skep("wait nodepool frail --for=ready --timeout 30m");
    let machines = Machine::of_pool(shared, "frail");
    let traces: Vec<String> = machines.iter().map(Machine::short).collect();
    let mounted = mounts();

    programs(shared, &machines[0]);
    away(shared, &machines);
    full_disk(shared, &machines[2]);

    shared.tenant("demo", "delete deployment --all --wait=false");
    shared.skep("delete nodepool frail");
    let left = || traces.iter().filter(|trace| on_host().contains(*trace)).count();
    eventually("nothing of them is on this host", || (left() == 0).then_some(()));
    assert_eq!(mounts(), mounted, "a mount is left");
}

/// One after the other the programs of a machine are killed. Only the pod that lost its shim starts again, and nobody outside
/// has to do anything.
fn programs(shared: &Installation, machine: &Machine<'_>) {
    // Its pods stand two seconds of what a new node is marked with, and upstream takes that away some time after it is ready.
    eventually("no node is marked as not ready", || {
        let taints = shared.try_tenant("demo", "get nodes -o jsonpath={.items[*].spec.taints}")?;
        taints.is_empty().then_some(())
    });
    load(shared, "apps", "none", 6, 2);
    let before = pods(shared, "apps");
    let here: Vec<&Pod> = before.values().filter(|pod| pod.node == machine.name).collect();
    assert!(here.len() >= 2, "{before:#?}");

    for program in ["containerd", "kubelet"] {
        machine.kill_program(program);
        // What goes through both answers again.
        eventually(&format!("a command in a pod after {program} was killed"), || {
            let line = format!("exec {} -- /usr/local/bin/pause -v", here[0].name);
            shared.try_tenant("demo", &line).filter(|said| said.contains("pause"))
        });
        eventually("all pods are ready", || all_ready(shared, "apps", 6));
        assert_eq!(pods(shared, "apps"), before, "{program}: pods have gone on");
    }

    let process = machine.container(&here[0].container).expect("the container has a process");
    let shim = parent(process);
    assert_eq!(super::program(shim), "containerd-shim");
    kill(shim);
    let again = eventually("another container of the same pod", || {
        let now = pods(shared, "apps");
        let pod = now.get(&here[0].uid)?;
        (pod.restarts > here[0].restarts && pod.ready).then_some(now)
    });
    assert!(!crate::installation::alive(process), "its container would run twice");
    let others = |all: &BTreeMap<String, Pod>| {
        all.values().filter(|pod| pod.uid != here[0].uid).cloned().collect::<Vec<_>>()
    };
    assert_eq!(others(&again), others(&before));
    assert_eq!(repairs(shared, "frail"), Vec::<(String, String)>::new());
}

/// While pods are being added, one machine's cable fails and another one stands still. All pods run on the third, and both
/// machines are started anew, each once.
fn away(shared: &Installation, machines: &[Machine<'_>]) {
    let first = |machine: &Machine<'_>| machine.first().unwrap();
    let (one, two) = (first(&machines[1]), first(&machines[2]));
    shared.tenant("demo", "scale deployment apps --replicas=12");
    machines[1].cut();
    machines[2].freeze();

    let third = &machines[0].name;
    eventually("both nodes are known to be away", || {
        let nodes = shared.try_tenant("demo", "get nodes --no-headers")?;
        (nodes.lines().filter(|line| line.contains(" NotReady ")).count() == 2).then_some(())
    });
    eventually("all pods run elsewhere", || {
        let pods = pods(shared, "apps");
        let ready = pods.values().filter(|pod| pod.ready && !pod.leaving && pod.node == *third);
        (ready.count() == 12).then_some(())
    });
    eventually("both were started anew", || {
        let again = |machine: &Machine<'_>, old| machine.first().is_some_and(|pid| pid != old);
        (again(&machines[1], one) && again(&machines[2], two)).then_some(())
    });
    eventually("all nodes are ready", || {
        let nodes = shared.try_tenant("demo", "get nodes --no-headers")?;
        (nodes.lines().filter(|line| line.contains(" Ready ")).count() == 3).then_some(())
    });
    // What was on them went when they came back, and nothing else did.
    eventually("twelve pods and no other", || {
        let pods = pods(shared, "apps");
        (pods.len() == 12 && pods.values().all(|pod| pod.ready && pod.node == *third)).then_some(())
    });
    let reboot = |machine: &Machine<'_>| (machine.name.clone(), "Reboot".to_owned());
    let mut expected = vec![reboot(&machines[1]), reboot(&machines[2])];
    expected.sort();
    assert_eq!(repairs(shared, "frail"), expected);
    let there: Vec<String> = Machine::of_pool(shared, "frail").into_iter().map(|one| one.name).collect();
    assert_eq!(there, machines.iter().map(|one| one.name.clone()).collect::<Vec<_>>(), "none was replaced");
}

/// The agent is killed, and with it everything in the machine: its pods start again. Then one of them fills the disk. It is
/// evicted and runs elsewhere; the node stays, and is not repaired.
fn full_disk(shared: &Installation, machine: &Machine<'_>) {
    let disk = match Disk::new(DISK_MIB) {
        Ok(disk) => disk,
        Err(why) => return println!("LEFT OUT: a full disk: {why}"),
    };
    // Repair would take the disk away with a restart of its own while the machine starts.
    let patch = "-p={\"spec\":{\"repair\":{\"notReadySeconds\":600}}}";
    shared.skep(&format!("kubectl patch nodepool frail --type=merge {patch}"));
    let before = repairs(shared, "frail");
    // It has as much time to come back as pods usually have.
    load(shared, "writer", &machine.name, 1, 300);
    let pod = pods(shared, "writer").into_values().next().unwrap();
    assert_eq!(pod.node, machine.name);
    machine.start_on(disk);
    let again = eventually("the same pod runs again", || {
        let pods = pods(shared, "writer");
        pods.get(&pod.uid).filter(|now| now.ready && now.restarts > pod.restarts).cloned()
    });
    assert_eq!(again.node, machine.name);

    let volume = format!("var/lib/kubelet/pods/{}/volumes/kubernetes.io~empty-dir/data/filler", pod.uid);
    let filler = fs::File::create(machine.inside(&volume)).unwrap();
    let free = machine.free();
    assert!(free < DISK_MIB << 20, "that is not the small disk: {free} bytes are free");
    posix_fallocate(&filler, 0, i64::try_from(free.saturating_sub(LEFT)).unwrap()).unwrap();
    drop(filler);

    let condition = format!(
        "get node {} -o jsonpath={{.status.conditions[?(@.type==\"DiskPressure\")].status}}",
        machine.name
    );
    eventually("the node says that its disk is full", || {
        shared.try_tenant("demo", &condition).filter(|status| status == "True")
    });
    let now = eventually("the pod that filled it runs elsewhere", || {
        let pods = pods(shared, "writer");
        pods.values().find(|now| now.ready && now.uid != pod.uid).cloned()
    });
    assert_ne!(now.node, machine.name);
    // A kubelet that hears of the container's end before it has written the eviction down calls it by the exit code.
    let phase = shared.tenant("demo", &format!("get pod {} -o jsonpath={{.status.phase}}", pod.name));
    assert!(["Failed", "Succeeded"].contains(&phase.as_str()), "{phase}");
    let evicted = format!(
        "get events --field-selector=involvedObject.name={},reason=Evicted -o jsonpath={{.items[*].reason}}",
        pod.name
    );
    eventually("why is written down", || shared.tenant("demo", &evicted).contains("Evicted").then_some(()));
    let ready = format!("get node {} -o jsonpath={{.status.conditions[-1].status}}", machine.name);
    assert_eq!(shared.tenant("demo", &ready), "True");
    eventually("there is room again", || (machine.free() > 64 << 20).then_some(()));
    assert_eq!(repairs(shared, "frail"), before, "a full disk is no reason for another machine");
}

/// A Deployment that prefers a node, once it is ready.
fn load(shared: &Installation, name: &str, node: &str, replicas: usize, seconds: u32) {
    let file = shared.file(&format!("{name}.yaml"));
    let manifest = LOAD.replace("NAME", name).replace("NODE", node).replace("SECONDS", &seconds.to_string());
    fs::write(&file, manifest).unwrap();
    shared.tenant("demo", &format!("apply -f {}", file.display()));
    shared.tenant("demo", &format!("scale deployment {name} --replicas={replicas}"));
    shared.tenant("demo", &format!("rollout status deployment {name} --timeout=2m"));
}

/// What matters of a pod.
#[derive(Clone, Debug, PartialEq)]
struct Pod {
    name: String,
    uid: String,
    node: String,
    container: String,
    restarts: u64,
    ready: bool,
    leaving: bool,
}

/// Pods of an application that have not ended, by uid. One that was evicted in its first moments may be called either.
fn pods(shared: &Installation, app: &str) -> BTreeMap<String, Pod> {
    let list = format!("get pods -l app={app} -o json");
    let list = eventually("the list of pods", || shared.try_tenant("demo", &list));
    let list: Value = serde_json::from_str(&list).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pod = |item: &Value| {
        let container = &item["status"]["containerStatuses"][0];
        Pod {
            name: text(&item["metadata"]["name"]),
            uid: text(&item["metadata"]["uid"]),
            node: text(&item["spec"]["nodeName"]),
            container: text(&container["containerID"]).replace("containerd://", ""),
            restarts: container["restartCount"].as_u64().unwrap_or_default(),
            ready: container["ready"] == true,
            leaving: item["metadata"]["deletionTimestamp"].is_string(),
        }
    };
    let ended = |item: &Value| ["Failed", "Succeeded"].map(Value::from).contains(&item["status"]["phase"]);
    let items = list["items"].as_array().unwrap().iter().filter(|item| !ended(item));
    items.map(|item| (text(&item["metadata"]["uid"]), pod(item))).collect()
}

fn all_ready(shared: &Installation, app: &str, number: usize) -> Option<()> {
    let pods = pods(shared, app);
    (pods.len() == number && pods.values().all(|pod| pod.ready)).then_some(())
}

fn parent(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap()
}
