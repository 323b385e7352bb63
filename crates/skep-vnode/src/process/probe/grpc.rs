//! The gRPC health protocol (`grpc.health.v1.Health/Check`), without TLS, as the kubelet speaks it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::Outcome;

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthCheckRequest {
    /// Empty for the server as a whole.
    #[prost(string, tag = "1")]
    pub service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthCheckResponse {
    /// One of [`ServingStatus`].
    #[prost(enumeration = "ServingStatus", tag = "1")]
    pub status: i32,
}

/// `grpc.health.v1.HealthCheckResponse.ServingStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

pub(super) async fn check(host: IpAddr, port: u16, service: &str, deadline: Duration) -> Outcome {
    let address = SocketAddr::new(host, port);
    match tokio::time::timeout(deadline, Box::pin(ask(address, service))).await {
        Ok(outcome) => outcome,
        Err(_) => {
            Outcome::Failure(format!("timeout: health rpc did not complete within {}s", deadline.as_secs()))
        }
    }
}

async fn ask(address: SocketAddr, service: &str) -> Outcome {
    let endpoint = match Endpoint::from_shared(format!("http://{address}")) {
        Ok(endpoint) => endpoint,
        Err(error) => return Outcome::Error(error.to_string()),
    };
    let channel = match endpoint.connect().await {
        Ok(channel) => channel,
        Err(error) => {
            return Outcome::Failure(format!(
                "error: failed to connect service at {:?}: {error}",
                address.to_string()
            ));
        }
    };
    let mut client = Grpc::new(channel);
    if let Err(error) = client.ready().await {
        return Outcome::Failure(format!(
            "error: failed to connect service at {:?}: {error}",
            address.to_string()
        ));
    }
    let request = Request::new(HealthCheckRequest { service: service.to_owned() });
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::new();
    match client.unary(request, path, codec).await {
        Ok(response) => verdict(response.into_inner().status()),
        Err(status) => Outcome::Failure(refusal(&status)),
    }
}

fn verdict(status: ServingStatus) -> Outcome {
    let name = match status {
        ServingStatus::Serving => return Outcome::Success,
        ServingStatus::Unknown => "UNKNOWN",
        ServingStatus::NotServing => "NOT_SERVING",
        ServingStatus::ServiceUnknown => "SERVICE_UNKNOWN",
    };
    Outcome::Failure(format!("service unhealthy (responded with {name:?})"))
}

fn refusal(status: &Status) -> String {
    match status.code() {
        Code::Unimplemented => format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
            status.message()
        ),
        code => {
            format!("error: health rpc probe failed: rpc error: code = {code:?} desc = {}", status.message())
        }
    }
}
