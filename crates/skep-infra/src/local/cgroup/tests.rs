use std::fs;

use super::{hierarchy::Hierarchy, *};

const LAUNCH: &str = include_str!("../launch/settle.sh");
const LIMITS: Limits = Limits { cpu_milli: 1500, memory_bytes: 1 << 30, pids: 5000 };

fn hierarchy(root: &Path, unified: bool) -> Hierarchy {
    Hierarchy { root: root.to_owned(), unified, controllers: Default::default() }
}

/// In a directory that is no cgroup no files appear by themselves: what the kernel makes is made first.
fn kernel_makes(root: &Path, groups: &[&str], files: &[&str]) {
    for group in groups {
        fs::create_dir_all(root.join(group)).unwrap();
        for file in files {
            fs::write(root.join(group).join(file), "").unwrap();
        }
    }
}

#[test]
fn limits_reach_the_files_that_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let groups = ["", "skep", "skep/x", "skep/x/system"];
    kernel_makes(dir.path(), &groups, &["cpuset.cpus", "cpuset.mems", "memory.limit_in_bytes", "cpu.shares"]);
    fs::write(dir.path().join("cpuset.cpus"), "0-3\n").unwrap();
    fs::write(dir.path().join("cpuset.mems"), "0\n").unwrap();
    let all = Hierarchies::of(vec![hierarchy(dir.path(), false)]);
    all.make(&Hands::default(), "skep/x", LIMITS).unwrap();
    let read = |file: &str| fs::read_to_string(dir.path().join(file)).unwrap();
    assert_eq!(read("skep/x/memory.limit_in_bytes"), "1073741824");
    assert_eq!(read("skep/x/cpu.shares"), "1536");
    assert_eq!(read("skep/memory.limit_in_bytes"), "", "the parent is not limited");
    assert_eq!((read("skep/x/system/cpuset.cpus"), read("skep/cpuset.mems")), ("0-3".into(), "0".into()));
    assert!(!dir.path().join("skep/x/pids.max").exists());
    assert!(LAUNCH.contains(&format!("/{LEAF}/cgroup.procs")), "the machine's programs go there");
}

#[test]
fn version_two_hands_controllers_on_to_the_machine_which_hands_them_on_itself() {
    let dir = tempfile::tempdir().unwrap();
    let groups = ["", "skep", "skep/x", "skep/x/system"];
    kernel_makes(
        dir.path(),
        &groups,
        &["cgroup.controllers", "cgroup.subtree_control", "cpuset.cpus", "cpu.max"],
    );
    for group in groups {
        fs::write(dir.path().join(group).join("cgroup.controllers"), "cpu misc\n").unwrap();
    }
    let all = Hierarchies::of(vec![hierarchy(dir.path(), true)]);
    all.make(&Hands::default(), "skep/x", LIMITS).unwrap();
    let read = |file: &str| fs::read_to_string(dir.path().join(file)).unwrap();
    for group in ["", "skep/"] {
        assert_eq!(read(&format!("{group}cgroup.subtree_control")), "+cpu", "{group}");
    }
    for group in ["skep/x", "skep/x/system"] {
        assert_eq!(read(&format!("{group}/cgroup.subtree_control")), "", "it holds processes");
    }
    assert_eq!(read("skep/x/cpu.max"), "150000 100000");
    assert_eq!(read("skep/x/cpuset.cpus"), "", "empty means the parent's");
}
