//! Ports of the hub on loopback.
//!
//! They are remembered, so that kubeconfigs stay valid over restarts, and chosen again one by one when somebody else has
//! taken one meanwhile. New ones come from below the range the kernel gives to outgoing connections: a port from
//! that range could be taken by any client at the next start.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// kube-apiserver of the hub.
    ApiServer,
    /// The gateway: what tenants' kubeconfigs name.
    Gateway,
    /// etcd of the hub, clients.
    EtcdClient,
    /// etcd of the hub, peers: it has none, but always listens.
    EtcdPeer,
    /// etcd of the hub, whatever is not gRPC: nobody asks there.
    EtcdHttp,
    /// Metrics and health of operator, gateway and nodes.
    Metrics,
    /// What serves the autoscalers of tenants.
    Autoscaler,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ApiServer,
        Self::Gateway,
        Self::EtcdClient,
        Self::EtcdPeer,
        Self::EtcdHttp,
        Self::Metrics,
        Self::Autoscaler,
    ];
}

/// Ports by purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ports(BTreeMap<Purpose, u16>);

/// First port that is ever chosen, and the first one above: the kernel's own range starts at 32768.
const RANGE: std::ops::Range<u16> = 20_000..32_000;
/// Installations start looking this far from each other.
const STRIDE: u16 = 16;

impl Ports {
    /// The port for `purpose`, once it is chosen.
    pub fn get(&self, purpose: Purpose) -> Option<u16> {
        self.0.get(&purpose).copied()
    }

    /// The loopback address for `purpose`.
    ///
    /// # Errors
    /// When it was not chosen, which a caller that holds the result of [`choose`](Self::choose) never sees.
    pub fn address(&self, purpose: Purpose) -> Result<SocketAddr> {
        let port =
            self.get(purpose).ok_or_else(|| Error::Option(format!("no port is chosen for {purpose:?}")))?;
        Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }

    /// Keeps every port in `keep` and every one that is still free, and chooses the others.
    ///
    /// `seed` decides where the search starts, so that two installations rarely want the same one at the same moment.
    ///
    /// # Errors
    /// [`Error::Option`] when no port of the whole range is free.
    pub fn choose(&self, keep: &BTreeSet<Purpose>, seed: &Path, free: impl Fn(u16) -> bool) -> Result<Self> {
        let mut chosen = BTreeMap::new();
        for purpose in Purpose::ALL {
            if let Some(port) = self.get(purpose).filter(|port| keep.contains(&purpose) || free(*port)) {
                chosen.insert(purpose, port);
            }
        }
        let taken: BTreeSet<u16> = chosen.values().copied().collect();
        let mut candidates = from(seed).filter(|port| !taken.contains(port) && free(*port));
        for purpose in Purpose::ALL {
            if let std::collections::btree_map::Entry::Vacant(entry) = chosen.entry(purpose) {
                let port = candidates.next().ok_or_else(|| {
                    Error::Option(format!(
                        "no free port from {} to {} on 127.0.0.1",
                        RANGE.start,
                        RANGE.end - 1
                    ))
                })?;
                entry.insert(port);
            }
        }
        Ok(Self(chosen))
    }
}

/// All ports of the range, starting at a place that depends on `seed`.
fn from(seed: &Path) -> impl Iterator<Item = u16> {
    let slots = (RANGE.end - RANGE.start) / STRIDE;
    let start = RANGE.start + STRIDE * (hash(seed) % slots);
    (start..RANGE.end).chain(RANGE.start..start)
}

/// A number that depends on the path only.
pub(crate) fn hash(path: &Path) -> u16 {
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    u16::from_be_bytes([digest[0], digest[1]])
}

/// Whether a server could listen on `127.0.0.1:port` now.
pub fn is_free(port: u16) -> bool {
    can_listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
}

/// Whether a server could listen on this address now.
pub fn can_listen(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

#[cfg(test)]
mod tests;
