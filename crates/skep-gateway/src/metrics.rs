//! Figures of a gateway, read at the moment they are asked for.
//!
//! Labels are bounded: tenants are those that exist now (their series go when they do), reasons and directions are closed
//! sets. Names that clients send are never labels.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::directory::Tenant;
use crate::node_tunnel::{DialResult, TenantTunnel};
use crate::rejection::Rejection;
use crate::shared::Shared;

/// Figures of one gateway.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Shared>);

/// Figures of the gateway that runs now, for a process that starts another one when it fails: registered once.
#[derive(Clone, Debug, Default)]
pub struct CurrentMetrics(Arc<ArcSwapOption<Shared>>);

/// A figure at this moment.
enum Value {
    /// Only grows.
    Count(u64),
    /// Goes up and down.
    Level(usize),
}

/// A figure of the gateway: name, help, value.
type Figure = (&'static str, &'static str, fn(&Shared) -> Value);
/// A figure of each tenant: name, help, value.
type TenantFigure = (&'static str, &'static str, fn(&Tenant) -> Value);

const FIGURES: [Figure; 6] = [
    ("gateway_accepted", "Connections accepted", |s| count(&s.accepted)),
    ("gateway_accept_errors", "Connections that could not be accepted", |s| count(&s.accept_errors)),
    ("gateway_open_connections", "Connections that are open", |s| Value::Level(s.open.used())),
    ("gateway_handshakes", "Connections without a complete ClientHello", |s| {
        Value::Level(s.handshakes.used())
    }),
    ("gateway_held_connections", "Connections that wait for an API server", |s| Value::Level(s.held.used())),
    ("gateway_tenants", "Hosts that are served", |s| Value::Level(s.directory.len())),
];

const TENANT_FIGURES: [TenantFigure; 5] = [
    ("gateway_tenant_connections", "Connections of the tenant", |t| count(&t.stats().accepted)),
    ("gateway_tenant_open_connections", "Open connections of the tenant", |t| Value::Level(t.open().used())),
    ("gateway_tenant_held_connections", "Connections that wait for an API server of the tenant", |t| {
        Value::Level(t.held().used())
    }),
    ("gateway_tenant_ready_api_servers", "API servers of the tenant that get new connections", |t| {
        Value::Level(t.ready().len())
    }),
    ("gateway_tenant_dial_failures", "Connections that an API server of the tenant refused", |t| {
        count(&t.stats().dial_failures)
    }),
];

/// A figure of the tunnels of each tenant that has some: name, help, value.
type TunnelFigure = (&'static str, &'static str, fn(&TenantTunnel) -> Value);

const TUNNEL_FIGURES: [TunnelFigure; 2] = [
    ("gateway_tunnel_agents", "Nodes of the tenant that are connected", |t| Value::Level(t.agents())),
    (
        "gateway_tunnel_open_connections",
        "Open connections from API servers of the tenant to its nodes",
        |t| Value::Level(t.open()),
    ),
];

fn count(counter: &AtomicU64) -> Value {
    Value::Count(counter.load(Ordering::Relaxed))
}

impl Metrics {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Adds these figures to what is served.
    pub fn register(self, registry: &mut Registry) {
        registry.register_collector(Box::new(self));
    }

    /// Connections that are open.
    pub fn open_connections(&self) -> usize {
        self.0.open.used()
    }

    /// Connections that wait for an API server.
    pub fn held_connections(&self) -> usize {
        self.0.held.used()
    }

    /// Nodes that are connected, of all tenants.
    pub fn tunnel_agents(&self) -> usize {
        self.tunnels(TenantTunnel::agents)
    }

    /// Connections from API servers to nodes that are open, of all tenants.
    pub fn tunnel_connections(&self) -> usize {
        self.tunnels(TenantTunnel::open)
    }

    fn tunnels(&self, figure: impl Fn(&TenantTunnel) -> usize) -> usize {
        let tenants = self.0.directory.tenants();
        tenants.iter().filter_map(|tenant| tenant.tunnel()).map(|tunnel| figure(tunnel)).sum()
    }

    /// Connections that were closed for this reason.
    pub fn rejected(&self, reason: Rejection) -> u64 {
        self.0.rejected(reason)
    }
}

impl CurrentMetrics {
    /// Adds the figures of whichever gateway runs to what is served.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }

    /// From now on the figures are these.
    pub fn set(&self, metrics: &Metrics) {
        self.0.store(Some(metrics.0.clone()));
    }
}

