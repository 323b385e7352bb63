//! Settings of a gateway. Every bound has a default that is safe on a small machine; nothing here is a secret.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

pub use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::error::GatewayError;

mod tunnel;

pub use tunnel::Tunnel;

/// Port of kube-apiserver in its pod when the pod names none.
const BACKEND_PORT: u16 = 6443;

/// Most further addresses.
const MAX_ALSO: usize = 16;

/// Everything a gateway can be told. As a file: camelCase, durations like `5s` or `1m 30s`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Address and port for clients. Default: port 6443 of loopback only.
    pub listen: SocketAddr,
    /// Further addresses. The machine need not have them yet: who connects once it does is served.
    pub also: Vec<SocketAddr>,
    /// Threads that move bytes; 0 means one per core, at most four. Each needs about 0.3 MiB.
    pub workers: usize,
    /// Port of API servers whose pod names no container port `https`.
    pub backend_port: u16,
    /// How many of what.
    pub limits: Limits,
    /// How long for what.
    pub timeouts: Timeouts,
    /// PROXY protocol, version 2.
    pub proxy: ProxyProtocol,
    /// The way from API servers to nodes.
    pub tunnel: Tunnel,
}

/// Bounds in number and size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Open connections. Lowered at start to what the limit of open files allows (two files per connection), and
    /// `connectionsPerTenant` to half of that.
    pub connections: usize,
    /// Open connections of one tenant.
    pub connections_per_tenant: usize,
    /// Connections that have not finished their ClientHello.
    pub handshakes: usize,
    /// Connections that wait for an API server.
    pub held: usize,
    /// The same of one tenant.
    pub held_per_tenant: usize,
    /// Bytes before a ClientHello is complete, record headers included.
    pub hello_bytes: usize,
    /// API servers that are tried for one connection before it is held or closed.
    pub tries: u32,
    /// New connections per second of one source address (IPv6: of one /64); 0 means no limit. The source is who connects,
    /// not who a PROXY header names: leave it at 0 behind a load balancer.
    pub per_source: u32,
    /// Connections that one source may open at once before `perSource` counts.
    pub per_source_burst: u32,
}

/// Bounds in time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timeouts {
    /// From accepting a connection to its complete ClientHello.
    #[serde(with = "duration")]
    pub handshake: Duration,
    /// How long a connection waits for an API server to become ready.
    #[serde(with = "duration")]
    pub hold: Duration,
    /// For an API server to accept a connection.
    #[serde(with = "duration")]
    pub dial: Duration,
    /// How long connections to an API server go on after its pod is gone.
    #[serde(with = "duration")]
    pub drain: Duration,
    /// How long connections go on after the gateway was told to stop.
    #[serde(with = "duration")]
    pub shutdown: Duration,
    /// How long a connection stays without traffic after one side has closed its half.
    #[serde(with = "duration")]
    pub half_closed: Duration,
    /// Idle time before TCP asks whether the other side is still there; asked four times at a third of it.
    #[serde(with = "duration")]
    pub keepalive: Duration,
}

/// PROXY protocol, version 2, in both directions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProxyProtocol {
    /// Whether load balancers send a header.
    pub accept: ProxyAccept,
    /// Sources whose header is believed. A header from anywhere else is believed about the tenant it names (authority) and
    /// about nothing else, whatever `accept` is: node agents send one for pods, whose server name is
    /// `kubernetes.default.svc`. Who names a tenant gets no further than with a server name.
    pub trusted: Vec<IpNet>,
    /// Whether API servers get a header, with the server name as authority.
    pub send: bool,
}

/// Whether load balancers send a PROXY header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProxyAccept {
    /// Nobody does.
    #[default]
    Off,
    /// Trusted sources may.
    Optional,
    /// Every connection starts with one; so only trusted sources can connect.
    Required,
}

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, BACKEND_PORT)),
            also: Vec::new(),
            workers: 0,
            backend_port: BACKEND_PORT,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            proxy: ProxyProtocol::default(),
            tunnel: Tunnel::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 50_000,
            connections_per_tenant: 5_000,
            handshakes: 4_096,
            held: 4_096,
            held_per_tenant: 256,
            hello_bytes: 17 * 1024,
            tries: 3,
            per_source: 0,
            per_source_burst: 100,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            hold: Duration::from_secs(60),
            dial: Duration::from_secs(3),
            drain: Duration::from_secs(30),
            shutdown: Duration::from_secs(30),
            half_closed: Duration::from_secs(60),
            keepalive: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// Settings for an address, everything else default.
    pub fn on(listen: SocketAddr) -> Self {
        Self { listen, ..Self::default() }
    }

    /// Threads to start.
    pub(crate) fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get().min(4)),
            n => n,
        }
    }

    /// Refuses settings that cannot work, naming the field.
    pub(crate) fn validate(&self) -> Result<(), GatewayError> {
        let (limits, timeouts) = (&self.limits, &self.timeouts);
        let positive = [
            ("limits.connections", limits.connections),
            ("limits.connectionsPerTenant", limits.connections_per_tenant),
            ("limits.handshakes", limits.handshakes),
        ];
        let refuse = |field: &'static str, why: String| Err(GatewayError::Config { field, why });
        for (field, value) in positive {
            if value == 0 {
                return refuse(field, "is 0: nobody could connect".into());
            }
        }
        if !(512..=64 * 1024).contains(&limits.hello_bytes) {
            return refuse(
                "limits.helloBytes",
                format!("is {}: allowed are 512 to 65536", limits.hello_bytes),
            );
        }
        if !(1..=16).contains(&limits.tries) {
            return refuse("limits.tries", format!("is {}: allowed are 1 to 16", limits.tries));
        }
        if limits.per_source > 0 && limits.per_source_burst == 0 {
            return refuse("limits.perSourceBurst", "is 0: with perSource set nobody could connect".into());
        }
        if self.also.len() > MAX_ALSO {
            return refuse("also", format!("has {} addresses: allowed are {MAX_ALSO}", self.also.len()));
        }
        if self.workers > 256 {
            return refuse("workers", format!("is {}: allowed are 0 to 256", self.workers));
        }
        for (field, value) in [
            ("timeouts.handshake", timeouts.handshake),
            ("timeouts.dial", timeouts.dial),
            ("timeouts.keepalive", timeouts.keepalive),
        ] {
            if value < Duration::from_millis(1) || value > Duration::from_secs(3600) {
                return refuse(field, format!("is {value:?}: allowed are 1ms to 1h"));
            }
        }
        for (field, value) in [
            ("timeouts.hold", timeouts.hold),
            ("timeouts.drain", timeouts.drain),
            ("timeouts.shutdown", timeouts.shutdown),
            ("timeouts.halfClosed", timeouts.half_closed),
        ] {
            if value > Duration::from_secs(24 * 3600) {
                return refuse(field, format!("is {value:?}: allowed are 0s to 24h"));
            }
        }
        self.tunnel.validate()?;
        if self.proxy.accept != ProxyAccept::Off && self.proxy.trusted.is_empty() {
            return refuse(
                "proxy.trusted",
                "is empty: PROXY headers are only believed from listed sources".into(),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
