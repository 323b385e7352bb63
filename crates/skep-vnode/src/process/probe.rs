//! Asking a container whether it is well: http(s), tcp, grpc, or a command beside it.
//!
//! One try is a [`Check`] with a deadline; when tries are made and how many of them count is [`pace`]'s. The same
//! checks serve as lifecycle hooks. Nothing is kept open between tries, so a check sees what a new client would see;
//! TLS sessions are resumed, so it is cheap nevertheless.

mod grpc;
mod http;
pub(super) mod pace;
mod tls;

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Container, ExecAction, GRPCAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use super::beside::Beside;
use super::expand::expand;

/// What a try told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All is well.
    Success,
    /// It is not; the message says how one can tell.
    Failure(String),
    /// The try could not be made; it counts for nothing.
    Error(String),
}

/// Something that can be tried.
#[derive(Clone, Debug)]
pub(super) enum Check {
    /// GET and a status below 400.
    Http(http::Get),
    /// A connection can be made.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// `grpc.health.v1.Health/Check` says `SERVING`.
    Grpc {
        /// Address.
        host: IpAddr,
        /// Port.
        port: u16,
        /// Which service; empty for the server as a whole.
        service: String,
    },
    /// The command ends with 0.
    Exec(Vec<String>),
    /// Time goes by.
    Sleep(Duration),
}

impl Check {
    /// The check of a probe. Ports may be names of the container's ports.
    pub(super) fn of_probe(probe: &Probe, container: &Container, pod_ip: IpAddr) -> Result<Self, String> {
        let known = (probe.exec.as_ref(), probe.http_get.as_ref(), probe.tcp_socket.as_ref());
        match (Self::of(known.0, known.1, known.2, container, pod_ip)?, &probe.grpc) {
            (Some(check), _) => Ok(check),
            (None, Some(grpc)) => Self::of_grpc(grpc, pod_ip),
            (None, None) => Err(format!("missing probe handler for {}", container.name)),
        }
    }

    /// The check of a lifecycle hook.
    pub(super) fn of_hook(
        hook: &LifecycleHandler,
        container: &Container,
        pod_ip: IpAddr,
    ) -> Result<Self, String> {
        if let Some(sleep) = &hook.sleep {
            return Ok(Self::Sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or_default())));
        }
        Self::of(hook.exec.as_ref(), hook.http_get.as_ref(), hook.tcp_socket.as_ref(), container, pod_ip)?
            .ok_or_else(|| format!("invalid handler of container {}", container.name))
    }

    fn of(
        exec: Option<&ExecAction>,
        http_get: Option<&HTTPGetAction>,
        tcp: Option<&TCPSocketAction>,
        container: &Container,
        pod_ip: IpAddr,
    ) -> Result<Option<Self>, String> {
        let host = |given: Option<&String>| {
            given.filter(|h| !h.is_empty()).cloned().unwrap_or_else(|| pod_ip.to_string())
        };
        if let Some(exec) = exec {
            // Only values that are written in the pod itself are known here, as with the kubelet.
            let literal = |name: &str| {
                let variable = container.env.iter().flatten().find(|v| v.name == name)?;
                variable.value.as_deref()
            };
            let words = exec.command.iter().flatten().map(|word| expand(word, literal));
            return Ok(Some(Self::Exec(words.collect())));
        }
        if let Some(get) = http_get {
            let port = port(&get.port, container)?;
            return http::Get::new(get, host(get.host.as_ref()), port).map(|get| Some(Self::Http(get)));
        }
        if let Some(tcp) = tcp {
            let port = port(&tcp.port, container)?;
            return Ok(Some(Self::Tcp { host: host(tcp.host.as_ref()), port }));
        }
        Ok(None)
    }

    fn of_grpc(grpc: &GRPCAction, host: IpAddr) -> Result<Self, String> {
        let port = u16::try_from(grpc.port).map_err(|_| format!("invalid port {}", grpc.port))?;
        Ok(Self::Grpc { host, port, service: grpc.service.clone().unwrap_or_default() })
    }

    /// Tries it once.
    pub(super) async fn try_once(&self, beside: &Beside, sessions: &Sessions, deadline: Duration) -> Outcome {
        match self {
            Self::Http(get) => within(deadline, get, get.run(sessions)).await,
            Self::Tcp { host, port } => match tokio::time::timeout(deadline, connect(host, *port)).await {
                Ok(Ok(_)) => Outcome::Success,
                Ok(Err(why)) => Outcome::Failure(why),
                Err(_) => Outcome::Failure(format!("dial tcp {host}:{port}: i/o timeout")),
            },
            Self::Grpc { host, port, service } => grpc::check(*host, *port, service, deadline).await,
            Self::Exec(words) => match beside.run(words, deadline).await {
                Ok(ran) if ran.timed_out => Outcome::Failure(format!(
                    "command timed out: {words:?} timed out after {}s",
                    deadline.as_secs()
                )),
                Ok(ran) if ran.exit.code() == 0 => Outcome::Success,
                Ok(ran) => Outcome::Failure(ran.output),
                Err(why) => Outcome::Error(why),
            },
            Self::Sleep(duration) => {
                tokio::time::sleep((*duration).min(deadline)).await;
                Outcome::Success
            }
        }
    }

    /// Whether a try starts a process, so that many tries in a row are not cheap.
    pub(super) fn is_costly(&self) -> bool {
        matches!(self, Self::Exec(_))
    }
}

/// TLS sessions of one probe, to be resumed at the next try.
#[derive(Debug, Default)]
pub(super) struct Sessions(tls::Client);

async fn within(deadline: Duration, get: &http::Get, work: impl Future<Output = Outcome>) -> Outcome {
    // Boxed: a prober sleeps nearly always, and should not hold the room for this meanwhile.
    match tokio::time::timeout(deadline, Box::pin(work)).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Failure(format!(
            "Get {:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
            get.url()
        )),
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let failed = |error: std::io::Error| {
        let text = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
            _ => error.to_string(),
        };
        format!("dial tcp {host}:{port}: {text}")
    };
    let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(text) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_deref() == Some(text));
            named.map(|p| p.container_port).or_else(|| text.parse().ok())
        }
    };
    number
        .and_then(|n| u16::try_from(n).ok())
        .filter(|n| *n > 0)
        .ok_or_else(|| format!("couldn't find port {port:?} of container {}", container.name))
}

#[cfg(test)]
mod tests;
