//! A real kube-apiserver as a tenant: it must never want more than it has.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use skep_engine::{Engine, Lines};
use skep_pki::{
    Authority, CaData, Credentials, Kubeconfig, Leaf, Names, ServiceAccountKey, encryption_config, random_key,
};
use skep_testkit::apiserver::guard::Guarded;
use tokio::process::Command;

use super::cell::{Cell, eventually};
use super::ctl::Ctl;
use crate::{Removal, TenantStore};

const YEAR: Duration = Duration::from_secs(365 * 86_400);

#[tokio::test]
async fn an_api_server_runs_cleanly_on_a_tenants_access() {
    let cell = Cell::serving().await;
    let access = cell.ensure("demo-1").await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let now = Timestamp::now();
    let ca = Authority::generate("demo-ca", 10 * YEAR, now).unwrap();
    let ip = std::net::Ipv4Addr::new(127, 63, (std::process::id() >> 8) as u8, std::process::id() as u8);
    let serving =
        Leaf::server("kube-apiserver", YEAR).dns("demo-1.skep.internal").dns("kubernetes.default.svc");
    let serving = ca.issue(&serving, now).unwrap();
    let admin = ca.issue(&Leaf::client("admin", YEAR).organization("system:masters"), now).unwrap();
    let account = ServiceAccountKey::generate().unwrap();
    let flags = vec![
        format!("--etcd-servers={}", access.endpoints.join(",")),
        format!("--etcd-prefix={}", access.prefix),
        "--etcd-compaction-interval=876000h".into(),
        format!("--etcd-cafile={}", file("etcd-ca.crt", &access.server_ca_pem)),
        format!("--etcd-certfile={}", file("etcd.crt", &access.client.pair.cert_pem)),
        format!("--etcd-keyfile={}", file("etcd.key", access.client.pair.key_pem.as_str())),
        format!("--bind-address={ip}"),
        "--secure-port=6443".into(),
        "--advertise-address=198.18.0.1".into(),
        "--endpoint-reconciler-type=lease".into(),
        "--service-cluster-ip-range=198.19.0.0/16".into(),
        format!("--client-ca-file={}", file("ca.crt", ca.cert_pem())),
        format!("--tls-cert-file={}", file("tls.crt", &serving.cert_pem)),
        format!("--tls-private-key-file={}", file("tls.key", serving.key_pem.as_str())),
        "--service-account-issuer=https://demo-1.skep.internal".into(),
        format!("--service-account-signing-key-file={}", file("sa.key", account.private_pem.as_str())),
        format!("--service-account-key-file={}", file("sa.pub", &account.public_pem)),
        format!("--encryption-provider-config={}", file("encryption.yaml", &encryption_config(random_key()))),
        "--authorization-mode=Node,RBAC".into(),
    ];
    let kubeconfig = Kubeconfig::new(
        Names::same("demo-1"),
        format!("https://{ip}:6443"),
        CaData::Inline(ca.cert_pem().into()),
        Credentials::Inline { cert_pem: admin.cert_pem.clone(), key_pem: admin.key_pem.clone() },
    )
    .tls_server_name("demo-1.skep.internal");
    // As `skep use` does it, so that kubectl judges the merged file as well.
    let kubeconfig = file("config", &skep_pki::kubeconfig::merge("", &kubeconfig).unwrap());

    let image = skep_engine::kubernetes_image(skep_engine::KUBERNETES[0]).unwrap();
    let kube = Engine::from_env().unwrap().ensure(&image, &Lines::stderr()).await.unwrap();
    let logs = directory.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let server =
        Guarded::spawn("kube-apiserver", &logs, &kube.program("kube-apiserver").unwrap(), &flags).unwrap();
    let program = kube.program("kubectl").unwrap();
    let kubectl = async |arguments: &[&str]| {
        let output = Command::new(&program)
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .args(arguments)
            .output()
            .await
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    eventually("a ready API server", async || {
        assert!(!server.has_ended(), "{}", server.log_tail());
        kubectl(&["get", "--raw", "/readyz"]).await.0.then_some(())
    })
    .await;
    let made = kubectl(&["create", "secret", "generic", "s", "--from-literal=password=hunter2"]).await;
    assert!(made.0, "{}", made.1);
    let tenant = Ctl::tenant(&cell, "demo-1").await;
    let stored = tenant.run("get /skep/demo-1/secrets/default/s").await.text;
    assert!(stored.contains("k8s:enc:secretbox:v1:") && !stored.contains("hunter2"), "encrypted at rest");
    // Other tenants come and go: etcd refuses calls that cross that, and the API server's client repeats them.
    for i in 0..5 {
        cell.ensure(&format!("other-{i}")).await;
        let listed = kubectl(&["get", "configmaps", "--all-namespaces"]).await;
        assert!(listed.0, "{}", listed.1);
    }
    let log = fs::read_to_string(logs.join("kube-apiserver.log")).unwrap();
    assert!(!log.contains("permission denied"), "wants more than it has:\n{log}");
    drop(server);
    let demo = "demo-1".parse().unwrap();
    while cell.store.remove(&cell.reference(), &demo).await.unwrap() != Removal::Done {}
    assert_eq!(cell.store.usage(&cell.reference(), &demo).await.unwrap().keys, 0);
    let events = cell.log();
    assert!(!events.contains("\"level\":\"fatal\""), "{events}");
}
