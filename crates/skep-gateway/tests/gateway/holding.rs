use std::time::Duration;

use rustls::AlertDescription;
use skep_gateway::Rejection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::api_server::{ApiServer, name_of, talk};
use crate::cell::{Cell, host, within};
use crate::tls::{Identity, alert};

#[tokio::test]
async fn a_connection_waits_for_the_first_ready_pod() {
    let cell = Cell::start();
    let identity = Identity::new(&host("a"));
    let server = ApiServer::start("s", &identity).await;
    cell.tenant("a");
    cell.pod("a", "p", server.address, false);
    let wake = async {
        cell.until_held(3).await;
        assert_eq!(server.accepted(), 0);
        cell.pod("a", "p", server.address, true);
    };
    let connect = || async {
        let mut stream = identity.connect(cell.address).await.unwrap();
        assert_eq!(name_of(&mut stream, 1).await, "s");
        talk(&mut stream).await.unwrap();
    };
    within(async { tokio::join!(connect(), connect(), connect(), wake) }).await;
    assert_eq!(cell.metrics.held_connections(), 0);
}

/// A client may go on after its first message; nothing that it says while it waits may be forgotten.
#[tokio::test]
async fn what_is_said_while_waiting_arrives() {
    let cell = Cell::start();
    let hello = Identity::new(&host("a")).client_hello();
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    cell.tenant("a");
    let mut client = TcpStream::connect(cell.address).await.unwrap();
    client.write_all(&hello).await.unwrap();
    within(cell.until_held(1)).await;
    client.write_all(b"early").await.unwrap();
    // The gateway has heard of it when it has heard of a connection that came later.
    let mut other = TcpStream::connect(cell.address).await.unwrap();
    other.write_all(&hello).await.unwrap();
    within(cell.until_held(2)).await;
    cell.pod("a", "p", server.local_addr().unwrap(), true);
    let mut heard = vec![0; hello.len() + 5];
    // Which of the two comes first is open; the other one says no more than its hello.
    let mut kept = Vec::new();
    let early = async {
        loop {
            let (mut accepted, _) = server.accept().await.unwrap();
            accepted.read_exact(&mut heard[..hello.len()]).await.unwrap();
            let mut rest = [0; 5];
            match tokio::time::timeout(Duration::from_secs(2), accepted.read_exact(&mut rest)).await {
                Ok(read) => return read.map(|_| rest).unwrap(),
                Err(_) => kept.push(accepted),
            }
        }
    };
    assert_eq!(&within(early).await, b"early");
}

#[tokio::test]
async fn waiting_ends_with_an_alert() {
    let cell = Cell::with(|c| c.timeouts.hold = Duration::from_millis(50));
    let identity = Identity::new(&host("a"));
    cell.tenant("a");
    assert_eq!(alert(within(identity.connect(cell.address)).await), AlertDescription::InternalError);
    assert_eq!(cell.metrics.rejected(Rejection::HoldTimeout), 1);
    assert_eq!(cell.directory.tenants()[0].stats().rejected(Rejection::HoldTimeout), 1);
    cell.until_open(0).await;
}

#[tokio::test]
async fn who_leaves_makes_room() {
    let cell = Cell::with(|c| c.limits.held_per_tenant = 1);
    let identity = Identity::new(&host("a"));
    cell.tenant("a");
    let waiting = tokio::spawn({
        let (identity, address) = (Identity::new(&host("a")), cell.address);
        async move { identity.connect(address).await }
    });
    cell.until_held(1).await;
    assert_eq!(alert(within(identity.connect(cell.address)).await), AlertDescription::InternalError);
    assert_eq!(cell.metrics.rejected(Rejection::TenantHeld), 1);
    waiting.abort();
    cell.until_held(0).await;
    cell.until_rejected(Rejection::HoldAborted, 1).await;
    let server = ApiServer::start("s", &identity).await;
    let wake = async {
        cell.until_held(1).await;
        cell.pod("a", "p", server.address, true);
    };
    within(async { tokio::join!(async { identity.connect(cell.address).await.unwrap() }, wake) }).await;
}

#[tokio::test]
async fn tenants_do_not_take_each_others_room() {
    let cell = Cell::with(|c| c.limits.held_per_tenant = 1);
    let (a, b) = (Identity::new(&host("a")), Identity::new(&host("b")));
    cell.tenant("a");
    cell.tenant("b");
    let address = cell.address;
    let waiting = [tokio::spawn(async move { drop(a.connect(address).await) }), {
        tokio::spawn(async move { drop(b.connect(address).await) })
    }];
    cell.until_held(2).await;
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    cell.until_held(0).await;
}

#[tokio::test]
async fn a_tenant_that_is_deleted_lets_its_connections_go() {
    let cell = Cell::start();
    let identity = Identity::new(&host("a"));
    cell.tenant("a");
    let delete = async {
        cell.until_held(1).await;
        cell.forget_tenant("a");
    };
    let (result, ()) = within(async { tokio::join!(identity.connect(cell.address), delete) }).await;
    assert_eq!(alert(result), AlertDescription::UnrecognisedName);
}

#[tokio::test]
async fn before_all_tenants_are_known_none_is_unknown() {
    let cell = Cell::incomplete(|_| ());
    let (a, b) = (Identity::new(&host("a")), Identity::new(&host("b")));
    let server = ApiServer::start("s", &a).await;
    let learn = async {
        cell.until_held(2).await;
        cell.tenant("a");
        cell.pod("a", "p", server.address, true);
        cell.directory.set_complete();
    };
    let (a, b, ()) =
        within(async { tokio::join!(a.connect(cell.address), b.connect(cell.address), learn) }).await;
    assert_eq!(name_of(&mut a.unwrap(), 1).await, "s");
    assert_eq!(alert(b), AlertDescription::UnrecognisedName);
}

#[tokio::test]
async fn who_leaves_before_all_tenants_are_known_makes_room_too() {
    let cell = Cell::incomplete(|_| ());
    let address = cell.address;
    let waiting = tokio::spawn(async move { Identity::new(&host("a")).connect(address).await });
    cell.until_held(1).await;
    waiting.abort();
    cell.until_held(0).await;
    cell.until_open(0).await;
}
