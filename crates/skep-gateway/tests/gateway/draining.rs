use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::api_server::{ApiServer, name_of, talk};
use crate::cell::{Cell, host, within};
use crate::tls::Identity;

/// Two ready pods, and a connection to the first.
async fn two_pods(cell: &Cell) -> (Identity, [ApiServer; 2], tokio_rustls::client::TlsStream<TcpStream>) {
    let identity = Identity::new(&host("a"));
    let servers = [ApiServer::start("1", &identity).await, ApiServer::start("2", &identity).await];
    cell.tenant("a");
    cell.pod("a", "p1", servers[0].address, true);
    let mut stream = within(identity.connect(cell.address)).await.unwrap();
    assert_eq!(name_of(&mut stream, 1).await, "1");
    cell.pod("a", "p2", servers[1].address, true);
    (identity, servers, stream)
}

#[tokio::test]
async fn a_pod_that_is_not_ready_keeps_what_it_has_and_gets_nothing_new() {
    let cell = Cell::start();
    let (identity, servers, mut old) = two_pods(&cell).await;
    cell.pod("a", "p1", servers[0].address, false);
    for _ in 0..5 {
        let mut new = within(identity.connect(cell.address)).await.unwrap();
        assert_eq!(name_of(&mut new, 1).await, "2");
        within(talk(&mut old)).await.unwrap();
    }
    assert_eq!(servers[0].accepted(), 1);
}

#[tokio::test]
async fn connections_of_a_pod_that_is_gone_go_on_for_their_time() {
    let cell = Cell::with(|c| c.timeouts.drain = Duration::from_secs(3600));
    let (_, _servers, mut old) = two_pods(&cell).await;
    cell.delete_pod("a", "p1");
    for _ in 0..5 {
        within(talk(&mut old)).await.unwrap();
    }
}

#[tokio::test]
async fn and_not_longer() {
    let cell = Cell::with(|c| c.timeouts.drain = Duration::from_millis(20));
    let (identity, _servers, mut old) = two_pods(&cell).await;
    let mut other = within(identity.connect(cell.address)).await.unwrap();
    cell.delete_pod("a", "p1");
    let mut rest = Vec::new();
    // Without a close_notify: that is for the API server to say, which it did not.
    within(old.read_to_end(&mut rest)).await.unwrap_err();
    cell.until_open(1).await;
    assert_eq!(name_of(&mut other, 1).await, "2");
    within(talk(&mut other)).await.unwrap();
}

#[tokio::test]
async fn a_deleted_tenant_drains_too() {
    let cell = Cell::with(|c| c.timeouts.drain = Duration::from_millis(20));
    let (_, _servers, mut old) = two_pods(&cell).await;
    cell.forget_tenant("a");
    within(old.read_to_end(&mut Vec::new())).await.unwrap_err();
    cell.until_open(0).await;
}

#[tokio::test]
async fn stopping_takes_nothing_new_and_ends_with_the_last_connection() {
    let cell = Cell::with(|c| c.timeouts.shutdown = Duration::from_secs(3600));
    let (_, _servers, mut old) = two_pods(&cell).await;
    cell.shutdown.cancel();
    within(async {
        while TcpStream::connect(cell.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    within(talk(&mut old)).await.unwrap();
    drop(old);
    cell.ended().await;
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let cell = Cell::with(|c| c.timeouts.shutdown = Duration::from_millis(20));
    let (_, _servers, mut old) = two_pods(&cell).await;
    cell.shutdown.cancel();
    cell.ended().await;
    within(old.read_to_end(&mut Vec::new())).await.unwrap_err();
}
