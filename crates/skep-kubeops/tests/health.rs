//! The health endpoint over real HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use skep_kubeops::{Metrics, health::Health};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn it_tells_health_readiness_and_metrics_until_it_is_stopped() {
    let health = Health::new(Metrics::new());
    let synced = Arc::new(AtomicBool::new(false));
    let check = Arc::clone(&synced);
    health.add_ready_check("caches", move || {
        check.load(Ordering::Relaxed).then_some(()).ok_or_else(|| "clusters not listed yet".to_owned())
    });
    health.add_ready_check("always", || Ok(()));
    let shutdown = CancellationToken::new();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let address = health.serve(any, shutdown.clone()).await.unwrap();

    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    let answer = get(address, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("[-] caches: clusters not listed yet\n[+] always ok\n"), "{answer}");
    synced.store(true, Ordering::Relaxed);
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    let answer = get(address, "/metrics").await;
    assert!(answer.contains("application/openmetrics-text") && answer.contains("skep_leader 0"), "{answer}");
    assert!(answer.trim_end().ends_with("# EOF"), "{answer}");

    let error = health.serve(address, shutdown.clone()).await.unwrap_err().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("choose another address"), "{error}");
    shutdown.cancel();
}
