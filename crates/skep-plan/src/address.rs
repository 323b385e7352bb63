//! Addresses of pods, known before the pod starts.
//!
//! Guarantees: an installation owns one `127.N.0.0/16`; inside it the ranges for
//! stable pods, for each virtual node's dynamic pods and for the nodes themselves
//! never overlap, and every function here is a pure function of its arguments, so
//! the datastore operator (which writes an address into a certificate) and the
//! virtual node (which binds it) agree without talking to each other.
//!
//! Refuses: networks outside `127.64.0.0/16 ..= 127.126.0.0/16` (the low ones are
//! used by the machine's own services, 127.127/16 and above by other tools) and
//! more than eight nodes in one network.
//!
//! ```text
//! 127.N.0.0/17                     stable pods (StatefulSets), by hash of their name
//! 127.N.128.0/17 = 8 × /20         dynamic pods, one /20 per node
//! 127.N.255.0/24                   the nodes' own kubelet endpoints (not in node 7's range)
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// Lowest second octet an installation may own.
pub const FIRST_NETWORK: u8 = 64;
/// Highest second octet an installation may own.
pub const LAST_NETWORK: u8 = 126;
/// Number of virtual nodes that have a range of their own in one network.
pub const MAX_NODES: u8 = 8;

/// First third octet of the dynamic half.
const DYNAMIC_BASE: u8 = 128;
/// Third octets per node: a /20.
const OCTETS_PER_NODE: u8 = 16;
/// Third octet that holds the nodes' own addresses.
const NODE_OCTET: u8 = 255;

/// Why an address or a network was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The text is not `127.N.0.0/16`.
    #[error("`{0}` is not a pod network: write 127.N.0.0/16 with N from 64 to 126")]
    NotANetwork(String),
    /// The second octet is outside the allowed range.
    #[error("127.{0}.0.0/16 cannot be a pod network: the second number has to be from 64 to 126")]
    OutsideRange(u8),
    /// There is no range for this node.
    #[error("node index {0} has no addresses: a pod network holds nodes 0 to 7")]
    NoSuchNode(u8),
}

/// One installation's network of loopback addresses, `127.N.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoopbackNet {
    octet: u8,
}

impl LoopbackNet {
    /// The network `127.n.0.0/16`.
    ///
    /// # Errors
    /// [`AddressError::OutsideRange`] unless `n` is in [`FIRST_NETWORK`]`..=`[`LAST_NETWORK`].
    pub fn new(n: u8) -> Result<Self, AddressError> {
        if (FIRST_NETWORK..=LAST_NETWORK).contains(&n) {
            Ok(Self { octet: n })
        } else {
            Err(AddressError::OutsideRange(n))
        }
    }

    /// The second octet, `N`.
    #[must_use]
    pub fn octet(self) -> u8 {
        self.octet
    }

    /// The address of a pod whose name outlives it (a StatefulSet's pod).
    ///
    /// A hash of namespace and name: no state, the same answer everywhere. Two
    /// pods share an address with probability 1/32 512; the node that finds the
    /// address taken says so in the pod's status.
    #[must_use]
    pub fn stable(&self, namespace: &str, pod: &str) -> Ipv4Addr {
        let mut hash = Sha256::new();
        hash.update(namespace.as_bytes());
        // '/' cannot occur in either name, so the pair is unambiguous.
        hash.update(b"/");
        hash.update(pod.as_bytes());
        let digest = hash.finalize();
        let third = digest[0] & 0x7f;
        // .0 and .255 are legal here but confuse people and some tools.
        let fourth = 1 + (u16::from_be_bytes([digest[1], digest[2]]) % 254) as u8;
        Ipv4Addr::new(127, self.octet, third, fourth)
    }

