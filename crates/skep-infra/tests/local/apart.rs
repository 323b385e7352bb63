//! A machine is apart from the host and from others.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use skep_infra::{Deleted, Provider as _, State};

use super::harness::*;

const UID: &str = "0b7c3f1e-90ff-4f0e-8a26-2f6b7a1d9f10";

#[tokio::test]
async fn a_machine_has_a_world_of_its_own_and_leaves_none() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    let local = ground.open();
    assert_eq!(local.get(UID).await.unwrap(), None);
    let machine = running(&ground, &local, &order(UID, "node-1", "a")).await;
    assert_eq!(machine.provider_id, format!("skep-local://{}/{UID}", ground.installation()));
    assert_eq!(machine.address, ground.network.net.hosts().nth(1));
    assert_eq!(local.get(UID).await.unwrap(), Some(machine.clone()));

    let first = first_process(&ground, UID);
    for namespace in ["net", "mnt", "pid", "uts", "ipc", "cgroup"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
        assert_ne!(of("self"), of(&first.to_string()), "{namespace}");
    }
    let console = local.console(UID).await.unwrap();
    assert!(console.contains("boot 1 of node-1 as process 1\n"), "{console}");
    let arguments =
        "arguments: node agent --join /run/skep/config/join.json --host /run/skep/config/host.json\n";
    assert!(console.contains(arguments), "{console}");

    // What it was told, and where it finds its programs.
    let config = ground.machine_dir(UID).join("config");
    assert_eq!(fs::metadata(config.join("join.json")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(ground.machine_dir(UID)).unwrap().permissions().mode() & 0o777, 0o700);
    let join: skep_agent::config::Join = read(&config.join("join.json"));
    assert!(join == order(UID, "node-1", "a").join);
    let host: skep_agent::config::Host = read(&config.join("host.json"));
    assert_eq!((Some(host.address), host.interface.as_str()), (machine.address, "eth0"));
    let enter = local.enter(UID).unwrap().unwrap();
    let inside = |command: &str| {
        let args: Vec<&str> = enter[1..].iter().map(String::as_str).chain(["sh", "-c", command]).collect();
        run(&enter[0], &args)
    };
    for programs in [&host.kubernetes, &host.containerd, &host.cni] {
        assert_eq!(inside(&format!("ls {}", programs.display())), "program\n");
    }
    assert_eq!(
        inside("ls /tmp /run /var/log"),
        "/run:\nlock\nof-the-machine\nskep\n\n/tmp:\nof-the-machine\n\n/var/log:\nof-the-machine\n"
    );
    assert_eq!(inside(&format!("ls {}", host.state.display())), "boots\nmount\n");
    assert_eq!(inside("cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/eth0/rp_filter"), "1\n0\n");
    // Nor is the host's list of mounts: that of the machine's own network was below /run.
    let of_host = names_in("/run/netns");
    assert!(of_host.iter().any(|name| name.contains(&ground.installation())), "{of_host:?}");
    let seen = inside("cut -d ' ' -f 5 /proc/self/mountinfo");
    assert!(!seen.contains(&ground.installation()), "{seen}");
    // Descriptors: the three standard ones.
    let open = names_in(format!("/proc/{first}/fd"));
    let what = |fd: &String| fs::read_link(format!("/proc/{first}/fd/{fd}")).unwrap();
    assert_eq!(open.len(), 3, "{:?}", open.iter().map(what).collect::<Vec<_>>());
    for path in ["/tmp", "/run", "/var/log", "/var/lib/skep"].map(|dir| Path::new(dir).join("of-the-machine"))
    {
        assert!(!path.exists(), "{} is the host's", path.display());
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("of-the-machine") && !mounts.contains("skep-run"), "{mounts}");

    // Made once, however often it is wanted.
    assert_eq!(local.ensure(&order(UID, "node-1", "a")).await.unwrap().state, State::Running);
    assert_eq!(first_process(&ground, UID), first);
    delete(&local, UID).await;
    ground.assert_clean();
    assert_eq!(local.delete(UID).await.unwrap(), Deleted::Gone);
    assert_eq!(local.get(UID).await.unwrap(), None);
}

#[tokio::test]
async fn a_machine_has_the_limits_of_its_class_and_all_of_it_is_in_its_groups() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    let local = ground.open();
    running(&ground, &local, &order(UID, "node-1", "a")).await;
    let groups = groups(&ground.installation());
    let values = |file: &str| -> Vec<String> {
        let machine =
            groups.iter().filter(|group| group.ends_with(format!("{}-0b7c3f1e", ground.installation())));
        machine
            .filter_map(|group| fs::read_to_string(group.join(file)).ok())
            .map(|text| text.trim().to_owned())
            .collect()
    };
    // One of both versions has it.
    let one = |v1: &str, v2: &str| [values(v1), values(v2)].concat();
    assert_eq!(one("memory.limit_in_bytes", "memory.max"), ["268435456"]);
    assert_eq!(values("pids.max"), [(4096 + 20 * 1024).to_string()]);
    let cpu = one("cpu.shares", "cpu.max");
    assert!(cpu == ["512"] || cpu == ["50000 100000"], "{cpu:?}");
    let all = processes(&ground.installation());
    let first = first_process(&ground, UID);
    assert!(all.contains(&first), "{all:?}");
    // The program that waits for it, the orphans.
    assert!(all.len() >= 4, "{all:?}");
    let own = fs::read_to_string(format!("/proc/{first}/cgroup")).unwrap();
    let group = format!("{}-0b7c3f1e", ground.installation());
    for line in own.lines() {
        assert!(line.ends_with(&format!(":/skep/{group}/system")), "{line}");
    }
    // Seen from within, the machine's group is all there is.
    let enter = local.enter(UID).unwrap().unwrap();
    let inside = |command: &str| {
        let args: Vec<&str> = enter[1..].iter().map(String::as_str).chain(["sh", "-c", command]).collect();
        run(&enter[0], &args)
    };
    let host: skep_agent::config::Host = read(&ground.machine_dir(UID).join("config/host.json"));
    assert_eq!((host.cgroup_root.as_str(), host.shared), ("/", true));
    let own = inside("cat /proc/1/cgroup");
    assert!(own.lines().count() > 0 && own.lines().all(|line| line.ends_with(":/system")), "{own}");
    let mounts = inside("grep ' - cgroup' /proc/self/mountinfo");
    let roots: Vec<_> = mounts.lines().filter_map(|line| line.split(' ').nth(3)).collect();
    assert!(!roots.is_empty() && roots.iter().all(|root| *root == "/"), "{mounts}");
    let limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null || :";
    assert_eq!(inside(limit), "268435456\n");
    assert!(!mounts.contains(&group), "{mounts}");
    delete(&local, UID).await;
    ground.assert_clean();
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}
