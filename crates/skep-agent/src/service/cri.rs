//! Questions to a container runtime (`k8s.io/cri-api`, `runtime.v1.RuntimeService`).

use std::{io, path::Path};

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::{
    Request,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

/// Some thousand sandboxes.
const MAX_ANSWER: usize = 64 << 20;

/// `ListPodSandboxRequest`: without a filter, everything.
#[derive(Clone, PartialEq, prost::Message)]
struct ListPodSandboxRequest {}

/// `ListPodSandboxResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct ListPodSandboxResponse {
    #[prost(message, repeated, tag = "1")]
    items: Vec<PodSandbox>,
}

/// `PodSandbox`, by its name only.
#[derive(Clone, PartialEq, prost::Message)]
struct PodSandbox {
    #[prost(string, tag = "1")]
    id: String,
}

/// `StopPodSandboxRequest` and `RemovePodSandboxRequest`, which are alike.
#[derive(Clone, PartialEq, prost::Message)]
struct OneSandbox {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
}

/// Their answers have nothing in them.
#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

/// Asks for all sandboxes: that needs the runtime's store and its locks, so one that hangs does not answer.
pub(super) async fn list_sandboxes(socket: &Path) -> io::Result<()> {
    list(&mut connect(socket).await?).await.map(drop)
}

/// Ends every pod with all that the runtime has made for it: containers, mounts, networks.
pub(crate) async fn remove_sandboxes(socket: &Path) -> io::Result<()> {
    let mut client = connect(socket).await?;
    for PodSandbox { id } in list(&mut client).await? {
        let one = OneSandbox { pod_sandbox_id: id };
        for call in ["StopPodSandbox", "RemovePodSandbox"] {
            let _: Nothing = ask(&mut client, call, one.clone()).await?;
        }
    }
    Ok(())
}

async fn list(client: &mut Grpc<Channel>) -> io::Result<Vec<PodSandbox>> {
    let answer: ListPodSandboxResponse = ask(client, "ListPodSandbox", ListPodSandboxRequest {}).await?;
    Ok(answer.items)
}

async fn connect(socket: &Path) -> io::Result<Grpc<Channel>> {
    let socket = socket.to_owned();
    let connect = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The address is not used.
    let endpoint = Endpoint::from_static("http://runtime.invalid");
    let channel = endpoint.connect_with_connector(connect).await.map_err(io::Error::other)?;
    Ok(Grpc::new(channel).max_decoding_message_size(MAX_ANSWER))
}

async fn ask<Q, A>(client: &mut Grpc<Channel>, call: &str, question: Q) -> io::Result<A>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    client.ready().await.map_err(io::Error::other)?;
    let path =
        PathAndQuery::try_from(format!("/runtime.v1.RuntimeService/{call}")).map_err(io::Error::other)?;
    let answer = client.unary(Request::new(question), path, ProstCodec::<Q, A>::new()).await;
    let failed = |status: tonic::Status| {
        io::Error::other(format!("{call}: {:?}: {}", status.code(), status.message()))
    };
    answer.map(tonic::Response::into_inner).map_err(failed)
}
