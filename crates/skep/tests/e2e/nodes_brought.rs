//! A machine that somebody brings: the printed line, run on it.

mod machine;

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use self::machine::{BOX, HOST, Machine};
use crate::{
    hub::Hub,
    installation::{Installation, eventually},
    nodes,
};

const PORT: u16 = 26_443;
const NODE: &str = "box-1";

/// The invitation in a line, changed.
fn other(line: &str, change: impl FnOnce(&mut Value)) -> String {
    let invitation = line.split('\'').nth(1).unwrap();
    let bytes: ByteString = serde_json::from_value(json!(invitation)).unwrap();
    let mut value = serde_json::from_slice(&bytes.0).unwrap();
    change(&mut value);
    let text = json!(ByteString(value.to_string().into_bytes()));
    line.replace(invitation, text.as_str().unwrap())
}

/// Joins with the printed line, serves with a certificate for its own address, is told when its `Machine` is deleted, and
/// leaves nothing. Lines that are not good for anything leave nothing either.
pub fn the_printed_line() {
    if let Some(missing) = nodes::missing() {
        println!("LEFT OUT: a machine that somebody brings: {missing}");
        return;
    }
    let machine = Machine::new();
    let installation = Installation::new("brought");
    installation.skep(&format!("up --gateway-listen {HOST}:{PORT}"));
    installation.skep("create cluster demo");
    let join = format!("node join {NODE} --cluster demo --class static-small");
    let line = installation.skep(&join);
    let line = line.trim();
    assert!(line.contains("sudo skep node agent --service --join -"), "{line}");

    let foreign = other(line, |invitation| invitation["join"]["token"] = "abcdef.0123456789abcdef".into());
    let (code, text) = machine.run(&foreign);
    assert_eq!(code, Some(6), "{text}");
    assert!(text.contains("SKEP-8117") && text.contains("does not know this token"), "{text}");
    assert_eq!(machine.remains(), [""; 0]);
    // What is refused later, when everything runs: as after a machine was deleted before it had a certificate.
    let kept = machine.disk("var/lib/skep/invitation");
    fs::create_dir_all(kept.parent().unwrap()).unwrap();
    fs::write(&kept, foreign.split('\'').nth(1).unwrap()).unwrap();
    let (code, text) = machine.run("sudo skep node agent");
    assert_eq!(code, Some(6), "{text}");
    assert!(text.contains("SKEP-8117") && text.contains("does not know this token"), "{text}");
    assert!(text.contains("ready program=\"kubelet\""), "{text}");
    assert_eq!(machine.remains(), [""; 0], "{text}");

    let elsewhere = other(line, |invitation| {
        invitation["join"]["cluster"]["host"] = "other-abcd2345.skep.internal".into()
    });
    let (code, text) = machine.run(&elsewhere);
    assert_eq!(code, Some(6), "{text}");
    assert!(text.contains("SKEP-8117") && text.contains("another cluster"), "{text}");
    assert_eq!(machine.remains(), [""; 0]);

    let mut agent = machine.start(line);
    let ready = format!("get node {NODE} -o jsonpath={{.status.conditions[-1].status}}");
    eventually("the node is ready", || {
        assert!(agent.try_wait().unwrap().is_none(), "its agent has ended");
        (installation.try_tenant("demo", &ready)? == "True").then_some(())
    });
    let served = eventually("its kubelet serves with a certificate of the cluster's", || {
        installation.try_tenant("demo", &format!("get --raw /api/v1/nodes/{NODE}/proxy/healthz"))
    });
    assert_eq!(served, "ok");
    let found = installation.json(&format!("get machines {NODE} -o json"));
    assert_eq!(
        (&found["status"]["address"], &found["status"]["phase"]),
        (&BOX.into(), &"Ready".into()),
        "{found:#}"
    );
    let invitation = machine.disk("var/lib/skep/invitation");
    assert_eq!(fs::metadata(&invitation).unwrap().permissions().mode() & 0o777, 0o600);

    // It works once.
    let used = installation.fails(1, &join);
    assert!(used.contains("joined already"), "{used}");

    installation.kubectl(&format!("delete machine {NODE}"));
    let (code, text) = machine.end(agent);
    assert_eq!(code, Some(6), "{text}");
    assert!(text.contains("SKEP-8131") && text.contains("was deleted from cluster"), "{text}");
    assert_eq!(text.matches("was deleted from cluster").count(), 1, "said once: {text}");
    assert_eq!(text.matches("error[SKEP-8131]: node ").count(), 1, "{text}");
    assert_eq!(machine.remains(), [""; 0], "{text}");
    assert_eq!(installation.tenant("demo", "get nodes -o name"), "");

    let (code, text) = machine.run(line);
    assert_eq!(code, Some(6), "{text}");
    assert!(text.contains("SKEP-8117") && text.contains("does not know this token"), "{text}");
    let (code, text) = machine.run("sudo skep node agent");
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("SKEP-8115"), "{text}");
    assert_eq!(machine.remains(), [""; 0]);
    installation.down();
}

