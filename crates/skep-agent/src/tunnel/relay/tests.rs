//! Both ends of a stream over HTTP/2 in memory, each with a socket in memory.

use http::{Method, Request, Response};
use proptest::prelude::*;
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::tunnel::wire::{SEND_BUFFER, STREAM_WINDOW};

/// Longest time anything here may take; reaching it is a failure, never the expected way.
const PATIENCE: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(3600);

/// A stream between two sockets: what is written to one end comes out of the other.
struct Bed {
    client: DuplexStream,
    target: DuplexStream,
    gateway: JoinHandle<Result<(), Broken>>,
    agent: JoinHandle<Result<(), Broken>>,
    connections: [JoinHandle<()>; 2],
}

/// A socket whose peer says what it says; small, so that what waits in it does not count.
fn socket() -> (DuplexStream, DuplexStream) {
    duplex(1024)
}

impl Bed {
    async fn new(half_closed: Duration) -> Self {
        let (near, far) = duplex(1 << 20);
        let mut server = h2::server::Builder::new();
        server.initial_window_size(STREAM_WINDOW).max_send_buffer_size(SEND_BUFFER);
        let mut client = h2::client::Builder::new();
        client.initial_window_size(STREAM_WINDOW).max_send_buffer_size(SEND_BUFFER);
        let (server, client) =
            tokio::join!(server.handshake::<_, Bytes>(far), client.handshake::<_, Bytes>(near));
        let (mut server, (sender, client)) = (server.unwrap(), client.unwrap());
        let client = tokio::spawn(async move { drop(client.await) });
        let (accepted, stream) = tokio::sync::oneshot::channel();
        let server = tokio::spawn(async move {
            let (request, mut respond) = server.accept().await.unwrap().unwrap();
            let send = respond.send_response(Response::new(()), false).unwrap();
            // As long as there is a handle, the stream is not given up.
            drop(respond);
            assert!(accepted.send(Stream { send, receive: request.into_body() }).is_ok());
            while server.accept().await.is_some() {}
        });
        let request = Request::builder().method(Method::CONNECT).uri("10.0.0.5:10250").body(()).unwrap();
        let (response, send) = sender.ready().await.unwrap().send_request(request, false).unwrap();
        let receive = response.await.unwrap().into_body();
        let near = Stream { send, receive };
        let far = stream.await.unwrap();
        let ((client_end, mut gateway_end), (target_end, mut agent_end)) = (socket(), socket());
        Self {
            client: client_end,
            target: target_end,
            gateway: tokio::spawn(async move { relay(&mut gateway_end, near, half_closed, |_, _| ()).await }),
            agent: tokio::spawn(async move { relay(&mut agent_end, far, half_closed, |_, _| ()).await }),
            connections: [client, server],
        }
    }

    async fn both_end_in_order(self) {
        drop((self.client, self.target));
        within(self.gateway).await.unwrap().unwrap();
        within(self.agent).await.unwrap().unwrap();
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("did not happen")
}

async fn all(stream: &mut DuplexStream) -> Vec<u8> {
    let mut heard = Vec::new();
    within(stream.read_to_end(&mut heard)).await.unwrap();
    heard
}

#[tokio::test]
async fn a_closed_half_leaves_the_other_open() {
    let mut bed = Bed::new(LONG).await;
    bed.client.write_all(b"question").await.unwrap();
    bed.client.shutdown().await.unwrap();
    assert_eq!(all(&mut bed.target).await, b"question");
    bed.target.write_all(b"answer").await.unwrap();
    bed.target.shutdown().await.unwrap();
    assert_eq!(all(&mut bed.client).await, b"answer");
    bed.both_end_in_order().await;
}

#[tokio::test]
async fn a_target_that_has_said_everything_and_hears_no_more_is_no_failure() {
    let mut bed = Bed::new(LONG).await;
    bed.target.write_all(b"answer").await.unwrap();
    drop(std::mem::replace(&mut bed.target, socket().0));
    assert_eq!(all(&mut bed.client).await, b"answer");
    // What is said now is for nobody; the end of the stream says so.
    while bed.client.write_all(&[1; 512]).await.is_ok() {
        tokio::task::yield_now().await;
    }
    within(bed.agent).await.unwrap().unwrap();
    within(bed.gateway).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_reader_that_stops_stops_the_writer() {
    let mut bed = Bed::new(LONG).await;
    let block = [7; 4096];
    let mut sent = 0;
    // As long as something is taken, go on.
    while let Ok(written) = timeout(Duration::from_millis(300), bed.client.write(&block)).await {
        sent += written.unwrap();
        assert!(sent < 4 << 20, "nothing stops the writer");
    }
    // A window, what waits for the window, and what the sockets hold.
    assert!(sent <= STREAM_WINDOW as usize + SEND_BUFFER + CHUNK + 4096, "{sent}");
    drop(bed.client.shutdown().await);
    assert_eq!(all(&mut bed.target).await.len(), sent);
}

#[tokio::test]
async fn what_was_said_before_the_tunnel_breaks_arrives_then_the_end() {
    let mut bed = Bed::new(LONG).await;
    bed.target.write_all(b"half an ans").await.unwrap();
    let mut heard = [0; 11];
    within(bed.client.read_exact(&mut heard)).await.unwrap();
    for connection in &bed.connections {
        connection.abort();
    }
    assert!(matches!(within(bed.gateway).await.unwrap(), Err(Broken::Tunnel(_))));
    assert!(matches!(within(bed.agent).await.unwrap(), Err(Broken::Tunnel(_))));
}

#[tokio::test]
async fn a_half_that_stays_silent_ends_after_its_time() {
    let mut bed = Bed::new(Duration::from_millis(50)).await;
    bed.client.shutdown().await.unwrap();
    assert_eq!(all(&mut bed.target).await, b"");
    // Whoever notices first tells the other.
    let ended = [within(bed.gateway).await.unwrap(), within(bed.agent).await.unwrap()];
    assert!(ended.iter().any(|end| matches!(end, Err(Broken::HalfClosed))), "{ended:?}");
    assert!(ended.iter().all(Result::is_err), "{ended:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn everything_arrives_in_both_directions(
        up in prop::collection::vec(any::<u8>(), 0..300_000), down in prop::collection::vec(any::<u8>(), 0..300_000),
        step in 1usize..70_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let Bed { client, target, gateway, agent, .. } = Bed::new(LONG).await;
            let side = |stream: DuplexStream, say: Vec<u8>| async move {
                let (mut read, mut write) = tokio::io::split(stream);
                let saying = async {
                    for part in say.chunks(step) {
                        write.write_all(part).await.unwrap();
                    }
                    write.shutdown().await.unwrap();
                };
                let mut heard = Vec::new();
                let (heard_all, ()) = tokio::join!(read.read_to_end(&mut heard), saying);
                heard_all.unwrap();
                heard
            };
            let (at_client, at_target) =
                within(async { tokio::join!(side(client, up.clone()), side(target, down.clone())) }).await;
            assert!(at_client == down && at_target == up);
            within(gateway).await.unwrap().unwrap();
            within(agent).await.unwrap().unwrap();
        });
    }
}
