use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::api_server::{ApiServer, name_of, talk};
use crate::cell::{Cell, host, until, within};
use crate::tls::Identity;

#[tokio::test]
async fn each_tenant_reaches_its_own_api_server() {
    let cell = Cell::start();
    let (a, b) = (Identity::new(&host("a")), Identity::new(&host("b")));
    let (server_a, server_b) =
        (ApiServer::start("server-a", &a).await, ApiServer::start("server-b", &b).await);
    for (tenant, server) in [("a", &server_a), ("b", &server_b)] {
        cell.tenant(tenant);
        cell.pod(tenant, "p", server.address, true);
    }
    for (identity, name) in [(&a, "server-a"), (&b, "server-b"), (&a, "server-a")] {
        // Trusting only the tenant's own certificate, the handshake itself proves that nothing stands between.
        let mut stream = within(identity.connect(cell.address)).await.unwrap();
        assert_eq!(name_of(&mut stream, 8).await, name);
        talk(&mut stream).await.unwrap();
    }
    assert_eq!((server_a.accepted(), server_b.accepted()), (2, 1));
}

#[tokio::test]
async fn every_address_is_served() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let later = "203.0.113.7:6443".parse().unwrap();
    let cell = Cell::with(|c| c.also = vec![free, later]);
    let identity = Identity::new(&host("a"));
    let server = ApiServer::start("s", &identity).await;
    cell.tenant("a");
    cell.pod("a", "p", server.address, true);
    for address in [free, cell.address, free, cell.address] {
        let mut stream = within(identity.connect(address)).await.unwrap();
        assert_eq!(name_of(&mut stream, 1).await, "s");
    }
    cell.shutdown.cancel();
    cell.ended().await;
    assert!(TcpListener::bind(free).await.is_ok(), "the port is free again");
}

#[tokio::test]
async fn connections_spread_over_pods() {
    let cell = Cell::start();
    let identity = Identity::new(&host("a"));
    let servers = [ApiServer::start("1", &identity).await, ApiServer::start("2", &identity).await];
    cell.tenant("a");
    cell.pod("a", "p1", servers[0].address, true);
    cell.pod("a", "p2", servers[1].address, true);
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(within(identity.connect(cell.address)).await.unwrap());
    }
    assert_eq!(servers.each_ref().map(ApiServer::accepted), [5, 5]);
    open.clear();
    cell.until_open(0).await;
}

/// Plain connections to a pod, without TLS behind the hello, to see exactly what arrives.
async fn raw(cell: &Cell) -> (TcpStream, TcpStream) {
    let identity = Identity::new(&host("a"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    cell.tenant("a");
    cell.pod("a", "p", listener.local_addr().unwrap(), true);
    let mut client = TcpStream::connect(cell.address).await.unwrap();
    let hello = identity.client_hello();
    client.write_all(&hello).await.unwrap();
    let (mut server, _) = within(listener.accept()).await.unwrap();
    let mut heard = vec![0; hello.len()];
    within(server.read_exact(&mut heard)).await.unwrap();
    assert_eq!(heard, hello);
    (client, server)
}

#[tokio::test]
async fn large_streams_arrive_whole_in_both_directions_at_once() {
    let cell = Cell::start();
    let (client, server) = raw(&cell).await;
    let data = |seed: u64| (0..8_000_000u64).map(move |n| ((n * seed) >> 7) as u8).collect::<Vec<_>>();
    let one_side = |stream: TcpStream, say: Vec<u8>| async move {
        let (mut read, mut write) = stream.into_split();
        let writing = tokio::spawn(async move {
            write.write_all(&say).await.unwrap();
            write.shutdown().await.unwrap();
        });
        let mut heard = Vec::new();
        read.read_to_end(&mut heard).await.unwrap();
        writing.await.unwrap();
        heard
    };
    let (down, up) =
        within(async { tokio::join!(one_side(client, data(3)), one_side(server, data(5))) }).await;
    assert!(up == data(3) && down == data(5));
    cell.until_open(0).await;
}

#[tokio::test]
async fn a_closed_half_leaves_the_other_open() {
    let cell = Cell::start();
    let (mut client, mut server) = raw(&cell).await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = Vec::new();
    within(server.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, b"question");
    server.write_all(b"answer").await.unwrap();
    server.shutdown().await.unwrap();
    let mut heard = Vec::new();
    within(client.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, b"answer");
    cell.until_open(0).await;
}

#[tokio::test]
async fn a_half_that_stays_silent_ends_after_its_time() {
    let cell = Cell::with(|c| c.timeouts.half_closed = std::time::Duration::from_millis(50));
    let (mut client, mut server) = raw(&cell).await;
    server.write_all(b"x").await.unwrap();
    client.shutdown().await.unwrap();
    // The API server never closes its half; it is told by a reset in the end.
    let mut heard = [0; 9];
    assert_eq!(within(server.read(&mut heard)).await.unwrap(), 0);
    cell.until_open(0).await;
}

fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO)).unwrap();
}

#[tokio::test]
async fn resets_are_passed_on() {
    let cell = Cell::start();
    let (client, mut server) = raw(&cell).await;
    reset(client);
    let error = within(server.read(&mut [0; 9])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    let (mut client, mut server) = raw(&cell).await;
    server.write_all(b"x").await.unwrap();
    within(client.read_exact(&mut [0; 1])).await.unwrap();
    // Much later than data could still be on its way to the client: for a second after it has sent some, the gateway
    // keeps a reset from overtaking it.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    reset(server);
    let error = within(client.read(&mut [0; 9])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    cell.until_open(0).await;
}

#[tokio::test]
async fn what_was_said_before_a_reset_arrives() {
    let cell = Cell::start();
    let (mut client, mut server) = raw(&cell).await;
    client.write_all(b"never read").await.unwrap();
    until(|| {
        let stats = cell.directory.tenants();
        stats.iter().all(|tenant| tenant.open().used() == 1)
    })
    .await;
    // Few enough to be on the way at once: what is still in the server's own kernel is lost by its reset.
    server.write_all(&[7; 20_000]).await.unwrap();
    // Closing with unread bytes is a reset.
    drop(server);
    let mut heard = Vec::new();
    let _ = within(client.read_to_end(&mut heard)).await;
    assert_eq!(heard.len(), 20_000);
}

#[tokio::test]
async fn a_reader_that_stops_stops_the_writer() {
    let cell = Cell::start();
    let (mut client, mut server) = raw(&cell).await;
    let mut sent = 0;
    let block = vec![1; 1 << 20];
    // As long as something is taken, go on; the kernel's buffers are a few MiB, ours are 64 KiB.
    while let Ok(written) =
        tokio::time::timeout(std::time::Duration::from_millis(300), server.write(&block)).await
    {
        sent += written.unwrap();
        assert!(sent < 256 << 20, "nothing stops the writer");
    }
    drop(server);
    let mut heard = 0;
    let mut buffer = vec![0; 1 << 20];
    while heard < sent {
        heard += match within(client.read(&mut buffer)).await.unwrap() {
            0 => break,
            n => n,
        };
    }
    assert_eq!(heard, sent);
}
