//! A machine's network namespace and the cable (a veth pair) from it to the bridge.

use std::path::{Path, PathBuf};

use nix::sys::statfs::{NSFS_MAGIC, statfs};

use super::{
    hands::Hands,
    links,
    names::{Names, mac_text, machine_mac},
    network::Network,
    record::Record,
};
use crate::{Result, local::names};

/// Name of the machine's end, inside.
pub(super) const INTERFACE: &str = "eth0";
/// Where `ip` keeps named network namespaces.
pub(super) const NAMESPACES: &str = "/run/netns";

/// The file that names a network namespace.
pub(super) fn namespace(names: &Names) -> PathBuf {
    Path::new(NAMESPACES).join(&names.netns)
}

/// Makes namespace and cable anew; there is none of them.
pub(super) async fn make(hands: &Hands, record: &Record, names: &Names, network: &Network) -> Result<()> {
    let made = add(hands, record, names, network).await;
    // An `ip` of a process that was killed may still have been at work, and have made one of them a moment ago. Whoever is
    // at work now is the only one.
    if made.is_err() && (namespace(names).exists() || links::exists(&names.veth)) {
        remove(hands, names).await?;
        return add(hands, record, names, network).await;
    }
    made
}

async fn add(hands: &Hands, record: &Record, names: &Names, network: &Network) -> Result<()> {
    hands.run("ip", &["netns", "add", &names.netns], "").await?;
    plug(hands, record, names, network).await
}

/// Makes the cable of a namespace that has none, and plugs it in.
async fn plug(hands: &Hands, record: &Record, names: &Names, network: &Network) -> Result<()> {
    let (netns, veth) = (names.netns.as_str(), names.veth.as_str());
    let mac = mac_text(machine_mac(record.zone_number, record.address));
    let pair = format!("link add name {veth} type veth peer name {INTERFACE} address {mac} netns {netns}");
    hands.run("ip", &pair.split(' ').collect::<Vec<_>>(), "").await?;
    let inside = format!(
        "link set dev lo up\n\
         address add {}/{} dev {INTERFACE}\n\
         link set dev {INTERFACE} up\n\
         route add default via {}\n",
        record.address,
        network.net.prefix_len(),
        network.gateway()
    );
    hands.run("ip", &["-netns", netns, "-batch", "-"], &inside).await?;
    hands.run("ip", &["link", "set", "dev", veth, "master", &network.bridge, "up"], "").await.map(drop)
}

/// Plugs the cable of a machine that runs into the bridge, which may be a new one. The machine's end is its own business, but
/// without a cable it gets a new one.
pub(super) async fn mend(hands: &Hands, record: &Record, names: &Names, network: &Network) -> Result<()> {
    if !links::exists(&names.veth) {
        return plug(hands, record, names, network).await;
    }
    hands.run("ip", &["link", "set", "dev", &names.veth, "master", &network.bridge, "up"], "").await.map(drop)
}

/// Whether the cable is there and plugged in. Where `/sys` shows another network than this process has, it never seems to be,
/// and is plugged in again and again, which does no harm.
pub(super) fn is_plugged(names: &Names, network: &Network) -> bool {
    links::exists(&names.veth)
        && Path::new("/sys/class/net").join(&network.bridge).join("brif").join(&names.veth).exists()
}

/// Whether the namespace can be found by its name.
pub(super) fn is_named(names: &Names) -> bool {
    statfs(&namespace(names)).is_ok_and(|filesystem| filesystem.filesystem_type() == NSFS_MAGIC)
}

/// Removes cable and namespace, if they are there. Nothing may run in the namespace any more.
pub(super) async fn remove(hands: &Hands, names: &Names) -> Result<()> {
    // The cable first and by name: with its namespace it would go too, but some time later.
    if links::exists(&names.veth) {
        let removed = hands.run("ip", &["link", "delete", "dev", &names.veth], "").await;
        if links::exists(&names.veth) {
            removed?;
        }
    }
    // A killed `ip` may have left the file without a namespace.
    if namespace(names).exists() {
        hands.run("ip", &["netns", "delete", &names.netns], "").await?;
    }
    Ok(())
}

/// Short names of machines of which a namespace or a cable is there.
pub(super) fn all(installation: &str) -> Result<Vec<String>> {
    let (netns, veth) = (names::netns_prefix(installation), names::veth_prefix(installation));
    let mut found: Vec<String> =
        links::all()?.iter().filter_map(|link| Some(link.name.strip_prefix(&veth)?.to_owned())).collect();
    if let Ok(entries) = std::fs::read_dir(NAMESPACES) {
        let files = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        found.extend(files.filter_map(|name| Some(name.strip_prefix(&netns)?.to_owned())));
    }
    Ok(found)
}
