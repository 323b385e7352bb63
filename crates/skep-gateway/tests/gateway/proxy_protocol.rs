use std::net::SocketAddr;

use skep_gateway::Rejection;
use skep_gateway::config::ProxyAccept;
use skep_gateway::proxy_protocol::{Parsed, build, parse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::api_server::{ApiServer, name_of};
use crate::cell::{Cell, host, within};
use crate::tls::Identity;

const CLIENT: &str = "192.0.2.7:1234";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A cell that believes headers from this network, with a tenant `a` whose certificate also has another name.
async fn cell(accept: ProxyAccept, trusted: &str) -> (Cell, Identity, ApiServer) {
    let cell = Cell::with(|c| {
        c.proxy.accept = accept;
        c.proxy.trusted = vec![trusted.parse().unwrap()];
    });
    let identity = Identity::new("kubernetes.default.svc");
    let server = ApiServer::start("s", &identity).await;
    cell.tenant("a");
    cell.pod("a", "p", server.address, true);
    (cell, identity, server)
}

async fn connect_with(cell: &Cell, header: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(cell.address).await.unwrap();
    stream.write_all(header).await.unwrap();
    stream
}

#[tokio::test]
async fn a_trusted_authority_names_the_tenant_when_the_server_name_does_not() {
    let (cell, identity, _server) = cell(ProxyAccept::Optional, "127.0.0.0/8").await;
    for authority in ["a", "a.skep.internal"] {
        let header = build(address(CLIENT), cell.address, Some(authority));
        let stream = connect_with(&cell, &header).await;
        let mut stream = within(identity.handshake(stream)).await.unwrap();
        assert_eq!(name_of(&mut stream, 1).await, "s");
    }
    let header = build(address(CLIENT), cell.address, Some("b"));
    let stream = connect_with(&cell, &header).await;
    assert!(within(identity.handshake(stream)).await.is_err());
    assert_eq!(cell.metrics.rejected(Rejection::UnknownServerName), 1);
}

#[tokio::test]
async fn who_is_not_trusted_does_not_come_around_the_load_balancer() {
    let (cell, identity, server) = cell(ProxyAccept::Required, "10.0.0.0/8").await;
    let header = build(address(CLIENT), cell.address, Some("a"));
    for (count, said) in [(1, header.as_slice()), (2, &[])] {
        let stream = connect_with(&cell, said).await;
        assert!(within(identity.handshake(stream)).await.is_err());
        assert_eq!(cell.metrics.rejected(Rejection::ProxyUntrusted), count);
    }
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn a_header_that_must_be_there() {
    let (cell, identity, _server) = cell(ProxyAccept::Required, "127.0.0.0/8").await;
    assert!(within(identity.connect(cell.address)).await.is_err());
    assert_eq!(cell.metrics.rejected(Rejection::ProxyMalformed), 1);
}

#[tokio::test]
async fn api_servers_are_told_who_the_client_is() {
    for (trusted, proxied) in [(true, false), (true, true), (false, true)] {
        let cell = Cell::with(|c| {
            c.proxy.send = true;
            c.proxy.accept = ProxyAccept::Optional;
            c.proxy.trusted = vec![if trusted { "127.0.0.0/8" } else { "10.0.0.0/8" }.parse().unwrap()];
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        cell.tenant("a");
        cell.pod("a", "p", listener.local_addr().unwrap(), true);
        let hello = Identity::new(&host("a")).client_hello();
        let header = if proxied { build(address(CLIENT), address("192.0.2.9:6443"), None) } else { vec![] };
        let mut client = connect_with(&cell, &header).await;
        client.write_all(&hello).await.unwrap();
        let (mut server, _) = within(listener.accept()).await.unwrap();
        let mut heard = Vec::new();
        let (header, length) = within(async {
            loop {
                if server.read_buf(&mut heard).await.unwrap() == 0 {
                    panic!("closed");
                }
                if let Ok(Parsed::Complete(header, length)) = parse(&heard) {
                    break (header, length);
                }
            }
        })
        .await;
        let expected = if trusted && proxied {
            (address(CLIENT), address("192.0.2.9:6443"))
        } else {
            (client.local_addr().unwrap(), cell.address)
        };
        assert_eq!(header.addresses, Some(expected));
        assert_eq!(header.authority.unwrap().as_str(), host("a"));
        while heard.len() < length + hello.len() {
            within(server.read_buf(&mut heard)).await.unwrap();
        }
        assert_eq!(&heard[length..], hello);
    }
}
