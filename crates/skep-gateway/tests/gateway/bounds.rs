use std::io;
use std::time::Duration;

use rustls::AlertDescription;
use skep_gateway::Rejection;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::api_server::{ApiServer, name_of};
use crate::cell::{Cell, host, until, within};
use crate::tls::{Identity, alert};

/// Ends with nothing said, by whatever kind of close.
async fn closed_without_a_word(client: io::Result<TcpStream>) {
    let mut heard = Vec::new();
    // The reset may even come before the connection is seen as made.
    if let Ok(mut client) = client {
        let _ = within(client.read_to_end(&mut heard)).await;
    }
    assert!(heard.is_empty(), "{heard:?}");
}

#[tokio::test]
async fn connections_of_one_tenant() {
    let cell = Cell::with(|c| c.limits.connections_per_tenant = 2);
    let (a, b) = (Identity::new(&host("a")), Identity::new(&host("b")));
    let (server_a, server_b) = (ApiServer::start("s", &a).await, ApiServer::start("s", &b).await);
    for (tenant, server) in [("a", &server_a), ("b", &server_b)] {
        cell.tenant(tenant);
        cell.pod(tenant, "p", server.address, true);
    }
    let first = within(a.connect(cell.address)).await.unwrap();
    let _second = within(a.connect(cell.address)).await.unwrap();
    assert_eq!(alert(within(a.connect(cell.address)).await), AlertDescription::InternalError);
    assert_eq!(cell.metrics.rejected(Rejection::TenantConnections), 1);
    let mut other = within(b.connect(cell.address)).await.unwrap();
    assert_eq!(name_of(&mut other, 1).await, "s");
    drop(first);
    cell.until_open(2).await;
    within(a.connect(cell.address)).await.unwrap();
}

#[tokio::test]
async fn connections_of_all() {
    let cell = Cell::with(|c| c.limits.connections = 1);
    let first = TcpStream::connect(cell.address).await.unwrap();
    cell.until_open(1).await;
    closed_without_a_word(TcpStream::connect(cell.address).await).await;
    assert_eq!(cell.metrics.rejected(Rejection::Connections), 1);
    drop(first);
    cell.until_open(0).await;
}

#[tokio::test]
async fn unfinished_handshakes() {
    let cell = Cell::with(|c| c.limits.handshakes = 1);
    let slow = TcpStream::connect(cell.address).await.unwrap();
    cell.until_open(1).await;
    closed_without_a_word(TcpStream::connect(cell.address).await).await;
    assert_eq!(cell.metrics.rejected(Rejection::Handshakes), 1);
    drop(slow);
}

#[tokio::test]
async fn connections_of_one_source_per_second() {
    let cell = Cell::with(|c| {
        (c.limits.per_source, c.limits.per_source_burst) = (1, 2);
        c.timeouts.handshake = Duration::from_secs(3600);
    });
    let connect = || TcpStream::connect(cell.address);
    let mut allowed = vec![connect().await.unwrap(), connect().await.unwrap()];
    cell.until_open(2).await;
    let is_refused = || cell.metrics.rejected(Rejection::SourceRate) == 1;
    let refused = loop {
        let client = connect().await;
        until(|| is_refused() || cell.metrics.open_connections() > allowed.len()).await;
        if is_refused() {
            break client;
        }
        // A machine that takes a second for this has earned another one.
        allowed.extend(client);
    };
    closed_without_a_word(refused).await;
}

#[tokio::test]
async fn a_thousand_connections_leave_nothing_behind() {
    let cell = Cell::start();
    let identity = Identity::new(&host("a"));
    let server = ApiServer::start("s", &identity).await;
    cell.tenant("a");
    cell.pod("a", "p", server.address, true);
    let hello = identity.client_hello();
    for _ in 0..20 {
        let mut open = Vec::new();
        for n in 0..50 {
            use tokio::io::AsyncWriteExt;
            let mut stream = TcpStream::connect(cell.address).await.unwrap();
            // Some leave before, some in the middle of, some after their hello.
            stream.write_all(&hello[..hello.len() * (n % 5) / 4]).await.unwrap();
            open.push(stream);
        }
    }
    cell.until_open(0).await;
    assert_eq!(cell.metrics.held_connections(), 0);
    assert_eq!(cell.directory.tenants()[0].open().used(), 0);
    assert_eq!(cell.directory.tenants()[0].ready()[0].open(), 0);
}