/// A machine is brought to a cluster of a cell: its pods and its API server reach each other through the cell's gateways,
/// whichever of them, also when `meanwhile` replaces them.
pub fn to_a_cell(cell: &Hub, beside: &str, meanwhile: impl FnOnce()) {
    let machine = Machine::beside(beside);
    let line = cell.skep("node join box --cluster demo --class static-small");
    let mut agent = machine.start(line.trim());
    eventually("the node is ready", || {
        assert!(agent.try_wait().unwrap().is_none(), "its agent has ended");
        let ready = cell.try_tenant("demo", "get node box -o jsonpath={.status.conditions[-1].status}")?;
        (ready == "True").then_some(())
    });
    images(cell, &machine);
    eventually("DNS comes with the first node", || {
        cell.try_tenant("demo", "-n kube-system get deployment coredns -o name")
    });
    // It is ready when it has read Services from its API server.
    cell.tenant("demo", "-n kube-system rollout status deployment coredns --timeout=2m");
    let in_a_pod = || {
        let said = "-n kube-system exec deployment/coredns -- coredns -version";
        cell.try_tenant("demo", said).filter(|said| said.contains("CoreDNS-"))
    };
    // Each comes to one of the gateways.
    for _ in 0..8 {
        eventually("an answer from a pod", in_a_pod);
    }
    meanwhile();
    eventually("an answer from a pod", in_a_pod);
    cell.kubectl("delete machine box");
    let (code, text) = machine.end(agent);
    assert_eq!(code, Some(6), "{text}");
    assert!(text.contains("SKEP-8131"), "{text}");
    assert_eq!(machine.remains(), [""; 0], "{text}");
}

/// Gives it what nodes elsewhere pull from upstream.
fn images(cell: &Hub, machine: &Machine) {
    let archive = cell.file("images.tar");
    let [pause, coredns] =
        [skep_engine::pause_image(), skep_engine::coredns_image()].map(|image| image.to_string());
    cell.skep(&format!("image save {pause} {coredns} --output {}", archive.display()));
    let program = cell.skep(&format!("engine path {}", skep_engine::containerd_image()));
    let ctr = |args: &[&str]| {
        let mut command = Command::new(format!("{}/ctr", program.trim()));
        command.arg("--address").arg(machine.disk("var/lib/skep/containerd/containerd.sock"));
        let output = command.args(["--namespace", "k8s.io", "images"]).args(args).output().unwrap();
        assert!(output.status.success(), "ctr {args:?}: {}", crate::installation::text(&output.stderr));
    };
    ctr(&["import", archive.to_str().unwrap()]);
    let upstream = format!("docker.io/coredns/coredns:{}", skep_engine::COREDNS.trim_start_matches('v'));
    ctr(&["tag", &coredns, &upstream]);
    // `UPSTREAM_SANDBOX` in skep-agent.
    ctr(&["tag", &pause, "registry.k8s.io/pause:3.10.1"]);
}
