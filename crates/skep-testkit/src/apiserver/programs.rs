//! The command lines of a fixture.

use std::path::Path;

use anyhow::{Context, Result};
use skep_engine::Artifact;

use super::{Options, address::Address, files::Files, guard::Guarded};

fn start(artifact: &Artifact, name: &str, directory: &Path, flags: &[String]) -> Result<Guarded> {
    let program =
        artifact.program(name).with_context(|| format!("{} has no program {name}", artifact.image))?;
    Guarded::spawn(name, directory, &program, flags).with_context(|| format!("cannot start {name}"))
}

pub(super) fn etcd(artifact: &Artifact, address: &Address, directory: &Path) -> Result<Guarded> {
    let (client, peer) = (address.etcd(), address.etcd_peer());
    let flags = [
        "--name=test".to_owned(),
        format!("--data-dir={}", directory.join("etcd").display()),
        format!("--listen-client-urls=http://{client}"),
        format!("--advertise-client-urls=http://{client}"),
        format!("--listen-peer-urls=http://{peer}"),
        format!("--initial-advertise-peer-urls=http://{peer}"),
        format!("--initial-cluster=test=http://{peer}"),
        // A store that is thrown away need not survive a power cut.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    start(artifact, "etcd", directory, &flags)
}

pub(super) fn apiserver(
    artifact: &Artifact,
    address: &Address,
    files: &Files,
    options: &Options,
) -> Result<Guarded> {
    let mut flags = vec![
        format!("--etcd-servers=http://{}", address.etcd()),
        format!("--bind-address={}", address.ip()),
        format!("--secure-port={}", address.apiserver().port()),
        // Benchmarking range of RFC 2544: never the machine's own, and nothing is sent there.
        "--advertise-address=198.18.0.1".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        "--service-cluster-ip-range=198.19.0.0/16".to_owned(),
        format!("--client-ca-file={}", files.ca.display()),
        format!("--tls-cert-file={}", files.server_cert.display()),
        format!("--tls-private-key-file={}", files.server_key.display()),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-signing-key-file={}", files.account_key.display()),
        format!("--service-account-key-file={}", files.account_public.display()),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--profiling=false".to_owned(),
    ];
    if let Some(egress) = &files.egress {
        flags.push(format!("--egress-selector-config-file={}", egress.display()));
    }
    if !options.controller_manager {
        // Nobody makes the `default` account, without which no pod is admitted.
        flags.push("--disable-admission-plugins=ServiceAccount".to_owned());
    }
    flags.extend(options.apiserver_flags.iter().cloned());
    start(artifact, "kube-apiserver", &files.directory, &flags)
}

pub(super) fn controller_manager(artifact: &Artifact, address: &Address, files: &Files) -> Result<Guarded> {
    let port = address.controller_manager().port();
    let mut flags = controller(address, files, port);
    flags.extend([
        format!("--service-account-private-key-file={}", files.account_key.display()),
        format!("--root-ca-file={}", files.ca.display()),
        "--use-service-account-credentials=false".to_owned(),
    ]);
    start(artifact, "kube-controller-manager", &files.directory, &flags)
}

pub(super) fn scheduler(artifact: &Artifact, address: &Address, files: &Files) -> Result<Guarded> {
    let flags = controller(address, files, address.scheduler().port());
    start(artifact, "kube-scheduler", &files.directory, &flags)
}

fn controller(address: &Address, files: &Files, port: u16) -> Vec<String> {
    let kubeconfig = files.kubeconfig.display();
    vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        format!("--bind-address={}", address.ip()),
        format!("--secure-port={port}"),
        "--leader-elect=false".to_owned(),
        "--profiling=false".to_owned(),
    ]
}
