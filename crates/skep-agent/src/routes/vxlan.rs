//! The device that carries pods' packets between nodes that share no segment.
//!
//! Every node's device has a hardware address that follows from the node's address, so nodes need not tell each other.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use serde::Deserialize;

/// Its name.
pub(super) const DEVICE: &str = "skep-vxlan";
/// Number of our network among those of other software.
const NETWORK: u32 = 8300;
/// IANA's port for VXLAN; the kernel's default is an older one.
const PORT: u16 = 4789;
/// What VXLAN adds over IPv4: outer Ethernet, IP, UDP and its own header (RFC 7348, section 5).
const OVERHEAD: u32 = 50;
/// First half of our hardware addresses: locally administered, one receiver.
const PREFIX: [u8; 2] = [0x02, 0x53];

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mac([u8; 6]);

impl Mac {
    /// That of the device of the node with this address.
    pub(super) fn of(node: Ipv4Addr) -> Self {
        let ([a, b], [c, d, e, f]) = (PREFIX, node.octets());
        Self([a, b, c, d, e, f])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl FromStr for Mac {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes: Result<Vec<u8>, _> = text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
        bytes.ok().and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(())
    }
}

/// Largest packet of a pod, given that of the interface between nodes.
pub(super) fn inner_mtu(outer: u32) -> u32 {
    outer.saturating_sub(OVERHEAD)
}

/// How the device must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device<'a> {
    /// Address of this node.
    pub local: Ipv4Addr,
    /// Interface that has it.
    pub interface: &'a str,
    /// Largest packet.
    pub mtu: u32,
}

impl Device<'_> {
    /// Lines for `ip -batch` that make it.
    pub(super) fn make(&self) -> String {
        let Self { local, interface, mtu } = self;
        format!(
            "link add {DEVICE} address {mac} mtu {mtu} type vxlan id {NETWORK} local {local} dev {interface} \
             dstport {PORT} nolearning\nlink set {DEVICE} up\n",
            mac = Mac::of(*local),
        )
    }

    /// Whether a device is this one already.
    pub(super) fn is(&self, link: &Link) -> bool {
        let Some(Info { kind, data: Some(data) }) = &link.info else { return false };
        kind == "vxlan"
            && data.id == Some(NETWORK)
            && data.port == Some(PORT)
            && data.local == Some(self.local)
            && data.link.as_deref() == Some(self.interface)
            && link.mtu == self.mtu
            && link.address.as_deref().and_then(|mac| mac.parse().ok()) == Some(Mac::of(self.local))
            && link.flags.iter().any(|flag| flag == "UP")
    }
}

/// An interface as `ip -json -details link show` has it.
#[derive(Debug, Deserialize)]
pub(super) struct Link {
    /// Largest packet.
    pub mtu: u32,
    address: Option<String>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(rename = "linkinfo")]
    info: Option<Info>,
}

#[derive(Debug, Deserialize)]
struct Info {
    #[serde(default, rename = "info_kind")]
    kind: String,
    #[serde(rename = "info_data")]
    data: Option<Data>,
}

/// Other kinds of interfaces have other data: everything may be missing.
#[derive(Debug, Deserialize)]
struct Data {
    id: Option<u32>,
    port: Option<u16>,
    local: Option<Ipv4Addr>,
    link: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_follow_from_addresses() {
        let mac = Mac::of(Ipv4Addr::new(198, 19, 3, 7));
        assert_eq!(mac.to_string(), "02:53:c6:13:03:07");
        assert_eq!(mac.to_string().parse(), Ok(mac));
        assert!("02:53".parse::<Mac>().is_err() && "x".parse::<Mac>().is_err());
    }

    #[test]
    fn a_device_is_kept_when_it_is_the_right_one() {
        let device = Device { local: Ipv4Addr::new(198, 19, 3, 7), interface: "eth0", mtu: 1450 };
        insta::assert_snapshot!("vxlan_device", device.make());
        // As iproute2 6.1 prints it.
        let text = r#"{"ifindex":7,"link":"eth0","ifname":"skep-vxlan","flags":["BROADCAST","MULTICAST","UP","LOWER_UP"],
            "mtu":1450,"operstate":"UNKNOWN","address":"02:53:c6:13:03:07","linkinfo":{"info_kind":"vxlan",
            "info_data":{"id":8300,"local":"198.19.3.7","link":"eth0","port":4789,"learning":false,"ttl":0}}}"#;
        assert!(device.is(&serde_json::from_str(text).unwrap()));
        for (old, new) in [
            ("8300", "1"),
            ("\"UP\"", "\"X\""),
            ("198.19.3.7", "198.19.3.8"),
            ("1450", "1400"),
            ("vxlan\",", "vlan\","),
        ] {
            assert!(!device.is(&serde_json::from_str(&text.replacen(old, new, 2)).unwrap()), "{old}");
        }
        let other = r#"{"mtu":1500,"linkinfo":{"info_kind":"bridge","info_data":{"id":"x"}}}"#;
        assert!(
            serde_json::from_str::<Link>(other).is_err() || !device.is(&serde_json::from_str(other).unwrap())
        );
    }
}
