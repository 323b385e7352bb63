//! Settings of the tunnel between API servers and nodes.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use skep_agent::tunnel::wire::MAX_GATEWAYS;

use super::duration;
use crate::error::GatewayError;

/// Bounds of the tunnel. It needs nothing else: whom it serves follows from the tenants' Secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tunnel {
    /// How many gateways stand behind the address that nodes dial. An agent connects to each of them, because an API
    /// server's connection may come to any.
    pub gateways: usize,
    /// Agents of one tenant.
    pub agents_per_tenant: usize,
    /// Connections from API servers of one tenant. Each holds at most 256 KiB for who reads slowly.
    pub connections_per_tenant: usize,
    /// TLS handshakes at a time.
    pub handshakes: usize,
    /// The same of one tenant.
    pub handshakes_per_tenant: usize,
    /// For all agents that are asked for one connection together.
    #[serde(with = "duration")]
    pub dial: Duration,
    /// How long after its start a gateway lets connections to nodes wait for the first agent of their tenant: API servers
    /// find a new gateway sooner than agents do.
    #[serde(with = "duration")]
    pub settle: Duration,
    /// Between two questions whether an agent is still there; it has half of that to answer.
    #[serde(with = "duration")]
    pub keepalive: Duration,
    /// How long a tenant's Secret is believed before it is read again. Authorities overlap by months.
    #[serde(with = "duration")]
    pub reload: Duration,
}

impl Default for Tunnel {
    fn default() -> Self {
        Self {
            gateways: 1,
            agents_per_tenant: 5_000,
            connections_per_tenant: 256,
            handshakes: 256,
            handshakes_per_tenant: 64,
            dial: Duration::from_secs(20),
            settle: Duration::from_secs(10),
            keepalive: Duration::from_secs(30),
            reload: Duration::from_secs(120),
        }
    }
}

impl Tunnel {
    /// Refuses settings that cannot work, naming the field.
    pub(super) fn validate(&self) -> Result<(), GatewayError> {
        let refuse = |field: &'static str, why: String| Err(GatewayError::Config { field, why });
        if !(1..=MAX_GATEWAYS).contains(&self.gateways) {
            return refuse(
                "tunnel.gateways",
                format!("is {}: allowed are 1 to {MAX_GATEWAYS}", self.gateways),
            );
        }
        for (field, value) in [
            ("tunnel.agentsPerTenant", self.agents_per_tenant),
            ("tunnel.connectionsPerTenant", self.connections_per_tenant),
            ("tunnel.handshakes", self.handshakes),
            ("tunnel.handshakesPerTenant", self.handshakes_per_tenant),
        ] {
            if value == 0 {
                return refuse(field, "is 0: no node could be reached".into());
            }
        }
        for (field, value) in
            [("tunnel.dial", self.dial), ("tunnel.keepalive", self.keepalive), ("tunnel.reload", self.reload)]
        {
            if value < Duration::from_millis(1) || value > Duration::from_secs(3600) {
                return refuse(field, format!("is {value:?}: allowed are 1ms to 1h"));
            }
        }
        if self.settle > Duration::from_secs(3600) {
            return refuse("tunnel.settle", format!("is {:?}: allowed are 0s to 1h", self.settle));
        }
        Ok(())
    }
}
