//! The `Node` of a hollow node. Pure. Whoever looks at it sees that it is hollow: label, condition, address, versions.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec as ApiSpec, NodeStatus,
    NodeSystemInfo, Taint as ApiTaint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{Deserialize, Serialize};

use super::config::Config;
use super::dice::{chance, draw, key, sample, share};
use super::life::Millis;
use crate::config::KUBELET_PORT;
use crate::node::object::{Capacity, VIRTUAL_NODE, conditions};
use crate::node::pressure::Pressures;

/// Label of every hollow node (`true`). With the value `dark` the node is not heard of until it has another one. On pods it
/// orders a fate: `fail-start`, `unready`, `exit-N`.
pub const HOLLOW: &str = "skep.dev/hollow";
/// Value of [`HOLLOW`] of a node that is told to go dark.
pub const DARK: &str = "dark";
/// Type of the condition that says what it is.
const CONDITION: &str = "SkepHollow";
const HOUR: Millis = 3_600_000;

/// Kinds of draws; numbers are never reused.
mod what {
    pub const BOOT: u8 = 1;
    pub const DARK: u8 = 2;
    pub const DARK_AT: u8 = 3;
    pub const DARK_FOR: u8 = 4;
    pub const SPREAD: u8 = 5;
}

/// A hollow node that should be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// `spec.providerID`: by this it knows its own object from somebody else's.
    pub provider_id: String,
    /// Version of Kubernetes that it shows, like `v1.36.3`.
    pub version: String,
    /// More labels.
    pub labels: BTreeMap<String, String>,
    /// Taints that it registers with.
    pub taints: Vec<Taint>,
    /// What it offers.
    pub capacity: Capacity,
    /// Counts restarts: another number is a machine that was switched off and on.
    pub boot: u64,
}

/// A taint.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value; may be empty.
    pub value: String,
    /// What it does, as the API writes it.
    pub effect: String,
}

