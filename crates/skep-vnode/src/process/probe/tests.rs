use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::backend::ImageRoot;
use crate::process::beside;

fn local() -> IpAddr {
    "127.0.0.1".parse().unwrap()
}

fn probe(json: serde_json::Value) -> Check {
    let container: Container =
        serde_json::from_value(json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}], "env": [{"name": "A", "value": "1"}]}))
            .unwrap();
    Check::of_probe(&serde_json::from_value(json).unwrap(), &container, local()).unwrap()
}

async fn attempt(json: serde_json::Value) -> Outcome {
    let beside = beside::for_tests(ImageRoot { host_programs: true, ..ImageRoot::default() });
    probe(json).try_once(&beside, &Sessions::default(), Duration::from_millis(500)).await
}

/// Answers every connection with the texts in turn; returns its port.
async fn server(answers: Vec<&'static str>) -> u16 {
    let listener = TcpListener::bind((local(), 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    port
}

#[tokio::test]
async fn http() {
    let get = |port: u16| json!({"httpGet": {"port": port, "path": "/x"}});
    let ok = server(vec!["HTTP/1.1 204 No Content\r\n\r\n"]).await;
    assert_eq!(attempt(get(ok)).await, Outcome::Success);
    let bad = server(vec!["HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\nboo"]).await;
    assert_eq!(attempt(get(bad)).await, Outcome::Failure("HTTP probe failed with statuscode: 500".into()));
    let moved = server(vec!["HTTP/1.1 302 F\r\nLocation: /y\r\n\r\n", "HTTP/1.1 404 N\r\n\r\n"]).await;
    assert_eq!(attempt(get(moved)).await, Outcome::Failure("HTTP probe failed with statuscode: 404".into()));
    let away = server(vec!["HTTP/1.1 302 F\r\nLocation: http://example.invalid/\r\n\r\n"]).await;
    assert_eq!(attempt(get(away)).await, Outcome::Success);
    let noise = server(vec!["SSH-2.0-OpenSSH\r\n\r\n"]).await;
    assert!(
        matches!(attempt(get(noise)).await, Outcome::Failure(why) if why.contains("malformed HTTP response"))
    );
    let hangup = server(vec![""]).await;
    assert_eq!(
        attempt(get(hangup)).await,
        Outcome::Failure(format!("Get \"http://127.0.0.1:{hangup}/x\": EOF"))
    );
    assert_eq!(
        attempt(get(hangup)).await,
        Outcome::Failure(format!(
            "Get \"http://127.0.0.1:{hangup}/x\": dial tcp 127.0.0.1:{hangup}: connect: connection refused"
        ))
    );
}

#[tokio::test]
async fn a_target_that_never_answers_costs_its_deadline_and_no_more() {
    let listener = TcpListener::bind((local(), 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for target in [
        json!({"httpGet": {"port": port}}),
        json!({"httpGet": {"port": port, "scheme": "HTTPS"}}),
        json!({"grpc": {"port": port}}),
    ] {
        assert!(
            matches!(attempt(target).await, Outcome::Failure(why) if why.contains("deadline") || why.contains("timeout"))
        );
    }
    assert_eq!(attempt(json!({"tcpSocket": {"port": port}})).await, Outcome::Success);
    drop(listener);
    assert!(
        matches!(attempt(json!({"tcpSocket": {"port": port}})).await, Outcome::Failure(why) if why.contains("refused"))
    );
}

#[tokio::test]
async fn commands() {
    let exec = |script: &str| json!({"exec": {"command": ["sh", "-c", script]}});
    assert_eq!(attempt(exec("test $(A) = 1")).await, Outcome::Success);
    assert_eq!(attempt(exec("echo no; exit 4")).await, Outcome::Failure("no\n".into()));
    assert!(matches!(attempt(exec("sleep 100")).await, Outcome::Failure(why) if why.contains("timed out")));
    assert!(matches!(attempt(json!({"exec": {"command": ["nosuch"]}})).await, Outcome::Error(_)));
}

#[test]
fn ports_and_hooks() {
    let container: Container =
        serde_json::from_value(json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}))
            .unwrap();
    let text = |s: &str| IntOrString::String(s.into());
    assert_eq!(port(&text("web"), &container), Ok(8080));
    assert_eq!(port(&text("99"), &container), Ok(99));
    assert!(port(&text("none"), &container).is_err());
    assert!(port(&IntOrString::Int(0), &container).is_err());
    assert!(port(&IntOrString::Int(70_000), &container).is_err());
    let hook = serde_json::from_value(json!({"sleep": {"seconds": 2}})).unwrap();
    assert!(matches!(Check::of_hook(&hook, &container, local()), Ok(Check::Sleep(d)) if d.as_secs() == 2));
    assert!(Check::of_hook(&LifecycleHandler::default(), &container, local()).is_err());
}

/// A TLS server that counts full and resumed handshakes.
async fn tls_server(full: Arc<AtomicUsize>, resumed: Arc<AtomicUsize>) -> u16 {
    let key = rcgen::KeyPair::generate().unwrap();
    let cert =
        rcgen::CertificateParams::new(vec!["somebody.else".into()]).unwrap().self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((local(), 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            let kind = stream.get_ref().1.handshake_kind();
            let counter = if kind == Some(rustls::HandshakeKind::Resumed) { &resumed } else { &full };
            counter.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let _ = stream.shutdown().await;
        }
    });
    port
}

#[tokio::test]
async fn https_without_verification_and_with_resumed_sessions() {
    let (full, resumed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let port = tls_server(full.clone(), resumed.clone()).await;
    let check = probe(json!({"httpGet": {"port": port, "scheme": "HTTPS"}}));
    let beside = beside::for_tests(ImageRoot::default());
    let sessions = Sessions::default();
    for _ in 0..5 {
        assert_eq!(check.try_once(&beside, &sessions, Duration::from_secs(20)).await, Outcome::Success);
    }
    assert_eq!((full.load(Ordering::SeqCst), resumed.load(Ordering::SeqCst)), (1, 4));
}

#[tokio::test]
async fn grpc_says_what_upstream_says() {
    // Speaks no HTTP/2 at all.
    let port = server(vec!["HTTP/1.1 400 Bad\r\n\r\n"]).await;
    assert!(matches!(attempt(json!({"grpc": {"port": port}})).await, Outcome::Failure(_)));
    // The answers of a health server, byte by byte: `status: SERVING` and `status: NOT_SERVING`.
    for (status, expected) in [
        (1u8, Outcome::Success),
        (2, Outcome::Failure("service unhealthy (responded with \"NOT_SERVING\")".into())),
    ] {
        let port = health_server(status).await;
        assert_eq!(attempt(json!({"grpc": {"port": port, "service": "s"}})).await, expected);
    }
}

/// A minimal gRPC server: one unary answer for everything.
async fn health_server(status: u8) -> u16 {
    use http_body_util::{BodyExt, StreamBody};
    use hyper::body::Frame;
    let listener = TcpListener::bind((local(), 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let service =
        hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| async move {
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            let body = request.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(&body[..], b"\0\0\0\0\x03\x0a\x01s");
            let mut trailers = ::http::HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            let data = bytes::Bytes::from(vec![0, 0, 0, 0, 2, 8, status]);
            let frames =
                [Ok::<_, std::convert::Infallible>(Frame::data(data)), Ok(Frame::trailers(trailers))];
            let body = StreamBody::new(futures::stream::iter(frames));
            Ok::<_, std::convert::Infallible>(
                hyper::Response::builder().header("content-type", "application/grpc").body(body).unwrap(),
            )
        });
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let executor = hyper_util::rt::TokioExecutor::new();
        let _ = hyper::server::conn::http2::Builder::new(executor).serve_connection(io, service).await;
    });
    port
}
