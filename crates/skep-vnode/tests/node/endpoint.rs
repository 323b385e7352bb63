//! The HTTPS endpoint: who gets in, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, IpAddr, PrivateKeyDer, ServerName};
use skep_pki::Leaf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::{Cluster, IDLE, PATIENCE, TestNode, text, until};

/// Asks the endpoint directly with a certificate of the right authority (or none).
async fn ask(node: &TestNode, leaf: Option<Leaf>, path: &str) -> std::io::Result<String> {
    let authority = &Cluster::get().await.authority;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.cert_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match leaf {
        None => builder.with_no_client_auth(),
        Some(leaf) => {
            let pair = authority.issue(&leaf, Timestamp::now()).unwrap();
            let chain = vec![CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let stream = TcpStream::connect((node.address(), 10_250)).await?;
    let name = ServerName::IpAddress(IpAddr::from(std::net::IpAddr::V4(node.address())));
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(text(&answer))
}

fn client(name: &str) -> Leaf {
    Leaf::client(name, Duration::from_secs(3600))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_known_callers_get_in() {
    let node = TestNode::start("endpoint-access").await;
    assert!(ask(&node, None, "/pods").await.is_err(), "no certificate, and yet an answer");
    let stranger = ask(&node, Some(client("stranger")), "/pods").await.unwrap();
    assert!(stranger.starts_with("HTTP/1.1 403"), "{stranger}");
    let known = ask(&node, Some(client("kube-apiserver-kubelet-client")), "/healthz").await.unwrap();
    assert!(known.starts_with("HTTP/1.1 200") && known.ends_with("ok"), "{known}");
    let admin = ask(&node, Some(client("anna").organization("system:masters")), "/pods").await.unwrap();
    assert!(admin.contains("\"kind\":\"PodList\""), "{admin}");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_of_pods_and_node() {
    let node = TestNode::start("endpoint-figures").await;
    node.up(node.script("p", IDLE)).await;
    // Asked directly: the API server's `nodes/proxy` refuses loopback addresses.
    let raw = async |path: &str| {
        let answer =
            ask(&node, Some(client("kube-apiserver-kubelet-client")), &format!("/{path}")).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        answer
    };
    let labels = format!("{{container=\"c\",namespace=\"{}\",pod=\"p\"}} ", node.namespace);
    until("the container's figures", || async {
        let resource = raw("metrics/resource").await;
        let memory = format!("container_memory_working_set_bytes{labels}");
        let line = resource.lines().find_map(|line| line.strip_prefix(&memory))?;
        (line.split(' ').next()?.parse::<f64>().ok()? > 0.0).then_some(())
    })
    .await;
    let resource = raw("metrics/resource").await;
    assert!(resource.contains(&format!("container_cpu_usage_seconds_total{labels}")), "{resource}");
    assert!(
        resource.contains("node_cpu_usage_seconds_total ") && resource.contains("scrape_error 0"),
        "{resource}"
    );
    assert!(raw("metrics").await.contains("kubelet_running_pods 1"));
    assert!(raw("stats/summary").await.contains("\"podRef\""));
    assert!(raw("pods").await.contains("\"name\":\"p\""));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_served_is_said_clearly() {
    let node = TestNode::start("endpoint-refused").await;
    node.up(node.script("p", IDLE)).await;
    let done = node.kubectl(&["attach", "p"]).await;
    assert!(!done.status.success());
    assert!(
        text(&done.stderr).contains("attach is not supported on virtual nodes"),
        "{}",
        text(&done.stderr)
    );
    let known = || Some(client("kube-apiserver-kubelet-client"));
    let run = ask(&node, known(), &format!("/run/{}/p/c?cmd=id", node.namespace)).await.unwrap();
    assert!(run.starts_with("HTTP/1.1 501"), "{run}");
    let plain =
        ask(&node, known(), &format!("/exec/{}/p/c?command=id&output=1", node.namespace)).await.unwrap();
    assert!(plain.starts_with("HTTP/1.1 400") && plain.contains("SPDY/3.1"), "{plain}");
    let other = ask(&node, known(), "/containerLogs/kube-system/nothing/c").await.unwrap();
    assert!(other.starts_with("HTTP/1.1 404"), "{other}");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_shut_others_out() {
    let node = TestNode::start("endpoint-idle").await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect((node.address(), 10_250)).await.unwrap());
    }
    let answer =
        tokio::time::timeout(PATIENCE, ask(&node, Some(client("kube-apiserver-kubelet-client")), "/healthz"));
    assert!(answer.await.unwrap().unwrap().starts_with("HTTP/1.1 200"));
    node.end().await;
}
