//! The tunnels of one tenant: its agents, its bounds, its counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use super::agents::Agents;
use super::identity::Identity;
use super::keeper::Place;
use crate::config;
use crate::limits::Gate;

/// What became of a connection that an API server asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DialResult {
    /// It was made.
    Connected,
    /// No agent of the tenant is connected.
    NoAgent,
    /// Agents are connected, and none of those that were asked answered.
    AgentFailed,
    /// The target refused.
    Refused,
    /// The target did not answer, or there is no way to it.
    Unreachable,
    /// The target may not be reached through a node.
    Forbidden,
    /// What was asked for is no `CONNECT` with a host and a port.
    Malformed,
    /// The tenant has as many connections as it may.
    Limit,
}

impl DialResult {
    /// All of them, in the order of their index.
    pub const ALL: [Self; 8] = [
        Self::Connected,
        Self::NoAgent,
        Self::AgentFailed,
        Self::Refused,
        Self::Unreachable,
        Self::Forbidden,
        Self::Malformed,
        Self::Limit,
    ];

    /// Value of the metric label `result`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::NoAgent => "no_agent",
            Self::AgentFailed => "agent_failed",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Forbidden => "forbidden",
            Self::Malformed => "malformed",
            Self::Limit => "limit",
        }
    }
}

/// Counts since the tenant's first tunnel.
#[derive(Debug, Default)]
pub struct TunnelStats {
    results: [AtomicU64; DialResult::ALL.len()],
    pub(super) to_nodes: AtomicU64,
    pub(super) from_nodes: AtomicU64,
}

impl TunnelStats {
    /// Connections that ended like this.
    pub fn results(&self, result: DialResult) -> u64 {
        self.results.get(result as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Bytes from API servers to nodes and back.
    pub fn bytes(&self) -> (u64, u64) {
        (self.to_nodes.load(Ordering::Relaxed), self.from_nodes.load(Ordering::Relaxed))
    }

    pub(super) fn count(&self, result: DialResult) {
        if let Some(count) = self.results.get(result as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The tunnels of one tenant.
#[derive(Debug)]
pub(crate) struct TenantTunnel {
    pub(super) identity: Place<Identity>,
    pub(super) agents: Agents,
    pub(super) handshakes: Arc<Gate>,
    /// Places of agents.
    pub(super) places: Arc<Gate>,
    /// Connections from API servers.
    pub(super) connections: Arc<Gate>,
    pub(super) stats: TunnelStats,
    closed: CancellationToken,
}

impl TenantTunnel {
    pub(crate) fn new(bounds: &config::Tunnel) -> Self {
        Self {
            identity: Place::default(),
            agents: Agents::default(),
            handshakes: Gate::new(bounds.handshakes_per_tenant),
            places: Gate::new(bounds.agents_per_tenant),
            connections: Gate::new(bounds.connections_per_tenant),
            stats: TunnelStats::default(),
            closed: CancellationToken::new(),
        }
    }

    /// The tenant is gone: its agents and connections are closed.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    /// Cancelled when the tenant is gone.
    pub(super) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// Agents that are connected.
    pub(crate) fn agents(&self) -> usize {
        self.agents.len()
    }

    /// Connections from API servers that are open.
    pub(crate) fn open(&self) -> usize {
        self.connections.used()
    }

    /// Counts.
    pub(crate) fn stats(&self) -> &TunnelStats {
        &self.stats
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_result_has_its_place_and_its_own_label() {
        let stats = TunnelStats::default();
        for (index, result) in DialResult::ALL.into_iter().enumerate() {
            assert_eq!(result as usize, index);
            stats.count(result);
            assert_eq!(stats.results(result), 1);
        }
        let labels: BTreeSet<_> = DialResult::ALL.iter().map(|result| result.label()).collect();
        assert_eq!(labels.len(), DialResult::ALL.len());
    }
}
