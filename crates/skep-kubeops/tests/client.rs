//! The client factory: credentials, user agent, retries, deadlines.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, future::try_join_all};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api,
    api::{PostParams, WatchParams},
};
use skep_kubeops::{Classify, ClientConfig, ErrorClass};
use skep_testkit::ApiServer;
use tokio::net::TcpListener;

/// What a server was asked, and what it answers next.
#[derive(Clone, Default)]
struct Script {
    asked: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<Vec<u16>>>,
}

async fn answer(State(script): State<Script>, request: Request) -> Response {
    let agent = request.headers().get(header::USER_AGENT).unwrap().to_str().unwrap().to_owned();
    script.asked.lock().unwrap().push(format!("{} {agent}", request.method()));
    let next = script.answers.lock().unwrap().pop();
    match next {
        Some(0) => std::future::pending().await,
        Some(code) => (StatusCode::from_u16(code).unwrap(), [("retry-after", "0")], "").into_response(),
        None => axum::Json(ConfigMap::default()).into_response(),
    }
}

/// A server that answers with these codes in order, then well. 0 is no answer.
async fn server(codes: &[u16]) -> (Script, ClientConfig) {
    let script = Script::default();
    *script.answers.lock().unwrap() = codes.iter().rev().copied().collect();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer).with_state(script.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let config = kube::Config::new(format!("http://{address}").parse().unwrap());
    (script, ClientConfig::from_config(config))
}

async fn create(config: ClientConfig) -> kube::Result<ConfigMap> {
    let client = config.build("skep-test").unwrap();
    Api::<ConfigMap>::namespaced(client, "default")
        .create(&PostParams::default(), &ConfigMap::default())
        .await
}

#[tokio::test]
async fn overload_is_answered_by_a_few_more_tries_and_a_defect_by_none() {
    for (codes, tries, works) in [
        (&[503][..], 2, true),
        (&[429, 504][..], 3, true),
        (&[503, 503, 503, 503, 503][..], 3, false),
        (&[500][..], 1, false),
        (&[409][..], 1, false),
    ] {
        let (script, config) = server(codes).await;
        let result = create(config.retries(2)).await;
        assert_eq!(result.is_ok(), works, "{codes:?}");
        let asked = script.asked.lock().unwrap().clone();
        assert_eq!(asked.len(), tries, "{codes:?}");
        assert_eq!(asked[0], format!("POST skep-test/{}", env!("CARGO_PKG_VERSION")));
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let (_script, config) = server(&[0]).await;
    let error = create(config.deadline(Duration::from_millis(50))).await.unwrap_err();
    assert_eq!((error.class(), error.reason()), (ErrorClass::Transient, "Unreachable"));
    let text = skep_kubeops::error::describe(&error);
    assert!(text.contains("no answer within"), "{text}");
}

#[tokio::test]
async fn nobody_listening_is_said_in_words() {
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let error = create(ClientConfig::from_config(config)).await.unwrap_err();
    let text = skep_kubeops::error::describe(&error);
    assert!(text.contains("Connection refused"), "{text}");
}

#[tokio::test]
async fn kubeconfigs_work_as_files_and_as_text() {
    let server = ApiServer::shared().await.unwrap();
    let path = server.kubeconfig_path();
    let from_file = ClientConfig::from_kubeconfig(&path, Some("skep-test")).await.unwrap();
    assert_eq!(from_file.server().trim_end_matches('/'), server.server());
    let from_text = ClientConfig::from_yaml(server.kubeconfig()).await.unwrap();
    // The certificate names the service as well as the address.
    let by_name = from_text.clone().tls_server_name("kubernetes.default.svc");
    for config in [from_file, from_text.clone(), by_name] {
        let client = config.build("skep-test").unwrap();
        assert!(Api::<Namespace>::all(client).get("default").await.is_ok());
    }
    let stranger = from_text.tls_server_name("example.org").build("skep-test").unwrap();
    let error = Api::<Namespace>::all(stranger).get("default").await.unwrap_err();
    let text = skep_kubeops::error::describe(&error);
    assert!(text.contains("certificate"), "{text}");
}

#[tokio::test]
async fn unusable_kubeconfigs_are_named() {
    let server = ApiServer::shared().await.unwrap();
    let path = server.kubeconfig_path();
    let error = ClientConfig::from_kubeconfig(&path, Some("absent")).await.unwrap_err().to_string();
    assert!(error.contains(&path.display().to_string()) && error.contains("absent"), "{error}");
    let missing = path.with_file_name("missing");
    let error = ClientConfig::from_kubeconfig(&missing, None).await.unwrap_err().to_string();
    assert!(error.contains(&missing.display().to_string()), "{error}");
    let error = ClientConfig::from_yaml("clusters: 7").await.unwrap_err().to_string();
    assert!(error.starts_with("cannot use the kubeconfig given as text"), "{error}");
}

/// A door before a server that counts who comes through it.
async fn counted(server: std::net::SocketAddr) -> (Arc<AtomicUsize>, std::net::SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (count, address) = (Arc::<AtomicUsize>::default(), listener.local_addr().unwrap());
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut inside, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut outside = tokio::net::TcpStream::connect(server).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
            });
        }
    });
    (count, address)
}

/// More calls than an API server takes at once over a connection, beside watches that stay open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_carries_watches_and_a_burst() {
    let mut config = ApiServer::shared().await.unwrap().config().await.unwrap();
    let url = &config.cluster_url;
    let host = url.host().unwrap().to_owned();
    let server = format!("{host}:{}", url.port_u16().unwrap()).parse().unwrap();
    let (connections, door) = counted(server).await;
    config.cluster_url = format!("https://{door}").parse().unwrap();
    config.tls_server_name = Some(host);
    let namespaces: Api<Namespace> =
        Api::all(ClientConfig::from_config(config).retries(0).build("skep-test").unwrap());
    namespaces.get("default").await.unwrap();
    let mut watches = Vec::new();
    for _ in 0..40 {
        watches.push(namespaces.watch(&WatchParams::default(), "0").await.unwrap());
    }
    let calls = (0..300).map(|_| namespaces.get("default"));
    try_join_all(calls).await.unwrap();
    for watch in watches {
        assert!(Box::pin(watch).next().await.unwrap().is_ok(), "every watch is alive");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}
