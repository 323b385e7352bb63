//! A stream to a target through one of the tenant's agents; another one is asked when the tunnel, not the target, is why it
//! failed.

use std::time::Duration;

use skep_agent::tunnel::Target;
use skep_agent::tunnel::relay::Stream;
use skep_agent::tunnel::wire::Refusal;
use tokio::time::{Instant, timeout_at};

use super::agent::Failed;
use super::tenant::{DialResult, TenantTunnel};
use crate::limits::Permit;

/// Agents that are asked for one connection. Each has an equal part of the time: by default more than the five seconds for
/// which it dials itself.
const TRIES: u32 = 3;
/// A stream, with its place at the agent.
pub(super) struct Dialled {
    pub(super) stream: Stream,
    pub(super) node: String,
    pub(super) _place: Permit,
}

/// Why there is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotDialled {
    pub(super) result: DialResult,
    /// For the API server's error message.
    pub(super) why: String,
}

/// Asks the tenant's agents. If there is none before the gateway has `settled`, one may be on its way.
pub(super) async fn dial(
    tunnel: &TenantTunnel,
    target: &Target,
    patience: Duration,
    settled: Instant,
) -> Result<Dialled, NotDialled> {
    let deadline = Instant::now() + patience;
    tunnel.agents.some(settled.min(deadline)).await;
    let mut last = NotDialled {
        result: DialResult::NoAgent,
        why: "no node of this cluster is connected to the gateway (SKEP-8081)".into(),
    };
    for agent in tunnel.agents.candidates(target.address(), TRIES as usize) {
        let node = &agent.node;
        let attempt = timeout_at(deadline.min(Instant::now() + patience / TRIES), agent.open(target)).await;
        last = match attempt {
            Ok(Ok((stream, place))) => {
                return Ok(Dialled { stream, node: node.clone(), _place: place });
            }
            Ok(Err(Failed::Refusal(refusal, why))) => {
                let why = format!("node {node}: {why} (SKEP-8082)");
                let result = match refusal {
                    Refusal::Forbidden => DialResult::Forbidden,
                    Refusal::Malformed => DialResult::Malformed,
                    Refusal::Refused => DialResult::Refused,
                    // Perhaps only this node does not get there.
                    Refusal::Unreachable | Refusal::Busy | Refusal::Known => DialResult::Unreachable,
                };
                let refused = NotDialled { result, why };
                if result != DialResult::Unreachable {
                    return Err(refused);
                }
                refused
            }
            Ok(Err(Failed::Tunnel(why))) => failed(node, &why),
            Err(_) => {
                agent.doubt();
                failed(node, "no answer in time")
            }
        };
        if Instant::now() >= deadline {
            break;
        }
    }
    Err(last)
}

fn failed(node: &str, why: &str) -> NotDialled {
    let why = format!("the tunnel of node {node} does not work: {why} (SKEP-8081)");
    NotDialled { result: DialResult::AgentFailed, why }
}
