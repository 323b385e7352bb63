use super::*;
use crate::build::testing::{full_join, host, join};

fn everywhere(program: &str) -> Option<PathBuf> {
    Some(Path::new("/usr/sbin").join(program))
}

#[test]
fn settings_of_the_right_form_pass() {
    let checked = settings(&full_join(), &host(), everywhere).unwrap();
    assert_eq!(checked.gateway, "198.19.3.1:6443");
    assert_eq!(checked.pods.to_string(), "10.244.0.0/16");
    assert_eq!(checked.runtimes["crun"], Path::new("/usr/sbin/crun"));
    assert_eq!(checked.runtimes["runc"], Path::new("/usr/sbin/runc"));
}

#[test]
fn wrong_settings_are_named() {
    let refused = |change: fn(&mut Join, &mut Host)| {
        let (mut join, mut host) = (join(), host());
        change(&mut join, &mut host);
        match settings(&join, &host, everywhere) {
            Err(Error::Settings { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(|join, _| join.cluster.pod_cidr = "10.244".into()), "podCidr");
    assert_eq!(refused(|join, _| join.cluster.server = "http://a:1".into()), "server");
    assert_eq!(refused(|join, _| join.cluster.server = "https://a".into()), "server");
    assert_eq!(refused(|join, _| join.cluster.server = "https://a:1/x:2".into()), "server");
    assert_eq!(refused(|_, host| host.state = "relative".into()), "state");
    assert_eq!(refused(|_, host| host.cgroup_root = "skep/a".into()), "cgroupRoot");
}

#[test]
fn all_missing_programs_are_named_and_only_those_that_are_needed() {
    let none = |_: &str| None;
    let missing = |join: &Join| missing_programs(join, none).join(" ");
    assert_eq!(missing(&join()), "runc ip mount umount conntrack nft");
    let full = "runc ip mount umount conntrack iptables iptables-save iptables-restore bridge crun";
    assert_eq!(missing(&full_join()), full);
    assert_eq!(missing_programs(&join(), |name| (name != "nft").then(PathBuf::new)), ["nft"]);
}

fn kernel() -> Kernel {
    let line = |name: &str| format!("30 29 0:27 / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n");
    Kernel {
        mounts: V1.into_iter().map(line).collect(),
        filesystems: "nodev\tproc\nnodev\toverlay\n".into(),
        ..Kernel::default()
    }
}

#[test]
fn kernels_of_both_kinds_pass() {
    assert_eq!(kernel().missing(), Vec::<String>::new());
    let unified = Kernel {
        mounts: "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw".into(),
        controllers: "cpuset cpu io memory pids\n".into(),
        filesystems: "\text4\n".into(),
        modules: "kernel/fs/overlayfs/overlay.ko.xz:\n".into(),
    };
    assert_eq!(unified.missing(), Vec::<String>::new());
}

#[test]
fn what_a_kernel_lacks_is_named() {
    let bare = Kernel { mounts: kernel().mounts.replace("memory", "freezer"), ..Kernel::default() };
    assert_eq!(bare.missing(), ["cgroup controller memory", "file system overlay"]);
    // The second hierarchy of a machine with the old ones counts for nothing.
    let hybrid = Kernel {
        mounts: "29 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw".into(),
        controllers: "cpuset cpu io memory pids".into(),
        ..kernel()
    };
    assert_eq!(hybrid.missing().len(), V1.len());
}

#[test]
fn this_machine_is_checked_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let host = Host { state: state.clone(), ..host() };
    // Whoever runs this: something of the fictitious machine is missing.
    assert!(preflight(&join(), &host).is_err());
    assert!(!state.exists());
}

#[test]
fn programs_are_found_by_path_and_by_name() {
    assert!(find("sh").is_some());
    assert_eq!(find("/bin/sh"), Some(PathBuf::from("/bin/sh")));
    assert_eq!(find("/bin"), None, "a directory");
    assert_eq!(find("no-such-program-anywhere"), None);
}