/// All labels.
pub fn labels(spec: &NodeSpec) -> BTreeMap<String, String> {
    let own = [
        ("kubernetes.io/hostname", spec.name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
        ("topology.kubernetes.io/zone", spec.zone.as_str()),
        (VIRTUAL_NODE, "hollow"),
        (HOLLOW, "true"),
    ];
    let own = own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    spec.labels.clone().into_iter().chain(own).collect()
}

/// The object to create, complete as a kubelet's first one.
pub fn object(spec: &NodeSpec, now: Timestamp) -> Node {
    let taint = |taint: &Taint| ApiTaint {
        key: taint.key.clone(),
        value: (!taint.value.is_empty()).then(|| taint.value.clone()),
        effect: taint.effect.clone(),
        time_added: None,
    };
    let taints: Vec<_> = spec.taints.iter().map(taint).collect();
    Node {
        metadata: ObjectMeta {
            name: Some(spec.name.clone()),
            labels: Some(labels(spec)),
            ..ObjectMeta::default()
        },
        spec: Some(ApiSpec {
            provider_id: Some(spec.provider_id.clone()),
            taints: (!taints.is_empty()).then_some(taints),
            ..ApiSpec::default()
        }),
        status: Some(status(spec, now, now)),
    }
}

/// The status of a node that has been well since `ready`.
pub fn status(spec: &NodeSpec, ready: Timestamp, now: Timestamp) -> NodeStatus {
    let mut conditions = conditions(Pressures::default(), &Vec::new(), &[], now);
    conditions.push(NodeCondition {
        type_: CONDITION.to_owned(),
        status: "True".to_owned(),
        reason: Some("ExistsInTheApiOnly".to_owned()),
        message: Some("there is no machine behind this node: its pods are played, not run".to_owned()),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: None,
    });
    for condition in &mut conditions {
        condition.last_transition_time = Some(Time(ready));
    }
    let id = format!("{:016x}", key(0, &["machine", &spec.provider_id]));
    NodeStatus {
        // What kubectl shows when somebody asks for logs or a shell: the API server looks for an address, finds this one
        // and says that it does not lead anywhere.
        addresses: Some(vec![NodeAddress { type_: "Hostname".to_owned(), address: address(&spec.name) }]),
        capacity: Some(spec.capacity.list()),
        allocatable: Some(spec.capacity.list()),
        conditions: Some(conditions),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(KUBELET_PORT) }),
        }),
        node_info: Some(NodeSystemInfo {
            architecture: "amd64".to_owned(),
            boot_id: format!("{id}-{}", spec.boot),
            container_runtime_version: format!("hollow://{}", env!("CARGO_PKG_VERSION")),
            kernel_version: "hollow".to_owned(),
            kubelet_version: format!("{}+hollow", spec.version),
            machine_id: id.clone(),
            operating_system: "linux".to_owned(),
            os_image: "hollow".to_owned(),
            system_uuid: id,
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

/// The name under which an API server tries to reach the node. `.invalid` (RFC 2606) leads nowhere for ever, and whoever
/// asked reads why.
fn address(name: &str) -> String {
    format!("{name}.hollow-node-has-no-logs-and-no-exec.invalid")
}

/// How long the machine takes to boot.
pub fn boots(config: &Config, spec: &NodeSpec) -> Millis {
    sample(config.timings.boot, draw(dice(config, &spec.name), what::BOOT, 0, spec.boot))
}

/// Pause of the beat with this number: spread, so that thousands do not come together.
pub fn pause(config: &Config, name: &str, beat: u64) -> Millis {
    let every = config.timings.lease_every_ms as f64;
    let drawn = share(draw(dice(config, name), what::SPREAD, 0, beat));
    (every * (0.9 + 0.2 * drawn)) as Millis
}

/// Until when the node is dark by the configuration's chance, if it is at `now`.
pub fn dark_until(config: &Config, name: &str, now: Millis) -> Option<Millis> {
    let dark = &config.failures.dark;
    if dark.per_mille_an_hour == 0 {
        return None;
    }
    let dice = dice(config, name);
    let back = i64::try_from(dark.lasts.p95_ms).unwrap_or(i64::MAX) / HOUR + 1;
    let hour = now.div_euclid(HOUR);
    let window = |hour: i64| {
        let number = u64::try_from(hour).unwrap_or_default();
        if !chance(draw(dice, what::DARK, 0, number), dark.per_mille_an_hour) {
            return None;
        }
        let at = (share(draw(dice, what::DARK_AT, 0, number)) * HOUR as f64) as Millis;
        let begins = hour.saturating_mul(HOUR).saturating_add(at);
        let ends = begins.saturating_add(sample(dark.lasts, draw(dice, what::DARK_FOR, 0, number)));
        (begins <= now && now < ends).then_some(ends)
    };
    (hour - back.min(168)..=hour).filter_map(window).max()
}

fn dice(config: &Config, name: &str) -> u64 {
    key(config.seed, &["node", name])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hollow::config::{Dark, Failures, Spread};

    fn spec(name: &str) -> NodeSpec {
        NodeSpec {
            name: name.into(),
            zone: "a".into(),
            provider_id: format!("skep-hollow://{name}"),
            version: "v1.36.3".into(),
            labels: BTreeMap::from([(HOLLOW.into(), "no".into()), ("a".into(), "b".into())]),
            taints: Vec::new(),
            capacity: Capacity { cpu_milli: 2000, memory: 4 << 30, ephemeral_storage: 8 << 30, pods: 110 },
            boot: 0,
        }
    }

    #[test]
    fn everybody_sees_that_it_is_hollow() {
        let node = object(&spec("h-1"), Timestamp::UNIX_EPOCH);
        assert_eq!(node.metadata.labels.unwrap()[HOLLOW], "true");
        assert_eq!(node.metadata.annotations, None);
        assert!(node.spec.unwrap().taints.is_none());
        let status = node.status.unwrap();
        assert!(status.addresses.unwrap()[0].address.contains("hollow"));
        let info = status.node_info.unwrap();
        assert_eq!((info.os_image.as_str(), info.kubelet_version.as_str()), ("hollow", "v1.36.3+hollow"));
        assert!(status.conditions.unwrap().iter().any(|condition| condition.type_ == CONDITION));
    }

    #[test]
    fn as_many_nodes_go_dark_as_told_and_come_back() {
        let dark = Dark { per_mille_an_hour: 100, lasts: Spread::fixed(600_000) };
        let config = Config { failures: Failures { dark, ..Failures::default() }, ..Config::default() };
        let day = 480_000 * HOUR;
        let dark_at =
            |now: Millis| (0..1000).filter(|n| dark_until(&config, &format!("h-{n}"), now).is_some()).count();
        // 100 of 1,000 in an hour for a sixth of one.
        let seen: usize = (0..60).map(|minute| dark_at(day + minute * 60_000)).sum();
        let mean = seen / 60;
        assert!((8..=28).contains(&mean), "{mean}");
        let name = (0..1000)
            .map(|n| format!("h-{n}"))
            .find(|name| dark_until(&config, name, day).is_some())
            .unwrap();
        let until = dark_until(&config, &name, day).unwrap();
        assert!(until > day && until <= day + 600_000);
        assert_eq!(dark_until(&Config::default(), &name, day), None);
    }

    #[test]
    fn beats_are_spread_around_the_pause() {
        let config = Config::default();
        let pauses: std::collections::BTreeSet<_> =
            (0..100).map(|beat| pause(&config, "h-1", beat)).collect();
        assert!(pauses.len() > 90);
        assert!(pauses.iter().all(|pause| (18_000..=22_000).contains(pause)), "{pauses:?}");
    }
}
