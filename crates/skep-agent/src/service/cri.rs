//! One question to a container runtime (`k8s.io/cri-api`, `runtime.v1.RuntimeService/ListPodSandbox`): it needs the
//! runtime's store and its locks, so a runtime that hangs does not answer it.

use std::{io, path::Path};

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::{Request, client::Grpc, transport::Endpoint};
use tonic_prost::ProstCodec;

/// Some thousand sandboxes.
const MAX_ANSWER: usize = 64 << 20;

/// `ListPodSandboxRequest`: without a filter, everything.
#[derive(Clone, PartialEq, prost::Message)]
struct ListPodSandboxRequest {}

/// `ListPodSandboxResponse`: that it comes is enough.
#[derive(Clone, PartialEq, prost::Message)]
struct ListPodSandboxResponse {}

/// Asks once.
pub(super) async fn list_sandboxes(socket: &Path) -> io::Result<()> {
    let socket = socket.to_owned();
    let connect = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The address is not used.
    let endpoint = Endpoint::from_static("http://runtime.invalid");
    let channel = endpoint.connect_with_connector(connect).await.map_err(io::Error::other)?;
    let mut client = Grpc::new(channel).max_decoding_message_size(MAX_ANSWER);
    client.ready().await.map_err(io::Error::other)?;
    let path = PathAndQuery::from_static("/runtime.v1.RuntimeService/ListPodSandbox");
    let codec = ProstCodec::<ListPodSandboxRequest, ListPodSandboxResponse>::new();
    let answer = client.unary(Request::new(ListPodSandboxRequest {}), path, codec).await;
    answer.map(drop).map_err(|status| io::Error::other(format!("{:?}: {}", status.code(), status.message())))
}
