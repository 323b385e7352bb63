use rustls::AlertDescription;
use skep_gateway::Rejection;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api_server::{ApiServer, name_of, talk};
use crate::cell::{Cell, host, within};
use crate::tls::{Identity, alert};

#[tokio::test]
async fn unknown_and_missing_names_get_their_alert() {
    let cell = Cell::start();
    cell.tenant("a");
    let identity = Identity::new(&host("b"));
    assert_eq!(alert(within(identity.connect(cell.address)).await), AlertDescription::UnrecognisedName);
    let stream = TcpStream::connect(cell.address).await.unwrap();
    assert_eq!(
        alert(within(identity.handshake_as("127.0.0.1", stream)).await),
        AlertDescription::UnrecognisedName
    );
    assert_eq!(cell.metrics.rejected(Rejection::UnknownServerName), 1);
    assert_eq!(cell.metrics.rejected(Rejection::NoServerName), 1);
    cell.until_open(0).await;
}

/// What the gateway answers to these bytes.
async fn answer(cell: &Cell, bytes: &[u8]) -> Vec<u8> {
    let mut client = TcpStream::connect(cell.address).await.unwrap();
    client.write_all(bytes).await.unwrap();
    let mut heard = Vec::new();
    let _ = within(client.read_to_end(&mut heard)).await;
    heard
}

#[tokio::test]
async fn nonsense_is_answered_and_closed() {
    let cell = Cell::start();
    assert_eq!(answer(&cell, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await, [21, 3, 3, 0, 2, 2, 10]);
    assert_eq!(answer(&cell, &[22, 3, 1, 0, 4, 9, 9, 9, 9]).await, [21, 3, 3, 0, 2, 2, 50]);
    assert_eq!(answer(&cell, &[22, 3, 1, 0, 4, 1, 0xff, 0, 0]).await, [21, 3, 3, 0, 2, 2, 22]);
    // Much more than was asked for does not keep the answer from arriving.
    assert_eq!(answer(&cell, &[b'x'; 100_000]).await, [21, 3, 3, 0, 2, 2, 10]);
    assert_eq!(cell.metrics.rejected(Rejection::NotTls), 2);
    cell.until_open(0).await;
}

#[tokio::test]
async fn a_hello_in_crumbs_is_understood() {
    let cell = Cell::start();
    let identity = Identity::new(&host("a"));
    let server = ApiServer::start("s", &identity).await;
    cell.tenant("a");
    cell.pod("a", "p", server.address, true);
    // A relay that sends every byte of the client's in a segment of its own.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, gateway) = (listener.local_addr().unwrap(), cell.address);
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(gateway).await.unwrap();
        far.set_nodelay(true).unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_far, mut to_far) = far.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_far, &mut to_client).await });
        while let Ok(byte) = from_client.read_u8().await {
            to_far.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let mut stream = within(identity.connect(near)).await.unwrap();
    assert_eq!(within(name_of(&mut stream, 1)).await, "s");
    within(talk(&mut stream)).await.unwrap();
}

#[tokio::test]
async fn who_does_not_finish_is_closed() {
    let cell = Cell::with(|c| c.timeouts.handshake = Duration::from_millis(50));
    for beginning in [&[][..], &[22], &Identity::new("a.b").client_hello()[..40]] {
        assert!(answer(&cell, beginning).await.is_empty());
    }
    assert_eq!(cell.metrics.rejected(Rejection::HandshakeTimeout), 3);
    cell.until_open(0).await;
}

#[tokio::test]
async fn who_leaves_early_is_forgotten() {
    let cell = Cell::start();
    let mut client = TcpStream::connect(cell.address).await.unwrap();
    client.write_all(&[22, 3, 1]).await.unwrap();
    cell.until_open(1).await;
    drop(client);
    cell.until_rejected(Rejection::HandshakeAborted, 1).await;
    cell.until_open(0).await;
}

#[tokio::test]
async fn a_hello_that_never_ends_is_cut_off() {
    let cell = Cell::with(|c| c.limits.hello_bytes = 1024);
    // A long list of cipher suites, one byte per record.
    let message = [&[1, 0, 0x20, 0], &[3; 34][..], &[0, 0x1f, 0], &[0; 2000]].concat();
    let crumbs: Vec<u8> = message.into_iter().flat_map(|byte| [22, 3, 1, 0, 1, byte]).collect();
    assert_eq!(answer(&cell, &crumbs).await, [21, 3, 3, 0, 2, 2, 22]);
    assert_eq!(cell.metrics.rejected(Rejection::HelloTooLarge), 1);
}
