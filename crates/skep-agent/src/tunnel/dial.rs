//! Connections to targets, from where the agent is.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::target::{Host, Target};
use super::wire::Refusal;

/// A connection, or why there is none and in words.
pub type Outcome = Result<TcpStream, (Refusal, String)>;

/// Who connects to targets. A seam: tests put a target where they like.
pub trait Dial: Send + Sync + 'static {
    /// Connects; bounded in time.
    fn dial<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Outcome>;
}

/// Dials from the agent's own network namespace and resolves names as the node does.
///
/// What only the node itself should reach is refused, also when a name leads there: its loopback (the kubelet's health,
/// the container runtime), link-local addresses (a cloud's metadata), multicast. Upstream refuses the same for the `proxy`
/// subresources (`k8s.io/apimachinery/pkg/util/proxy` and `k8s.io/apiserver/pkg/util/proxy`), but not for webhooks.
#[derive(Clone, Copy, Debug)]
pub struct FromHere {
    /// For everything together: resolution and connecting.
    pub patience: Duration,
}

impl Default for FromHere {
    fn default() -> Self {
        Self { patience: Duration::from_secs(5) }
    }
}

impl Dial for FromHere {
    fn dial<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            match timeout(self.patience, connect(target)).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    Err((Refusal::Unreachable, format!("{target} did not answer in {:?}", self.patience)))
                }
            }
        })
    }
}

async fn connect(target: &Target) -> Outcome {
    let addresses = addresses(target).await?;
    let mut outcome = Err((Refusal::Unreachable, format!("{target} has no address")));
    for address in addresses {
        if !may_be_reached(address.ip()) {
            outcome = Err((Refusal::Forbidden, format!("{address} is only for the node itself")));
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Interactive: `exec` sends single letters.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => outcome = Err((refusal(&error), format!("{address}: {error}"))),
        }
    }
    outcome
}

async fn addresses(target: &Target) -> Result<Vec<SocketAddr>, (Refusal, String)> {
    match &target.host {
        Host::Address(address) => Ok(vec![SocketAddr::new(*address, target.port)]),
        Host::Name(name) => match lookup_host((name.as_str(), target.port)).await {
            Ok(found) => Ok(found.take(8).collect()),
            Err(error) => Err((Refusal::Unreachable, format!("{name}: {error}"))),
        },
    }
}

/// Whether the target itself said no, or nothing did.
fn refusal(error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Refusal::Refused,
        _ => Refusal::Unreachable,
    }
}

/// Whether others than the node itself may reach this address through it.
pub(super) fn may_be_reached(address: IpAddr) -> bool {
    // fe80::/10 and fec0::/10, the older kind of the same.
    let link_local = |ip: Ipv6Addr| matches!(ip.segments()[0] & 0xffc0, 0xfe80 | 0xfec0);
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            // 0.0.0.0/8 is "this host" to Linux.
            !(ip.is_loopback()
                || ip.octets()[0] == 0
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast())
        }
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || link_local(ip)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(target: &str) -> (Refusal, String) {
        FromHere::default().dial(&target.parse().unwrap()).await.unwrap_err()
    }

    #[test]
    fn what_only_the_node_itself_reaches() {
        for ip in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "169.254.169.254",
            "fe80::1",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "::ffff:127.0.0.1",
        ] {
            assert!(!may_be_reached(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["10.96.0.1", "198.18.0.1", "192.168.1.1", "8.8.8.8", "fd00::1", "2001:db8::1"] {
            assert!(may_be_reached(ip.parse().unwrap()), "{ip}");
        }
    }

    #[tokio::test]
    async fn loopback_is_forbidden_by_address_and_by_name() {
        for target in ["127.0.0.1:10248", "[::1]:1", "localhost:10248", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(refused(target).await.0, Refusal::Forbidden, "{target}");
        }
    }
}
