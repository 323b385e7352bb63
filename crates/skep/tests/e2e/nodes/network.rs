//! A cluster whose nodes are told to reach each other by other means than usual.

use std::{fs, process::Command};

use serde_json::Value;

use super::{left, machine::Machine, missing};
use crate::clusters::{asked_meanwhile, change};
use crate::installation::{Installation, eventually, text};

const CLUSTER: &str = "wrapped";

pub fn network(shared: &Installation) {
    match missing() {
        Some(missing) => println!("LEFT OUT: networks of real nodes: {missing}"),
        None => {
            other_means(shared);
            a_cni_of_their_own(shared);
        }
    }
}

/// VXLAN between nodes, and kube-proxy with iptables: pods and Services are reached from the other node, and the API server
/// from both at any time.
fn other_means(shared: &Installation) {
    let file = shared.file("wrapped.yaml");
    let cluster = "{apiVersion: skep.dev/v1alpha1, kind: Cluster, metadata: {name: wrapped, namespace: default}, \
         spec: {network: {podNetwork: Vxlan, kubeProxy: Iptables}}}\n";
    fs::write(&file, cluster).unwrap();
    let refused = cluster.replace("Vxlan", "Magic");
    fs::write(shared.file("magic.yaml"), refused).unwrap();
    let refused = shared.fails(1, &format!("kubectl apply -f {}", shared.file("magic.yaml").display()));
    assert!(refused.contains("HostGw") && refused.contains("Vxlan"), "{refused}");

    shared.kubectl(&format!("apply -f {}", file.display()));
    shared.skep(&format!("wait cluster {CLUSTER} --for=ready --timeout 2m"));
    shared.skep(&format!(
        "create nodepool {CLUSTER} -c {CLUSTER} --class local-small --replicas 2 --timeout 5m"
    ));
    let said = shared.kubectl(&format!(
        "get nodepool {CLUSTER} -o jsonpath={{.status.conditions[?(@.type==\"NetworkPolicyEnforced\")].message}}"
    ));
    assert!(said.contains("vxlan"), "{said}");
    shared.tenant(CLUSTER, "-n kube-system rollout status deployment coredns --timeout=5m");

    let machines = Machine::of_pool(shared, CLUSTER);
    // Control planes wake up less often for it; a tenant's own programs have timers as they are anywhere else.
    assert_eq!(lateness_of_timers(shared.supervisor()).unwrap(), "10000000");
    for machine in &machines {
        let late = |pid: &i32| lateness_of_timers(*pid).is_some_and(|lateness| lateness != "50000");
        let late: Vec<i32> = machine.processes().into_iter().filter(late).collect();
        let programs: Vec<String> = late.into_iter().map(super::program).collect();
        // It only waits for the machine's end.
        assert_eq!(programs, ["unshare"], "on {}", machine.name);
        assert!(within(machine, "ip link show skep-vxlan").contains("mtu 1450"));
        assert!(within(machine, "iptables-save -t nat").contains("-A KUBE-SERVICES"));
        assert!(!within(machine, "nft list tables").contains("kube-proxy"));
    }
    let pods = shared.tenant(CLUSTER, "-n kube-system get pods -l k8s-app=kube-dns -o json");
    let pods: Value = serde_json::from_str(&pods).unwrap();
    let pod = &pods["items"][0];
    let (node, address) =
        (pod["spec"]["nodeName"].as_str().unwrap(), pod["status"]["podIP"].as_str().unwrap());
    let other = machines.iter().find(|machine| machine.name != node).expect("a node without that pod");
    assert!(within(other, &format!("ip route get {address}")).contains("skep-vxlan"));
    let service = shared.tenant(CLUSTER, "-n kube-system get service kube-dns -o jsonpath={.spec.clusterIP}");
    for address in [address, service.trim()] {
        let metrics = eventually(&format!("an answer of {address}"), || get(other, address));
        assert!(metrics.contains("coredns_build_info"), "{metrics}");
    }

    a_resize_is_not_seen_by_pods(shared, other);
    let uids: Vec<String> = machines.iter().map(|machine| machine.uid.clone()).collect();
    assert_eq!(left(&uids), 2);
    shared.skep(&format!("delete cluster {CLUSTER}"));
    eventually("nothing of them is on this host", || (left(&uids) == 0).then_some(()));
}

/// In nanoseconds; `None` for a process that has ended.
fn lateness_of_timers(pid: i32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/timerslack_ns")).ok()?;
    Some(text.trim().to_owned())
}

/// On the way that pods take, by the Service `kubernetes`, no new connection fails while the API server is replaced.
fn a_resize_is_not_seen_by_pods(shared: &Installation, machine: &Machine<'_>) {
    let service = shared.tenant(CLUSTER, "get service kubernetes -o jsonpath={.spec.clusterIP}");
    let kubeconfig = format!("--kubeconfig={}", shared.file(&format!("{CLUSTER}.kubeconfig")).display());
    let server = format!("--server=https://{}", service.trim());
    let ask = || {
        let path = ["--request-timeout=10s", "get", "--raw", "/api/v1/namespaces/default"];
        let name = "--tls-server-name=kubernetes.default.svc";
        let skep = shared.command(["kubectl", &kubeconfig, &server, name].into_iter().chain(path));
        let mut command = inside(machine);
        command.arg(skep.get_program()).args(skep.get_args());
        command.envs(skep.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    };
    asked_meanwhile(shared, ask, || {
        let network = "  network: {podNetwork: Vxlan, kubeProxy: Iptables}";
        change(shared, CLUSTER, &format!("{network}\n  size: {{class: medium}}\n"));
    });
}

/// A node waits for the CNI that somebody brings, and is ready with it.
fn a_cni_of_their_own(shared: &Installation) {
    let file = shared.file("bare.yaml");
    let cluster = "{apiVersion: skep.dev/v1alpha1, kind: Cluster, metadata: {name: bare, namespace: default}, \
         spec: {network: {podNetwork: None}}}\n";
    fs::write(&file, cluster).unwrap();
    shared.kubectl(&format!("apply -f {}", file.display()));
    shared.skep("wait cluster bare --for=ready --timeout 2m");
    shared.skep("create nodepool bare -c bare --class local-small --replicas 1 --no-wait");
    eventually("a node that waits for a CNI", || {
        let machines = shared.json("get machines -l skep.dev/pool=bare -o json").to_string();
        machines.contains("cni plugin not initialized").then_some(())
    });
    let machine = Machine::of_pool(shared, "bare").remove(0);
    let own = r#"{"cniVersion": "1.0.0", "name": "own", "plugins": [{"type": "bridge", "bridge": "own0",
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.9.0/24"}]]}}]}"#;
    fs::write(machine.inside("etc/cni/net.d/10-own.conflist"), own).unwrap();
    shared.skep("wait nodepool bare --for=ready --timeout 2m");
    shared.skep("delete cluster bare");
    eventually("nothing of it is on this host", || {
        (left(std::slice::from_ref(&machine.uid)) == 0).then_some(())
    });
}

/// CoreDNS' metrics, asked for from a machine.
fn get(machine: &Machine<'_>, address: &str) -> Option<String> {
    let ask = "exec 3<>/dev/tcp/$0/9153; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
    let output = inside(machine).args(["timeout", "10", "bash", "-c", ask, address]).output().unwrap();
    output.status.success().then(|| text(&output.stdout))
}

fn within(machine: &Machine<'_>, line: &str) -> String {
    let output = inside(machine).args(line.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{line}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// What follows runs in the machine's network.
fn inside(machine: &Machine<'_>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{}/ns/net", machine.first().expect("it runs")));
    command
}
