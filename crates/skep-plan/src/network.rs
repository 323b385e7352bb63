//! Address ranges of a tenant cluster.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use skep_api::resources::ClusterNetwork;

use crate::refusal::both;
use crate::{Refusal, Refused};

/// Largest Service range upstream accepts: kube-apiserver refuses more than 20 host bits
/// (`cmd/kube-apiserver/app/options/validation.go`, `validateMaxCIDRRange`, `maxCIDRBits = 20`).
const WIDEST_SERVICE_PREFIX: u8 = 12;
/// Smallest useful Service range: the API server's own Service and a few more.
const NARROWEST_SERVICE_PREFIX: u8 = 28;
/// Per-node pod ranges are /24 (`--node-cidr-mask-size` of kube-controller-manager), so the whole may not be smaller.
const NARROWEST_POD_PREFIX: u8 = 24;
/// A whole class A is as much as private address space has.
const WIDEST_POD_PREFIX: u8 = 8;

/// An IPv4 range with its host bits clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    base: u32,
    prefix: u8,
}

impl Cidr {
    /// The address behind the range's own: upstream gives it to the Service `default/kubernetes`.
    pub fn after_base(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base | 1)
    }

    /// Whether two ranges share an address.
    pub fn overlaps(self, other: Self) -> bool {
        let shorter = self.prefix.min(other.prefix);
        (self.base ^ other.base) & mask(shorter) == 0
    }

    /// Whether the address is in the range.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        (u32::from(address) ^ self.base) & mask(self.prefix) == 0
    }

    /// Length of the prefix in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            let address: Ipv4Addr = address.parse().ok()?;
            let prefix: u8 = prefix.parse().ok().filter(|p| *p <= 32)?;
            Some((u32::from(address), prefix))
        };
        let (address, prefix) =
            parse().ok_or_else(|| format!("{text:?} is not an IPv4 range like 10.96.0.0/16"))?;
        let base = address & mask(prefix);
        if base != address {
            return Err(format!("{text:?} has host bits set: write {}/{prefix}", Ipv4Addr::from(base)));
        }
        Ok(Self { base, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

/// A network whose ranges were checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Range of Service addresses.
    pub services: Cidr,
    /// Range of pod addresses.
    pub pods: Cidr,
    /// Address of the Service `default/kubernetes`: the first of the range, as upstream chooses it.
    pub api_service: Ipv4Addr,
    /// Address that is advertised for the API server inside the cluster.
    pub api_server: Ipv4Addr,
}

/// Checks the ranges of a network.
///
/// # Errors
/// Every reason why upstream would refuse them, or why they would not work together.
pub fn check(network: &ClusterNetwork) -> Result<Checked, Refused> {
    let services =
        range("serviceCidr", &network.service_cidr, WIDEST_SERVICE_PREFIX..=NARROWEST_SERVICE_PREFIX);
    let pods = range("podCidr", &network.pod_cidr, WIDEST_POD_PREFIX..=NARROWEST_POD_PREFIX);
    let (services, (pods, api_server)) = both(services, both(pods, advertised(&network.api_server_address)))?;
    let mut reasons = Vec::new();
    let mut refuse = |field, reason| reasons.push(Refusal::InvalidNetwork { field, reason });
    if services.overlaps(pods) {
        refuse("podCidr", format!("{pods} overlaps with the Service range {services}"));
    }
    for (name, cidr) in [("Service", services), ("pod", pods)] {
        if cidr.contains(api_server) {
            refuse("apiServerAddress", format!("{api_server} lies in the {name} range {cidr}"));
        }
    }
    let api_service = services.after_base();
    Refused::unless_empty(reasons, Checked { services, pods, api_service, api_server })
}

fn advertised(text: &str) -> Result<Ipv4Addr, Refused> {
    let refused = |reason| Refusal::InvalidNetwork { field: "apiServerAddress", reason };
    let address: Ipv4Addr = text.parse().map_err(|_| refused(format!("{text:?} is not an IPv4 address")))?;
    // What upstream refuses in endpoints (`ValidateEndpointIP` of k8s.io/kubernetes/pkg/apis/core/validation).
    if address.is_loopback() || address.is_link_local() || address.is_multicast() || address.is_unspecified()
    {
        let why = "loopback, link-local, multicast and 0.0.0.0 cannot be advertised";
        return Err(refused(format!("{address}: {why}")).into());
    }
    Ok(address)
}

fn range(field: &'static str, text: &str, prefixes: RangeInclusive<u8>) -> Result<Cidr, Refused> {
    let refused = |reason| Refusal::InvalidNetwork { field, reason };
    let cidr: Cidr = text.parse().map_err(refused)?;
    if prefixes.contains(&cidr.prefix()) {
        Ok(cidr)
    } else {
        let (from, to) = (prefixes.start(), prefixes.end());
        Err(refused(format!("{cidr} has the wrong size: between /{from} and /{to} is possible")).into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(services: &str, pods: &str, address: &str) -> ClusterNetwork {
        ClusterNetwork {
            service_cidr: services.into(),
            pod_cidr: pods.into(),
            api_server_address: address.into(),
            ..ClusterNetwork::default()
        }
    }

    #[test]
    fn the_default_network_is_sound() {
        let checked = check(&ClusterNetwork::default()).unwrap();
        assert_eq!(checked.api_service.to_string(), "10.96.0.1");
        assert_eq!(checked.api_server.to_string(), "198.18.0.1");
    }

    #[test]
    fn every_fault_is_named() {
        let text =
            |services, pods, address| check(&network(services, pods, address)).unwrap_err().to_string();
        let all = text("10.96.0.1/16", "10.0.0.0/33", "127.0.0.1");
        assert!(
            all.contains("write 10.96.0.0/16") && all.contains("podCidr") && all.contains("loopback"),
            "{all}"
        );
        assert!(text("10.0.0.0/8", "10.244.0.0/16", "198.18.0.1").contains("between /12 and /28"));
        assert!(text("10.96.0.0/12", "10.96.0.0/16", "198.18.0.1").contains("overlaps"));
        assert!(text("10.96.0.0/16", "198.18.0.0/16", "198.18.0.1").contains("lies in the pod range"));
        assert!(text("300.1.1.0/24", "10.244.0.0/16", "198.18.0.1").contains("not an IPv4 range"));
    }

    proptest! {
        #[test]
        fn overlap_is_symmetric_and_means_a_common_address(a: u32, b: u32, p in 8u8..=30, q in 8u8..=30) {
            let (a, b) = (Cidr { base: a & mask(p), prefix: p }, Cidr { base: b & mask(q), prefix: q });
            prop_assert_eq!(a.overlaps(b), b.overlaps(a));
            let common = a.contains(Ipv4Addr::from(b.base)) || b.contains(Ipv4Addr::from(a.base));
            prop_assert_eq!(a.overlaps(b), common);
            prop_assert_eq!(a.to_string().parse::<Cidr>(), Ok(a));
        }
    }
}
