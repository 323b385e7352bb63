//! The network that the machines of an installation share.
//!
//! An installation chooses one of 254 numbers once and keeps it: certificates and routes name addresses in it.

use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash, Hasher},
    io,
    net::Ipv4Addr,
    path::Path,
};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::{files, links};
use crate::{Error, Result};

/// Where an installation remembers its number, below its data directory.
const FILE: &str = "network.json";

/// A network and the bridge that carries it. The bridge has the first address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Addresses of the machines.
    pub net: Ipv4Net,
    /// Name of the bridge.
    pub bridge: String,
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    number: u8,
}

impl Network {
    /// The network with this number: `198.19.<number>.0/24` (of the range for tests between networks, RFC 2544) on bridge
    /// `skep<number>`.
    pub fn numbered(number: u8) -> Self {
        let net = Ipv4Net::new_assert(Ipv4Addr::new(198, 19, number, 0), 24);
        Self { net, bridge: format!("skep{number}") }
    }

    /// Address of the bridge, under which machines reach this host.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.net.network().to_bits() + 1)
    }

    /// The network of the installation with this data directory: the remembered one, or one that nothing on this host uses.
    /// Only the process that works with the directory may call it.
    ///
    /// # Errors
    /// [`Error::NoFreeNetwork`], [`Error::Damaged`], [`Error::File`].
    pub fn pick(data: &Path) -> Result<Self> {
        let path = data.join(FILE);
        match fs::read(&path) {
            Ok(text) => {
                let remembered: Remembered = serde_json::from_slice(&text)
                    .map_err(|error| Error::Damaged { path: path.clone(), reason: error.to_string() })?;
                return Ok(Self::numbered(remembered.number));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::file("read", path)(error)),
        }
        let taken = links::all()?;
        let number = choose(seed(data), |number| {
            let network = Self::numbered(number);
            taken.iter().any(|link| {
                link.name == network.bridge
                    || link.address.is_some_and(|address| network.net.contains(&address))
            })
        })
        .ok_or(Error::NoFreeNetwork)?;
        files::make_dir(data, 0o700)?;
        files::replace(&path, &files::json(&Remembered { number })?, 0o600)?;
        Ok(Self::numbered(number))
    }
}

/// Installations that are made at the same moment, or while others have no machine, should not meet.
fn seed(data: &Path) -> u8 {
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    u8::try_from(hasher.finish() % 254).unwrap_or(0)
}

/// The first free number from 1 to 254, beginning at a place that depends on the seed.
fn choose(seed: u8, taken: impl Fn(u8) -> bool) -> Option<u8> {
    (0..254_u16)
        .filter_map(|step| u8::try_from((u16::from(seed) + step) % 254 + 1).ok())
        .find(|number| !taken(*number))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_network_is_remembered() {
        let data = tempfile::tempdir().unwrap();
        let first = Network::pick(data.path()).unwrap();
        assert_eq!(Network::pick(data.path()).unwrap(), first);
        assert_eq!(first.gateway().octets()[..2], [198, 19]);
        assert_eq!(first.gateway().octets()[3], 1);
        fs::write(data.path().join(FILE), "{}").unwrap();
        assert!(matches!(Network::pick(data.path()), Err(Error::Damaged { .. })));
    }

    proptest! {
        #[test]
        fn every_free_number_is_found_and_no_other(seed: u8, taken: BTreeSet<u8>) {
            let mut taken = taken;
            let mut given = BTreeSet::new();
            while let Some(number) = choose(seed, |number| taken.contains(&number)) {
                prop_assert!((1..=254).contains(&number));
                prop_assert!(given.insert(number));
                prop_assert!(taken.insert(number));
            }
            prop_assert_eq!(taken.iter().filter(|number| (1..=254).contains(*number)).count(), 254);
        }
    }
}
