//! What this program does when it is started again by itself: as the agent of a machine, or as a program of a node that
//! only pretends. Each is a test that does nothing in an ordinary run.

use std::{
    fs::OpenOptions,
    io::Write,
    os::linux::net::SocketAddrExt,
    os::unix::net::{SocketAddr, UnixDatagram},
    path::Path,
};

use skep_agent::config::{Host, Join};
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

/// Directory with `join.json` and `host.json`.
pub const AGENT: &str = "SKEP_TEST_AGENT";
/// Where to listen as a container runtime.
pub const RUNTIME: &str = "SKEP_TEST_RUNTIME";
/// File in which programs that pretend say what they do.
pub const TOLD: &str = "/var/lib/skep/told";

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn agent_process() {
    let Some(directory) = std::env::var_os(AGENT) else { return };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let read = |name: &str| std::fs::read_to_string(Path::new(&directory).join(name)).unwrap();
    let join: Join = serde_json::from_str(&read("join.json")).unwrap();
    let host: Host = serde_json::from_str(&read("host.json")).unwrap();
    let outcome = runtime().block_on(async {
        let shutdown = CancellationToken::new();
        let mut term = signal(SignalKind::terminate()).unwrap();
        let stop = shutdown.clone();
        tokio::spawn(async move {
            term.recv().await;
            stop.cancel();
        });
        skep_agent::run(join, host, shutdown).await
    });
    match outcome {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1)
        }
    }
}

#[test]
fn says_ready() {
    let Some(name) = std::env::var("NOTIFY_SOCKET").ok().filter(|name| name.starts_with('@')) else { return };
    let socket = UnixDatagram::unbound().unwrap();
    socket.connect_addr(&SocketAddr::from_abstract_name(&name[1..]).unwrap()).unwrap();
    socket.send(b"READY=1").unwrap();
}

/// A container runtime that has no sandboxes.
#[test]
fn pretends_to_be_a_runtime() {
    let Some(socket) = std::env::var_os(RUNTIME) else { return };
    let tell = |what: &str| {
        let mut told = OpenOptions::new().append(true).create(true).open(TOLD).unwrap();
        writeln!(told, "containerd {what}").unwrap();
    };
    runtime().block_on(async {
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let mut term = signal(SignalKind::terminate()).unwrap();
        tell("start");
        says_ready();
        loop {
            tokio::select! {
                accepted = listener.accept() => drop(tokio::spawn(no_sandboxes(accepted.unwrap().0))),
                _ = term.recv() => break,
            }
        }
        tell("end");
    });
    std::process::exit(0)
}

/// Answers every call with an empty message.
async fn no_sandboxes(connection: tokio::net::UnixStream) {
    let Ok(mut connection) = h2::server::handshake(connection).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        assert_eq!(request.uri().path(), "/runtime.v1.RuntimeService/ListPodSandbox");
        let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let mut body = respond.send_response(head, false).unwrap();
        body.send_data(bytes::Bytes::from_static(&[0; 5]), false).unwrap();
        let status = http::HeaderValue::from_static("0");
        body.send_trailers([(http::HeaderName::from_static("grpc-status"), status)].into_iter().collect())
            .unwrap();
    }
}
