//! Settings of the kernel for the node's network. All of them belong to the network namespace.

use std::{fs, path::Path};

use crate::{Error, Result, node::Node};

/// A setting below `/proc/sys/net`.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    name: String,
    value: &'static str,
    /// Where it is missing, what it is about is missing too.
    needed: bool,
}

pub(super) fn prepare(node: &Node) -> Result<()> {
    for setting in settings(node.facts.isolated, &node.host.interface) {
        let path = Path::new("/proc/sys/net").join(&setting.name);
        let there = fs::read_to_string(&path);
        let right = there.as_ref().is_ok_and(|value| value.trim() == setting.value);
        if right || (there.is_err() && !setting.needed) {
            continue;
        }
        fs::write(&path, setting.value).map_err(|error| Error::Network {
            what: format!("{} = {}", path.display(), setting.value),
            reason: error.to_string(),
        })?;
    }
    Ok(())
}

fn settings(isolated: bool, interface: &str) -> Vec<Setting> {
    let set = |name: &str, value, needed| Setting { name: name.to_owned(), value, needed };
    // Pods' packets come and go by different interfaces. On a machine of its own the check is made loose, not turned off
    // (Documentation/networking/ip-sysctl.rst).
    let check = if isolated { "0" } else { "2" };
    vec![
        set("ipv4/ip_forward", "1", true),
        set("ipv4/conf/all/rp_filter", check, true),
        set("ipv4/conf/default/rp_filter", check, true),
        set(&format!("ipv4/conf/{interface}/rp_filter"), check, false),
        // Only where the module is loaded do bridged packets pass the rules of kube-proxy, and can they.
        set("bridge/bridge-nf-call-iptables", "1", false),
        set("bridge/bridge-nf-call-ip6tables", "1", false),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_persons_machine_keeps_a_loose_check() {
        let check = |isolated| settings(isolated, "eth0")[3].value;
        assert_eq!((check(true), check(false)), ("0", "2"));
        assert_eq!(settings(true, "eth0")[3].name, "ipv4/conf/eth0/rp_filter");
    }
}
