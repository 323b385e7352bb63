//! The bridge that the machines of an installation hang on: there while there are machines.
//!
//! Its hardware address is made of the installation's name, so it is clear whose it is from the moment it exists.

use std::{fs, path::Path};

use super::{
    hands::Hands,
    links,
    names::{bridge_mac, mac_text},
    network::Network,
};
use crate::{Error, Result};

/// Settings of the bridge's interface: nothing that comes from a machine is passed on to other networks by this host, and
/// there is no second way in by IPv6. A host that begins to forward for another reason sets the first one back, so it is
/// looked at whenever a machine is.
const SETTINGS: [(&str, &str); 3] =
    [("ipv4/conf", "forwarding=0"), ("ipv6/conf", "disable_ipv6=1"), ("ipv6/conf", "accept_ra=0")];

/// Makes the bridge, unless it is there and as it should be. One call at a time.
pub(super) async fn make(hands: &Hands, network: &Network, installation: &str) -> Result<()> {
    match complete(hands, network, installation).await {
        // Perhaps because an `ip` of a process that was killed was still at work and did it a moment before.
        Err(Error::Command { .. }) => complete(hands, network, installation).await,
        done => done,
    }
}

async fn complete(hands: &Hands, network: &Network, installation: &str) -> Result<()> {
    let bridge = network.bridge.as_str();
    let own = bridge_mac(installation);
    match links::mac(bridge)? {
        None => {
            refuse_foreign(network)?;
            hands
                .run("ip", &["link", "add", "name", bridge, "address", &mac_text(own), "type", "bridge"], "")
                .await?;
        }
        Some(mac) if mac == own => {}
        Some(mac) => {
            let holder = format!("that bridge has the hardware address {}", mac_text(mac));
            return Err(in_use(network, holder));
        }
    }
    let address = format!("{}/{}", network.gateway(), network.net.prefix_len());
    if !links::all()?.iter().any(|link| link.name == bridge && link.address == Some(network.gateway())) {
        hands.run("ip", &["address", "add", &address, "dev", bridge], "").await?;
    }
    closed(hands, bridge)?;
    // Up last: what is up is whole.
    hands.run("ip", &["link", "set", "dev", bridge, "up"], "").await.map(drop)
}

/// Whether the bridge is there, with its address, and ours.
pub(super) fn is_whole(network: &Network, installation: &str) -> Result<bool> {
    let links = links::all()?;
    let own = || links.iter().filter(|link| link.name == network.bridge);
    Ok(own().any(|link| link.mac == Some(bridge_mac(installation)))
        && own().any(|link| link.address == Some(network.gateway())))
}

/// Keeps the host from passing packets on that come from machines.
pub(super) fn closed(hands: &Hands, bridge: &str) -> Result<()> {
    for (place, setting) in SETTINGS {
        let (name, value) = setting.split_once('=').unwrap_or((setting, "0"));
        let path = Path::new("/proc/sys/net").join(place).join(bridge).join(name);
        // A kernel without IPv6 has no such file.
        if fs::exists(&path).unwrap_or(false) {
            hands.set(&path, value)?;
        }
    }
    Ok(())
}

/// Removes the bridge, if it is ours.
pub(super) async fn remove(hands: &Hands, network: &Network, installation: &str) -> Result<()> {
    if links::mac(&network.bridge)? == Some(bridge_mac(installation)) {
        hands.run("ip", &["link", "delete", "dev", &network.bridge], "").await?;
    }
    Ok(())
}

/// An address of the network on another interface would take packets away from the bridge.
fn refuse_foreign(network: &Network) -> Result<()> {
    let inside = |link: &&links::Link| link.address.is_some_and(|address| network.net.contains(&address));
    match links::all()?.iter().find(inside) {
        Some(link) => Err(in_use(network, format!("interface {} has an address in it", link.name))),
        None => Ok(()),
    }
}

fn in_use(network: &Network, holder: String) -> Error {
    Error::NetworkInUse { network: network.net.to_string(), bridge: network.bridge.clone(), holder }
}
