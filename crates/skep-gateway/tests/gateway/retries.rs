use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::AlertDescription;
use skep_gateway::Rejection;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::api_server::{ApiServer, name_of, nobody};
use crate::cell::{Cell, host, within};
use crate::tls::{Identity, alert};

#[tokio::test]
async fn a_pod_that_refuses_is_passed_over() {
    let cell = Cell::start();
    let identity = Identity::new(&host("a"));
    let server = ApiServer::start("s", &identity).await;
    cell.tenant("a");
    cell.pod("a", "p1", nobody(), true);
    cell.pod("a", "p2", nobody(), true);
    cell.pod("a", "p3", server.address, true);
    for _ in 0..6 {
        let mut stream = within(identity.connect(cell.address)).await.unwrap();
        assert_eq!(name_of(&mut stream, 1).await, "s");
    }
}

#[tokio::test]
async fn a_ready_pod_that_refuses_is_asked_again() {
    let cell = Cell::start();
    let identity = Identity::new(&host("a"));
    let address = nobody();
    cell.tenant("a");
    cell.pod("a", "p", address, true);
    let start = async {
        cell.until_held(1).await;
        ApiServer::on(address, "s", &identity).await
    };
    let (stream, _server) = within(async { tokio::join!(identity.connect(cell.address), start) }).await;
    assert_eq!(name_of(&mut stream.unwrap(), 1).await, "s");
}

/// A server that takes connections and closes them, after reading or at once.
async fn hangs_up(reads: bool) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counter = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            if reads {
                let _ = stream.read(&mut [0; 4096]).await;
            }
        }
    });
    (address, count)
}

#[tokio::test]
async fn a_pod_that_hangs_up_without_a_word_is_no_loss() {
    for reads in [true, false] {
        let cell = Cell::start();
        let identity = Identity::new(&host("a"));
        let server = ApiServer::start("s", &identity).await;
        let (rude, met) = hangs_up(reads).await;
        cell.tenant("a");
        cell.pod("a", "p1", rude, true);
        cell.pod("a", "p2", server.address, true);
        let mut open = Vec::new();
        for _ in 0..4 {
            let mut stream = within(identity.connect(cell.address)).await.unwrap();
            assert_eq!(name_of(&mut stream, 1).await, "s");
            open.push(stream);
        }
        assert!(met.load(Ordering::SeqCst) > 0, "the rude one was never asked");
    }
}

#[tokio::test]
async fn when_all_hang_up_the_client_is_told_after_bounded_tries() {
    let cell = Cell::with(|c| c.limits.tries = 3);
    let identity = Identity::new(&host("a"));
    let (rude, met) = hangs_up(true).await;
    cell.tenant("a");
    cell.pod("a", "p", rude, true);
    assert_eq!(alert(within(identity.connect(cell.address)).await), AlertDescription::InternalError);
    assert_eq!(met.load(Ordering::SeqCst), 3);
    assert_eq!(cell.metrics.rejected(Rejection::NoAnswer), 1);
    cell.until_open(0).await;
}
