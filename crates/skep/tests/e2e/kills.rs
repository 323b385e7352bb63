//! kill -9 of anything: it comes back with all data, and never twice.

use std::{collections::BTreeSet, thread::sleep, time::Duration};

use nix::{
    sys::signal::{Signal, kill as signal},
    unistd::Pid,
};

use crate::{
    hub::Hub,
    installation::{Installation, alive, eventually, kill},
};

/// Everything works: the hub, the operator, the nodes, the gateway, the tenant's data.
pub fn works(shared: &Hub, round: &str) {
    shared.skep("wait cluster demo --timeout 2m");
    eventually("a write through the gateway", || {
        let file = shared.file("demo.kubeconfig");
        let file = format!("--kubeconfig={}", file.display());
        let args = ["kubectl", file.as_str(), "create", "configmap", round];
        shared.run(args).status.success().then_some(())
    });
    assert_eq!(shared.tenant("demo", "get configmap kept -o jsonpath={.data.a}"), "b");
}

/// There is one of each. A program in a pod may be waiting for its next start: one that began just before its API server was
/// gone has ended by itself.
fn once(shared: &Installation) {
    let all: Vec<String> = shared.marked().into_iter().map(|(_, marker)| marker).collect();
    let distinct: BTreeSet<&String> = all.iter().collect();
    assert_eq!(all.len(), distinct.len(), "{all:?}");
    for program in ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        let of_hub = all.iter().filter(|marker| **marker == format!("hub/{program}")).count();
        assert_eq!(of_hub, 1, "{program} of the hub");
        eventually(&format!("{program} in pods"), || match shared.container(program).as_slice() {
            [] => None,
            [_] => Some(()),
            several => panic!("{program} in pods: {several:?}"),
        });
    }
}

pub fn programs_of_the_hub(shared: &Installation) {
    for program in ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        let pid = shared.component(program).unwrap();
        kill(pid);
        let new = eventually(program, || shared.component(program).filter(|new| *new != pid));
        assert!(alive(new));
        works(shared, &format!("hub-{program}"));
    }
    once(shared);
}

pub fn programs_of_tenants(shared: &Installation) {
    each_program_of_tenants(shared);
    once(shared);
}

pub fn each_program_of_tenants(shared: &Hub) {
    for program in ["kube-apiserver", "etcd", "kube-controller-manager"] {
        let before = shared.container(program);
        let [pid] = before.as_slice() else { panic!("{program}: {before:?}") };
        kill(*pid);
        eventually(program, || shared.container(program).into_iter().find(|new| new != pid));
        works(shared, &format!("tenant-{program}"));
    }
}

pub fn the_supervisor(shared: &Installation) {
    let supervisor = shared.supervisor();
    let before: BTreeSet<i32> = shared.processes().into_iter().collect();
    kill(supervisor);
    eventually("the supervisor's end", || (!alive(supervisor)).then_some(()));
    shared.up();
    let after: BTreeSet<i32> = shared.processes().into_iter().collect();
    assert_eq!(before, after, "they were taken over, not started again");
    works(shared, "supervisor");
    once(shared);
}

pub fn everything_at_once(shared: &Installation) {
    let mut all = shared.processes();
    all.insert(0, shared.supervisor());
    for pid in &all {
        kill(*pid);
    }
    for pid in all {
        eventually("their end", || (!alive(pid)).then_some(()));
    }
    shared.up();
    works(shared, "everything");
    once(shared);
}

/// Both etcds hang, as on a disk that does not answer, for longer than leases, probes and request timeouts last.
pub fn etcd_away_for_a_minute(shared: &Installation) {
    let hub = shared.component("etcd").unwrap();
    let mut etcds = shared.container("etcd");
    etcds.push(hub);
    let send = |what| {
        etcds.iter().for_each(|pid| {
            let _ = signal(Pid::from_raw(*pid), what);
        })
    };
    send(Signal::SIGSTOP);
    sleep(Duration::from_secs(60));
    // One that was given up meanwhile has a successor.
    send(Signal::SIGCONT);
    works(shared, "away");
    once(shared);
    // Their leases ran out; the next heartbeat says that they are well.
    eventually("three ready nodes", || {
        let nodes = shared.kubectl("get nodes --no-headers");
        (nodes.lines().filter(|line| line.contains(" Ready ")).count() == 3).then_some(())
    });
}
