use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::closing::Window;
use crate::directory::{Directory, Tenant, TenantBounds};
use crate::routes::{ControlPlaneFact, Key, PodFact};

/// Never reached by a test that passes.
const LONG: Duration = Duration::from_secs(3600);

/// How a tunnel left what it was given.
struct Ended {
    unanswered: Option<Vec<u8>>,
    corked: bool,
}

/// A tunnel, and what is at its ends.
struct Ends {
    client: TcpStream,
    server: TcpStream,
    directory: Directory,
    tenant: Arc<Tenant>,
    backend: Arc<Backend>,
    running: JoinHandle<Ended>,
}

/// A tunnel to an API server whose answers are held from now on for so long.
async fn held_for(time: Duration, patience: Patience) -> Ends {
    let directory = Directory::new(TenantBounds { connections: 1, held: 1 });
    let (key, tenant) = (Key::new("a", "a"), "a".to_owned());
    let pod = PodFact {
        key: key.clone(),
        uid: "u".into(),
        tenant: tenant.clone(),
        address: Some(([127, 0, 0, 1], 1).into()),
        ready: true,
        closing: None,
    };
    directory.update(|table| table.apply_pod(pod));
    directory.update(|table| {
        table.apply_control_plane(ControlPlaneFact { key, created: 0, tenant, host: "a".into() })
    });
    let tenant = directory.tenants().remove(0);
    let backend = tenant.ready()[0].clone();
    let from = Instant::now();
    backend.set_closing(|| Some(Window { from, until: from + time }));
    let ((client, mut to_client), (server, to_server)) = (pair().await, pair().await);
    let running = tokio::spawn({
        let (tenant, backend) = (tenant.clone(), backend.clone());
        async move {
            let mut tunnel = Tunnel::new(&mut to_client, to_server, b"hello".to_vec(), 5);
            tunnel.run(&backend, tenant.stats(), patience).await;
            let unanswered = tunnel.unanswered();
            Ended { unanswered, corked: rustix::net::sockopt::tcp_cork(&to_client).unwrap() }
        }
    });
    Ends { client, server, directory, tenant, backend, running }
}

const PATIENT: Patience = Patience { drain: LONG, half_closed: LONG };

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (near, listener.accept().await.unwrap().0)
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("did not happen")
}

impl Ends {
    /// The API server answers, and the tunnel has read this much of all its answers.
    async fn answer(&mut self, answer: &[u8], read: usize) {
        self.server.write_all(answer).await.unwrap();
        within(async {
            while self.tenant.stats().to_client.load(Ordering::Relaxed) < read as u64 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    fn client_has_nothing(&self) -> bool {
        self.client.try_read(&mut [0; 1]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

fn reset(stream: TcpStream) {
    socket::reset_on_close(&stream);
}

#[tokio::test]
async fn answers_wait_for_the_end_and_requests_do_not() {
    let mut ends = held_for(LONG, PATIENT).await;
    ends.answer(b"one", 3).await;
    ends.client.write_all(b"more").await.unwrap();
    within(ends.server.read_exact(&mut [0; 4])).await.unwrap();
    ends.answer(b"two", 6).await;
    assert!(ends.client_has_nothing());
    drop(ends.server);
    let mut heard = Vec::new();
    within(ends.client.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, b"onetwo");
    drop(ends.client);
    within(ends.running).await.unwrap();
}

#[tokio::test]
async fn they_do_not_wait_longer_than_their_time() {
    let mut ends = held_for(Duration::from_millis(100), PATIENT).await;
    ends.answer(b"one", 3).await;
    within(ends.client.read_exact(&mut [0; 3])).await.unwrap();
    // And from then on not at all.
    ends.answer(b"two", 6).await;
    within(ends.client.read_exact(&mut [0; 3])).await.unwrap();
}

#[tokio::test]
async fn more_than_a_buffer_waits_with_the_api_server() {
    let mut ends = held_for(Duration::from_millis(300), PATIENT).await;
    let answer = vec![7; 3 * crate::scratch::SIZE];
    let mut heard = vec![0; answer.len()];
    let (_, said) = within(async {
        tokio::join!(ends.client.read_exact(&mut heard), async {
            ends.server.write_all(&answer).await?;
            ends.server.shutdown().await
        })
    })
    .await;
    said.unwrap();
    assert!(heard == answer);
    assert_eq!(within(ends.client.read(&mut [0; 1])).await.unwrap(), 0);
}

#[tokio::test]
async fn a_reset_of_the_api_server_ends_the_wait() {
    let mut ends = held_for(LONG, PATIENT).await;
    ends.answer(b"one", 3).await;
    reset(ends.server);
    let mut heard = Vec::new();
    within(ends.client.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, b"one");
    within(ends.running).await.unwrap();
}

#[tokio::test]
async fn a_reset_of_the_client_is_passed_on() {
    let mut ends = held_for(LONG, PATIENT).await;
    ends.answer(b"one", 3).await;
    reset(ends.client);
    let error = within(ends.server.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    within(ends.running).await.unwrap();
}

#[tokio::test]
async fn a_pod_that_is_gone_drains_and_half_a_connection_ends() {
    let short = Duration::from_millis(20);
    let mut ends = held_for(LONG, Patience { drain: short, half_closed: LONG }).await;
    ends.answer(b"one", 3).await;
    ends.directory.update(|table| table.delete_pod(&Key::new("a", "a")));
    within(ends.running).await.unwrap();
    assert!(ends.backend.is_gone());

    let mut ends = held_for(LONG, Patience { drain: LONG, half_closed: short }).await;
    ends.answer(b"one", 3).await;
    ends.client.shutdown().await.unwrap();
    within(ends.running).await.unwrap();
}

#[tokio::test]
async fn a_client_that_was_not_answered_can_be_given_to_another_api_server() {
    let ends = held_for(LONG, PATIENT).await;
    drop(ends.server);
    let ended = within(ends.running).await.unwrap();
    assert_eq!(ended.unanswered.as_deref(), Some(b"hello".as_slice()));
    assert!(!ended.corked, "its next answers would be late");
}
