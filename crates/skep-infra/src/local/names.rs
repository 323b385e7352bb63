//! What everything of a machine is called on the host. Every name carries the installation's, so that nothing of another
//! installation is ever taken for ours.

use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash, Hasher},
    io,
    net::Ipv4Addr,
    path::Path,
};

use super::files;
use crate::{Error, Result};

/// Letters of an installation's name: five bytes are what fits into a hardware address beside the byte that marks it as
/// made up, and fifteen characters are what an interface's name may have.
const LETTERS: usize = 5;
/// Where an installation remembers its name, below its data directory.
const FILE: &str = "installation";
/// First byte of the bridge's and of machines' hardware addresses: locally administered, not a group (IEEE 802).
const BRIDGE_MAC: u8 = 0x02;
pub(super) const MACHINE_MAC: u8 = 0x06;

/// Names of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// Its network namespace.
    pub netns: String,
    /// The host's end of its cable.
    pub veth: String,
    /// Its cgroup in every hierarchy, relative to the mount.
    pub cgroup: String,
}

impl Names {
    pub(super) fn of(installation: &str, cgroup: &str, short: &str) -> Self {
        Self {
            netns: format!("{}{short}", netns_prefix(installation)),
            veth: format!("{}{short}", veth_prefix(installation)),
            cgroup: format!("{cgroup}/{}{short}", cgroup_prefix(installation)),
        }
    }
}

/// How the names of this installation's namespaces begin.
pub(super) fn netns_prefix(installation: &str) -> String {
    format!("skep-{installation}-")
}

/// How the names of this installation's cables begin.
pub(super) fn veth_prefix(installation: &str) -> String {
    format!("s{installation}-")
}

/// How the names of this installation's cgroups begin.
pub(super) fn cgroup_prefix(installation: &str) -> String {
    format!("{installation}-")
}

/// The bridge's hardware address says whose it is from the moment it exists.
pub(super) fn bridge_mac(installation: &str) -> [u8; 6] {
    let mut mac = [BRIDGE_MAC, 0, 0, 0, 0, 0];
    for (place, letter) in mac.iter_mut().skip(1).zip(installation.bytes()) {
        *place = letter;
    }
    mac
}

/// A machine's hardware address: follows from its address, so that no neighbour's table is ever wrong about it, and says
/// its zone.
pub(super) fn machine_mac(zone: u8, address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [MACHINE_MAC, zone, a, b, c, d]
}

/// A hardware address as `ip` takes it.
pub(super) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Short names for a machine: what a person recognises the uid by first, then others that follow from it.
pub(super) fn candidates(uid: &str) -> impl Iterator<Item = String> {
    let head: String = uid.chars().take(8).collect();
    let usable = head.len() == 8 && head.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let uid = uid.to_owned();
    let hashed = (0..1000_u32).map(move |salt| {
        let mut hasher = DefaultHasher::new();
        (&uid, salt).hash(&mut hasher);
        format!("{:08x}", hasher.finish() & 0xffff_ffff)
    });
    usable.then_some(head).into_iter().chain(hashed)
}

/// The name of the installation with this data directory, made up at the first time.
pub(super) fn installation(data: &Path) -> Result<String> {
    let path = data.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) if is_installation(text.trim()) => Ok(text.trim().to_owned()),
        Ok(text) => Err(Error::Damaged { path, reason: format!("{:?} is not five letters", text.trim()) }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let source = Path::new("/proc/sys/kernel/random/uuid");
            let uuid = fs::read_to_string(source).map_err(Error::file("read", source))?;
            let name = letters(&uuid);
            files::replace(&path, name.as_bytes(), 0o600)?;
            Ok(name)
        }
        Err(error) => Err(Error::file("read", path)(error)),
    }
}

fn is_installation(text: &str) -> bool {
    text.len() == LETTERS && text.bytes().all(|b| b.is_ascii_lowercase())
}

/// Five of 26 letters: two installations of a host meet once in twelve million.
fn letters(random: &str) -> String {
    let mut hasher = DefaultHasher::new();
    random.hash(&mut hasher);
    let mut rest = hasher.finish();
    let mut letter = || {
        let letter = char::from(b'a' + u8::try_from(rest % 26).unwrap_or(0));
        rest /= 26;
        letter
    };
    (0..LETTERS).map(|_| letter()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_installation_keeps_its_name() {
        let data = tempfile::tempdir().unwrap();
        let name = installation(data.path()).unwrap();
        assert!(is_installation(&name), "{name}");
        assert_eq!(installation(data.path()).unwrap(), name);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(installation(other.path()).unwrap(), name);
        fs::write(data.path().join(FILE), "../..").unwrap();
        assert!(matches!(installation(data.path()), Err(Error::Damaged { .. })));
    }

    #[test]
    fn a_person_recognises_a_machine() {
        let uid = "0b7c3f1e-90ff-4f0e-8a26-2f6b7a1d9f10";
        assert_eq!(candidates(uid).next().unwrap(), "0b7c3f1e");
        let names = Names::of("abcde", "skep", "0b7c3f1e");
        assert_eq!(names.netns, "skep-abcde-0b7c3f1e");
        assert_eq!(names.veth, "sabcde-0b7c3f1e");
        assert_eq!(names.cgroup, "skep/abcde-0b7c3f1e");
        assert_eq!(mac_text(bridge_mac("abcde")), "02:61:62:63:64:65");
        assert_eq!(mac_text(machine_mac(3, Ipv4Addr::new(198, 19, 7, 20))), "06:03:c6:13:07:14");
    }

    proptest! {
        /// `IFNAMSIZ` of `linux/if.h` is 16 with the zero at the end.
        #[test]
        fn names_fit(uid in "[a-zA-Z0-9-]{1,64}", installation in "[a-z]{5}") {
            let mut seen = std::collections::BTreeSet::new();
            for short in candidates(&uid).take(20) {
                let names = Names::of(&installation, "skep", &short);
                prop_assert!(names.veth.len() <= 15, "{}", names.veth);
                prop_assert!(short.bytes().all(|b| b.is_ascii_hexdigit()) && short.len() == 8);
                seen.insert(short);
            }
            prop_assert!(seen.len() >= 19);
        }
    }
}