impl Collector for CurrentMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.load_full().map_or(Ok(()), |shared| Metrics(shared).encode(encoder))
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in FIGURES {
            let value = value(&self.0);
            value.encode(encoder.encode_descriptor(name, help, None, value.kind())?)?;
        }
        let reasons = Rejection::ALL.map(|reason| ([("reason", reason.label())], self.0.rejected(reason)));
        let help = "Connections closed before they reached an API server";
        family(&mut encoder, "gateway_rejected", help, reasons)?;

        let tenants = self.0.directory.tenants();
        for (name, help, value) in TENANT_FIGURES {
            let series = tenants.iter().map(|tenant| ([("tenant", tenant.id())], value(tenant)));
            value_family(&mut encoder, name, help, series)?;
        }
        let bytes = tenants.iter().flat_map(|tenant| {
            let direction = |direction, counter: &AtomicU64| {
                ([("tenant", tenant.id()), ("direction", direction)], counter.load(Ordering::Relaxed))
            };
            let stats = tenant.stats();
            [direction("from_client", &stats.from_client), direction("to_client", &stats.to_client)]
        });
        family(&mut encoder, "gateway_tenant_bytes", "Bytes moved for the tenant", bytes)?;
        let rejected = tenants.iter().flat_map(|tenant| {
            let of = |reason: Rejection| {
                ([("tenant", tenant.id()), ("reason", reason.label())], tenant.stats().rejected(reason))
            };
            Rejection::ALL.into_iter().map(of).filter(|(_, count)| *count > 0)
        });
        let help = "Connections of the tenant closed before they reached an API server";
        family(&mut encoder, "gateway_tenant_rejected", help, rejected)?;
        encode_tunnels(&mut encoder, &tenants)
    }
}

/// Figures of the tunnels; nothing of tenants that have none.
fn encode_tunnels(encoder: &mut DescriptorEncoder<'_>, tenants: &[Arc<Tenant>]) -> fmt::Result {
    let tunnels = || tenants.iter().filter_map(|tenant| Some((tenant.id(), tenant.tunnel()?)));
    for (name, help, value) in TUNNEL_FIGURES {
        let series = tunnels().map(|(id, tunnel)| ([("tenant", id)], value(tunnel)));
        value_family(encoder, name, help, series)?;
    }
    let bytes = tunnels().flat_map(|(id, tunnel)| {
        let (to, from) = tunnel.stats().bytes();
        [("to_nodes", to), ("from_nodes", from)]
            .map(|(direction, count)| ([("tenant", id), ("direction", direction)], count))
    });
    family(
        encoder,
        "gateway_tunnel_bytes",
        "Bytes moved between API servers and nodes of the tenant",
        bytes,
    )?;
    let dials = tunnels().flat_map(|(id, tunnel)| {
        let of = move |result: DialResult| {
            ([("tenant", id), ("result", result.label())], tunnel.stats().results(result))
        };
        DialResult::ALL.into_iter().map(of).filter(|(_, count)| *count > 0)
    });
    let help = "Connections that API servers of the tenant asked for, by what became of them";
    family(encoder, "gateway_tunnel_dials", help, dials)
}

impl Value {
    fn kind(&self) -> MetricType {
        match self {
            Self::Count(_) => MetricType::Counter,
            Self::Level(_) => MetricType::Gauge,
        }
    }

    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => ConstCounter::new(*count).encode(encoder),
            Self::Level(level) => ConstGauge::new(i64::try_from(*level).unwrap_or(i64::MAX)).encode(encoder),
        }
    }
}

/// One family of counters.
fn family<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    value_family(encoder, name, help, series.into_iter().map(|(labels, count)| (labels, Value::Count(count))))
}

/// One family; nothing at all without a series.
fn value_family<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = (L, Value)>,
) -> fmt::Result {
    let mut series = series.into_iter().peekable();
    let Some(kind) = series.peek().map(|(_, value)| value.kind()) else { return Ok(()) };
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    series.try_for_each(|(labels, value)| value.encode(metric.encode_family(&labels)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::routes::{ControlPlaneFact, Key};

    #[test]
    fn a_gateway_that_is_started_again_is_shown_once() {
        let (current, mut registry) = (CurrentMetrics::default(), Registry::default());
        current.register(&mut registry);
        let text = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        assert_eq!(text(), "# EOF\n");
        for accepted in [3, 5] {
            let shared = Arc::new(Shared::new(Config::default()));
            shared.accepted.store(accepted, Ordering::Relaxed);
            current.set(&Metrics::new(shared));
            assert_eq!(text().matches("\ngateway_accepted_total").count(), 1, "{}", text());
            assert!(text().contains(&format!("\ngateway_accepted_total {accepted}\n")), "{}", text());
        }
    }

    #[test]
    fn figures_of_tenants_come_and_go_with_them() {
        let shared = Arc::new(Shared::new(Config::default()));
        let mut registry = Registry::default();
        Metrics::new(shared.clone()).register(&mut registry);
        let text = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        assert!(text().contains("\ngateway_open_connections 0\n"), "{}", text());
        assert!(text().contains("gateway_rejected_total{reason=\"unknown_server_name\"} 0"));
        assert!(!text().contains("gateway_tenant_"));
        let fact = ControlPlaneFact {
            key: Key::new("a", "a"),
            created: 0,
            tenant: "a".into(),
            host: "a.skep.internal".into(),
        };
        shared.directory.update(|t| t.apply_control_plane(fact));
        let tenant = shared.directory.tenants().remove(0);
        tenant.stats().count_rejected(Rejection::HoldTimeout);
        tenant.stats().to_client.fetch_add(7, Ordering::Relaxed);
        assert!(text().contains("gateway_tenant_bytes_total{tenant=\"a\",direction=\"to_client\"} 7"));
        assert!(text().contains("gateway_tenant_rejected_total{tenant=\"a\",reason=\"hold_timeout\"} 1"));
        assert_eq!(text().matches("tenant=\"a\"").count(), 8, "{}", text());
        shared.directory.update(|t| t.delete_control_plane(&Key::new("a", "a")));
        assert!(!text().contains("tenant=\"a\""));
    }
}
