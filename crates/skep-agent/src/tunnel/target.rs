//! Where a stream is to lead: `host:port` as it stands in a `CONNECT`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Longest DNS name.
const MAX_NAME: usize = 253;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The host.
    pub host: Host,
    /// The port, never 0.
    pub port: u16,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address; never an IPv4 address written as an IPv6 one.
    Address(IpAddr),
    /// A name that the node resolves; in lower case.
    Name(String),
}

/// The text is not `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a host and a port, like 10.0.0.5:10250")]
pub struct NotATarget;

impl Target {
    /// The address, if the host is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Address(address) => Some(address),
            Host::Name(_) => None,
        }
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { host: Host::Address(address.ip().to_canonical()), port: address.port() }
    }
}

impl FromStr for Target {
    type Err = NotATarget;

    fn from_str(text: &str) -> Result<Self, NotATarget> {
        let (host, port) = text.rsplit_once(':').ok_or(NotATarget)?;
        // `u16` would take a sign.
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| *port != 0 && digits).ok_or(NotATarget)?;
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => Host::Address(IpAddr::V6(inner.parse().map_err(|_| NotATarget)?).to_canonical()),
            None => bare(host)?,
        };
        Ok(Self { host, port })
    }
}

fn bare(host: &str) -> Result<Host, NotATarget> {
    if let Ok(address) = host.parse() {
        return Ok(Host::Address(IpAddr::V4(address)));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    // The last label of a name is no number: what looks like an address and is none is not asked of a name server, which
    // might read it as an address after all.
    let last = name.rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    if name.len() > MAX_NAME || number || !name.split('.').all(label) {
        return Err(NotATarget);
    }
    Ok(Host::Name(name))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(address) => SocketAddr::new(*address, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> Option<String> {
        text.parse::<Target>().ok().map(|target| target.to_string())
    }

    #[test]
    fn what_api_servers_write() {
        for text in ["10.0.0.5:10250", "[fd00::5]:10250", "hook.team-a.svc:443", "node_1:1", "a:65535"] {
            assert_eq!(shown(text).as_deref(), Some(text));
        }
        assert_eq!(shown("Hook.Example.COM.:443").as_deref(), Some("hook.example.com:443"));
        assert_eq!(
            shown("[::ffff:10.0.0.5]:1").as_deref(),
            Some("10.0.0.5:1"),
            "one way to write an address"
        );
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            ":",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a:+1",
            "a: 1",
            "a:1 ",
            "fd00::5:1",
            "[fd00::5]",
            "[a]:1",
            "[10.0.0.5]:1",
            "[::1",
            "-a:1",
            "a-:1",
            "a..b:1",
            "a b:1",
            "a/b:1",
            "a@b:1",
            "ä:1",
            "127.1:1",
            "0x7f000001:1",
            "2130706433:1",
            "1.2.3.4.5:1",
            "a.0x7f:1",
            "%31:1",
        ] {
            assert_eq!(shown(text), None, "{text:?}");
        }
        assert_eq!(shown(&format!("{}:1", "a".repeat(64))), None);
        assert_eq!(shown(&format!("{}:1", ["a"; 128].join("."))), None);
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_is_read_is_written_the_same(text in "\\PC{0,80}|[a-z0-9.:\\[\\]-]{0,40}") {
            if let Ok(target) = text.parse::<Target>() {
                prop_assert!(target.port > 0);
                prop_assert_eq!(target.to_string().parse::<Target>(), Ok(target));
            }
        }

        #[test]
        fn addresses_survive(address: IpAddr, port in 1u16..) {
            let target = Target::from(SocketAddr::new(address, port));
            prop_assert_eq!(target.to_string().parse::<Target>(), Ok(target));
        }
    }
}