    /// The range from which virtual node `node` gives addresses to ordinary pods.
    ///
    /// # Errors
    /// [`AddressError::NoSuchNode`] for an index above 7.
    pub fn dynamic(&self, node: u8) -> Result<DynamicRange, AddressError> {
        if node >= MAX_NODES {
            return Err(AddressError::NoSuchNode(node));
        }
        let first_third = DYNAMIC_BASE + node * OCTETS_PER_NODE;
        let last_third = (first_third + (OCTETS_PER_NODE - 1)).min(NODE_OCTET - 1);
        Ok(DynamicRange {
            first: Ipv4Addr::new(127, self.octet, first_third, 1),
            last: Ipv4Addr::new(127, self.octet, last_third, 254),
        })
    }

    /// The address of virtual node `node` itself (its kubelet endpoint).
    ///
    /// # Errors
    /// [`AddressError::NoSuchNode`] for an index above 7.
    pub fn node(&self, node: u8) -> Result<Ipv4Addr, AddressError> {
        if node >= MAX_NODES {
            return Err(AddressError::NoSuchNode(node));
        }
        Ok(Ipv4Addr::new(127, self.octet, NODE_OCTET, 1 + node))
    }

    /// Whether `address` belongs to this network.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let [a, b, _, _] = address.octets();
        a == 127 && b == self.octet
    }
}

impl fmt::Display for LoopbackNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "127.{}.0.0/16", self.octet)
    }
}

impl FromStr for LoopbackNet {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refused = || AddressError::NotANetwork(text.to_owned());
        let octet = text
            .trim()
            .strip_prefix("127.")
            .and_then(|rest| rest.strip_suffix(".0.0/16"))
            .ok_or_else(refused)?;
        Self::new(octet.parse().map_err(|_| refused())?)
    }
}

/// The addresses one virtual node gives to ordinary pods, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DynamicRange {
    first: Ipv4Addr,
    last: Ipv4Addr,
}

impl DynamicRange {
    /// The lowest address.
    #[must_use]
    pub fn first(&self) -> Ipv4Addr {
        self.first
    }

    /// The highest address.
    #[must_use]
    pub fn last(&self) -> Ipv4Addr {
        self.last
    }

    /// Whether `address` is in the range (and usable: not `.0`, not `.255`).
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let last_octet = address.octets()[3];
        (self.first..=self.last).contains(&address) && last_octet != 0 && last_octet != 255
    }

    /// All usable addresses, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let range = *self;
        (u32::from(range.first)..=u32::from(range.last))
            .map(Ipv4Addr::from)
            .filter(move |address| range.contains(*address))
    }

    /// How many addresses [`iter`](Self::iter) gives.
    #[must_use]
    pub fn capacity(&self) -> usize {
        let thirds = self.last.octets()[2] - self.first.octets()[2] + 1;
        usize::from(thirds) * 254
    }
}

/// How pods with stable names are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodNetwork {
    /// Virtual nodes with the `process` backend: by a loopback address that
    /// follows from the name.
    Loopback(LoopbackNet),
    /// Any other Kubernetes: by the DNS name a headless Service gives.
    Cluster,
}

impl PodNetwork {
    /// The host under which pod `pod` of a StatefulSet with the governing Service
    /// `service` is reached.
    #[must_use]
    pub fn stable_host(&self, namespace: &str, service: &str, pod: &str) -> StableHost {
        match self {
            Self::Loopback(net) => StableHost::Address(IpAddr::V4(net.stable(namespace, pod))),
            Self::Cluster => StableHost::Name(format!("{pod}.{service}.{namespace}.svc")),
        }
    }
}

/// Host part of a stable pod's endpoint; also what its certificate has to name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StableHost {
    /// An address (IP subject alternative name).
    Address(IpAddr),
    /// A DNS name (DNS subject alternative name).
    Name(String),
}

impl StableHost {
    /// `https://<host>:<port>`.
    #[must_use]
    pub fn https(&self, port: u16) -> String {
        format!("https://{self}:{port}")
    }
}

impl fmt::Display for StableHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests;
