//! Whether this host can have local machines: each thing that is missing is one error that names it.
//!
//! Nothing is guessed from versions: what is needed is tried, in namespaces that go again at once.

use std::fs;

use nix::unistd::geteuid;

use super::{
    Local,
    cgroup::Hierarchies,
    hands::{Hands, SEARCHED, find},
    settings::Settings,
    zones,
};
use crate::{Error, Result};

/// Capabilities that making a machine takes (`linux/capability.h`), with their numbers.
const CAPABILITIES: [(&str, u32); 6] = [
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_KILL", 5),
    ("CAP_NET_ADMIN", 12),
    ("CAP_NET_RAW", 13),
    ("CAP_SYS_CHROOT", 18),
    ("CAP_SYS_ADMIN", 21),
];
/// Programs that making a machine takes: name, package, purpose.
const PROGRAMS: [(&str, &str, &str); 7] = [
    ("ip", "iproute2", "makes networks"),
    ("nsenter", "util-linux", "enters a machine's network"),
    ("unshare", "util-linux", "makes a machine's namespaces"),
    ("setsid", "util-linux", "starts machines apart from this process"),
    ("mount", "mount", "gives a machine directories of its own"),
    ("umount", "mount", "removes mounts"),
    ("sh", "dash", "starts machines"),
];
/// Programs that the node on a machine takes besides those that Skep brings.
const NODE_PROGRAMS: [(&str, &str, &str); 4] = [
    ("runc", "runc", "runs containers"),
    ("iptables", "iptables", "forwards ports of pods"),
    ("nft", "nftables", "carries Services"),
    ("conntrack", "conntrack", "ends connections of Services that have moved"),
];
/// What is tried: feature, programs and arguments.
const FEATURES: [(&str, &str); 4] = [
    (
        "network, mount, pid, uts, ipc and cgroup namespaces",
        "exec unshare --net --mount --propagation slave --pid --fork --uts --ipc --cgroup --mount-proc true",
    ),
    ("bridges", "exec unshare --net ip link add skep-check type bridge"),
    ("virtual ethernet pairs", "exec unshare --net ip link add skep-check type veth peer name eth0"),
    (
        "overlay file systems",
        "exec unshare --mount --propagation private sh -ec 'mount -n -t tmpfs skep-check /dev/shm; cd /dev/shm; \
         mkdir lower upper work all; mount -n -t overlay -o lowerdir=lower,upperdir=upper,workdir=work skep-check all'",
    ),
];

impl Local {
    /// Everything that this host lacks for local machines and their nodes; nothing when it can have them. Leaves nothing
    /// behind.
    pub async fn check(settings: &Settings) -> Vec<Error> {
        let mut missing: Vec<Error> = rights().err().into_iter().collect();
        let zones = settings.between_zones.map(|_| ("tc", "iproute2", "makes the way between zones worse"));
        let programs = PROGRAMS.into_iter().chain(NODE_PROGRAMS).chain(zones);
        missing.extend(programs.filter_map(|program| present(program).err()));
        missing.extend(Hierarchies::mounted().and_then(|hierarchies| hierarchies.check()).err());
        // Without rights and programs every attempt would fail, and say less.
        if missing.iter().all(|error| is_of_node(error) || matches!(error, Error::Cgroups { .. })) {
            missing.extend(features(settings).await);
        }
        missing
    }
}

async fn features(settings: &Settings) -> Vec<Error> {
    let hands = Hands::default();
    let mut missing = Vec::new();
    for (feature, script) in FEATURES {
        missing.extend(tried(&hands, feature, script).await.err());
    }
    if settings.between_zones.is_some() {
        missing.extend(zones::check(&hands).await.err());
    }
    missing
}

async fn tried(hands: &Hands, feature: &'static str, script: &str) -> Result<()> {
    let done = hands.run("sh", &["-c", script], "").await;
    done.map(drop).map_err(|error| Error::NoKernelFeature { feature, reason: error.reason() })
}

fn is_of_node(error: &Error) -> bool {
    let of_node = |program: &str| NODE_PROGRAMS.iter().any(|(name, ..)| *name == program);
    matches!(error, Error::NoProgram { program, .. } if of_node(program))
}

fn present((program, package, purpose): (&'static str, &'static str, &'static str)) -> Result<()> {
    let missing =
        || Error::NoProgram { program: program.to_owned(), package, purpose, searched: SEARCHED.join(":") };
    find(program).map(drop).ok_or_else(missing)
}

fn rights() -> Result<()> {
    if !geteuid().is_root() {
        return Err(Error::NotRoot { lacks: format!("runs as user {}", geteuid()) });
    }
    let status = fs::read_to_string("/proc/self/status").map_err(Error::file("read", "/proc/self/status"))?;
    match lacking(&status).as_slice() {
        [] => Ok(()),
        lacking => Err(Error::NotRoot { lacks: format!("is root without {}", lacking.join(", ")) }),
    }
}

/// Capabilities that are not in effect (proc_pid_status(5)).
fn lacking(status: &str) -> Vec<&'static str> {
    let text = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = text.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    CAPABILITIES.iter().filter(|(_, number)| set & (1 << number) == 0).map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_named() {
        assert_eq!(lacking("Name:\tx\nCapEff:\t000001ffffffffff\n"), [""; 0]);
        // What a container usually has.
        assert_eq!(lacking("CapEff:\t00000000a80425fb\n"), ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]);
        assert_eq!(lacking("").len(), CAPABILITIES.len());
    }

    #[tokio::test]
    async fn a_missing_kernel_feature_is_named_with_what_the_kernel_said() {
        let hands = Hands::default();
        tried(&hands, "nothing", "true").await.unwrap();
        // What mount says on a kernel without it.
        let script = "echo 'mount: unknown filesystem type overlay' >&2; exit 32";
        let error = tried(&hands, "overlay file systems", script).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("overlay file systems") && text.contains("unknown filesystem type"), "{text}");
        assert!(!error.help().is_empty() && error.code().number() == 8032);
    }

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let error = present(("no-such-program", "a-package", "is missing")).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("local machines need the program `no-such-program` (is missing)"), "{text}");
        assert_eq!(error.help(), "install it (Debian and Ubuntu: package a-package)");
    }
}
