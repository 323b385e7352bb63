//! The agent's own part, with programs that only say that they were started.

use std::{fs, io::Read, net::TcpListener, os::unix::fs::PermissionsExt, path::Path};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use skep_agent::config::{Host, Join};

use crate::{
    again::{RUNTIME, TOLD},
    machine::{Machine, Segment},
    possible, until,
};

/// Directories of programs that pretend.
fn programs(directory: &Path) {
    let this = std::env::current_exe().unwrap().display().to_string();
    let write = |path: &str, script: &str| {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    write(
        "containerd/containerd",
        &format!(
            "{RUNTIME}=/var/lib/skep/containerd/containerd.sock exec {this} --exact again::pretends_to_be_a_runtime $2"
        ),
    );
    let told =
        |name: &str| format!("echo {name} start >>{TOLD}\ntrap 'echo {name} end >>{TOLD}; exit 0' TERM");
    let joins = "cd /var/lib/kubelet/pki; echo certificate >1.pem; ln -sf 1.pem new; mv -T new kubelet-client-current.pem";
    // The orphan outlives its parent, and nobody but the first process will wait for it.
    let orphan = "(sleep 0.2 & )";
    let forever = "while :; do sleep 0.05; done";
    write(
        "kubernetes/kubelet",
        &format!(
            "{}\n{this} --exact again::says_ready >/dev/null\n{orphan}\n{joins}\n{forever}",
            told("kubelet")
        ),
    );
    write("kubernetes/kube-proxy", &format!("{}\n{forever}", told("kube-proxy")));
    for rest in
        ["containerd/containerd-shim-runc-v2", "cni/bridge", "cni/host-local", "cni/loopback", "cni/portmap"]
    {
        write(rest, "exit 1");
    }
}

pub fn join(gateway: &str) -> Join {
    serde_json::from_value(json!({
        "node": "pretender",
        "cluster": {
            "server": format!("https://{gateway}"), "host": "demo.skep.internal", "authorities": "none",
            "apiServerAddress": "198.18.0.1", "serviceCidr": "10.96.0.0/16", "podCidr": "10.244.0.0/16",
            "clusterDomain": "cluster.local", "clusterDns": "10.96.0.10", "podNetwork": "HostGw", "kubeProxy": "Nftables",
        },
        "token": "abcdef.0123456789abcdef",
        "template": {"machineClass": "small", "version": "v1.36.3"},
        "zone": "a", "labels": {},
        "capacity": {"cpu": "1", "memory": "1Gi", "ephemeralStorage": "10Gi", "pods": 10},
    }))
    .unwrap()
}

fn host(machine: &Machine, programs: &Path) -> Host {
    machine.host(&programs.join("kubernetes"), &programs.join("containerd"), &programs.join("cni"))
}

async fn told(machine: &Machine, what: &str, lines: usize) -> Vec<String> {
    let told = || machine.text(TOLD).lines().map(str::to_owned).collect::<Vec<_>>();
    until(what, || async { Some(told()).filter(|told| told.len() >= lines) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_start_in_order_are_kept_running_and_end_in_order() {
    if !possible("programs_start_in_order_are_kept_running_and_end_in_order") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    programs(directory.path());
    let segment = Segment::new();
    let gateway = TcpListener::bind((segment.host(), 0)).unwrap();
    let mut machine = Machine::new(&segment, 2);
    let host = host(&machine, directory.path());
    machine.start(&join(&gateway.local_addr().unwrap().to_string()), &host);

    let order = told(&machine, "three programs", 3).await;
    assert_eq!(order, ["containerd start", "kubelet start", "kube-proxy start"]);
    // Only now it has a certificate, which its kubeconfig must name together with the tenant.
    let started = machine.text("var/lib/skep/etc/kubeconfig");
    assert!(started.contains("kubelet-client-current.pem") && started.contains("demo.skep.internal"));
    assert!(
        machine.file("var/lib/skep/kubelet/pki/kubelet-client-current.pem").exists(),
        "mounted, not copied"
    );

    // Addresses and settings of the machine.
    assert!(machine.inside("ip -4 address show dev lo").contains("198.18.0.1/32 scope host"));
    let setting = |path: &str| machine.inside(&format!("cat /proc/sys/net/ipv4/{path}"));
    assert_eq!((&*setting("ip_forward"), &*setting("conf/eth0/rp_filter")), ("1\n", "0\n"));
    assert!(machine.inside("nft list table ip skep-node").contains("masquerade"));

    // Whoever asks for the API server's address is told apart by name.
    gateway.set_nonblocking(false).unwrap();
    machine.inside("exec 3<>/dev/tcp/198.18.0.1/6443; printf hello >&3");
    let mut said = Vec::new();
    // The tunnel may have come before: it says what it is by TLS.
    while !said.starts_with(b"\r\n\r\n\0\r\nQUIT\n") {
        said.clear();
        gateway.accept().unwrap().0.read_to_end(&mut said).unwrap();
    }
    let text = String::from_utf8_lossy(&said);
    assert!(text.contains("demo.skep.internal") && text.ends_with("hello"), "{text}");

    // A program that is killed comes again, alone.
    let kubelets = machine.processes("--hostname-override=pretender");
    kill(Pid::from_raw(kubelets[0]), Signal::SIGKILL).unwrap();
    assert_eq!(told(&machine, "the kubelet again", 4).await[3..], ["kubelet start"]);
    until("no process without a parent is left", || async { (machine.zombies() == 0).then_some(()) }).await;
    // The kubelet has found a kubeconfig with the tenant's name.
    until("kubeconfig", || async {
        Some(()).filter(|()| machine.file("var/lib/skep/kubelet/kubeconfig").exists())
    })
    .await;

    assert_eq!(machine.stop(), Some(0), "{}", machine.console());
    assert_eq!(told(&machine, "all ends", 7).await[4..], ["kube-proxy end", "kubelet end", "containerd end"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_lost_its_power_starts_again_from_what_it_has() {
    if !possible("a_machine_that_lost_its_power_starts_again_from_what_it_has") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    programs(directory.path());
    let segment = Segment::new();
    let mut machine = Machine::new(&segment, 2);
    let host = host(&machine, directory.path());
    // Nobody listens there.
    let join = join(&format!("{}:1", segment.host()));
    machine.start(&join, &host);
    told(&machine, "three programs", 3).await;
    let left = machine.file("var/lib/skep/containerd/state/left");
    fs::write(&left, "").unwrap();
    fs::write(machine.file("var/lib/skep/containerd/root").join("kept"), "").unwrap();
    machine.cut();
    assert!(machine.processes("").is_empty());

    machine.start(&join, &host);
    told(&machine, "three programs again", 6).await;
    assert!(!left.exists(), "state of processes that are gone");
    assert!(machine.file("var/lib/skep/containerd/root").join("kept").exists());
    assert_eq!(machine.stop(), Some(0), "{}", machine.console());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_comes_again_takes_over_from_the_programs_it_finds() {
    if !possible("an_agent_that_comes_again_takes_over_from_the_programs_it_finds") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    programs(directory.path());
    let segment = Segment::new();
    let mut machine = Machine::new(&segment, 2);
    // A machine of its own, where the agent is a service.
    let host = Host { cgroup_root: "/".into(), ..host(&machine, directory.path()) };
    machine.start_service(&join(&format!("{}:1", segment.host())), &host);
    told(&machine, "three programs", 3).await;
    let state = machine.file("var/lib/skep/containerd/state/kept");
    fs::write(&state, "").unwrap();
    let shell = machine.first_process().unwrap();
    let of_agent =
        |machine: &Machine| machine.processes("again::agent_process").into_iter().find(|pid| *pid != shell);
    kill(Pid::from_raw(of_agent(&machine).unwrap()), Signal::SIGKILL).unwrap();

    let all = told(&machine, "all ends and all starts", 9).await;
    let (ends, starts): (Vec<_>, Vec<_>) = all[3..].iter().partition(|line| line.ends_with("end"));
    assert_eq!(ends.len(), 3, "{all:?}");
    assert_eq!(starts, ["containerd start", "kubelet start", "kube-proxy start"]);
    assert!(all[6].ends_with("start") && all[5].ends_with("end"), "first all ends: {all:?}");
    for part in ["etc/containerd.toml", "etc/kubelet.json", "etc/kube-proxy.json"] {
        assert_eq!(machine.processes(part).len(), 1, "{part}");
    }
    assert!(state.exists(), "pods go on");
    // Mounted once.
    let mounts = fs::read_to_string(format!("/proc/{shell}/mountinfo")).unwrap();
    assert_eq!(mounts.lines().filter(|line| line.contains(" /var/lib/kubelet ")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_programs_says_which() {
    if !possible("a_machine_without_programs_says_which") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    programs(directory.path());
    fs::remove_file(directory.path().join("cni/portmap")).unwrap();
    let segment = Segment::new();
    let mut machine = Machine::new(&segment, 2);
    let host = host(&machine, directory.path());
    machine.start(&join("192.0.2.1:1"), &host);
    let console =
        until("a reason", || async { Some(machine.console()).filter(|text| text.contains("SKEP-")) }).await;
    assert!(console.contains("SKEP-8004") && console.contains("cni/portmap"), "{console}");
    assert_eq!(fs::read_dir(machine.file("var/lib/skep")).unwrap().count(), 0, "nothing was changed");
}
