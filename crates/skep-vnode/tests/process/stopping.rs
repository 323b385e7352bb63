//! Ending pods: polite, deaf, forking, and all of a node at once.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use skep_vnode::backend::{BackendError, HaltStage, PodBackend, PodLifecycle};
use skep_vnode::process::{Marker, Timings, marker, procfs};

use crate::harness::*;

#[tokio::test]
async fn a_polite_container_ends_by_itself() {
    let node = Node::new();
    let ready = node.sign("ready");
    let text = format!(
        "trap 'echo bye > /dev/termination-log; exit 7' TERM; echo 1 > {}; while true; do sleep 0.02; done",
        ready.display()
    );
    let uid = node.up(&script("polite", &text)).await;
    file(&ready).await;
    let status = node.remove(&uid, Duration::from_secs(20)).await;
    assert_eq!(state(only(&status)), "terminated Error 7: bye\n");
    node.event("Killing", "Stopping container c").await;
    node.end().await;
}

#[tokio::test]
async fn a_deaf_container_and_its_daemons_are_killed() {
    let node = Node::new();
    let (daemon, ready) = (node.sign("daemon"), node.sign("ready"));
    let text = format!(
        "trap '' TERM; setsid sh -c 'trap \"\" TERM HUP; echo $$ > {}; while true; do sleep 1; done' & \
         while ! [ -s {} ]; do sleep 0.01; done; echo 1 > {}; while true; do sleep 1; done",
        daemon.display(),
        daemon.display(),
        ready.display()
    );
    let uid = node.up(&script("deaf", &text)).await;
    file(&ready).await;
    let daemon: i32 = file(&daemon).await.trim().parse().unwrap();
    let status = node.remove(&uid, Duration::ZERO).await;
    assert_eq!(state(only(&status)), "terminated Error 137: ");
    assert!(procfs::stat(daemon).is_none_or(|s| s.is_zombie()));
    node.end().await;
}

#[tokio::test]
async fn what_a_container_leaves_behind_is_gone_before_it_is_restarted() {
    let node = Node::new();
    let pids = node.sign("pids");
    let text = format!(
        "setsid sh -c 'echo $$ >> {}; exec sleep 1000' & while ! [ -s {0} ]; do sleep 0.01; done; exit 1",
        pids.display()
    );
    let uid = node.sync(&script("leaver", &text));
    node.until(&uid, "restarted", |s| only(s).restart_count >= 1 && !state(only(s)).starts_with("running"))
        .await;
    for pid in std::fs::read_to_string(&pids).unwrap().lines() {
        assert!(procfs::stat(pid.parse().unwrap()).is_none_or(|s| s.is_zombie()));
    }
    node.end().await;
}

#[tokio::test]
async fn patience_can_be_shortened_and_a_slow_hook_does_not_stretch_it() {
    let node = Node::new();
    let ready = node.sign("ready");
    let mut c = container(
        "c",
        &format!("trap '' TERM; echo 1 > {}; while true; do sleep 0.05; done", ready.display()),
    );
    c["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 1000}}});
    let uid = node.up(&pod("slow", json!({"containers": [c]}))).await;
    file(&ready).await;
    node.backend.stop_pod(&uid, Duration::from_secs(1000)).unwrap();
    node.until(&uid, "stopping", |s| s.lifecycle == PodLifecycle::Stopping).await;
    let status = node.remove(&uid, Duration::from_millis(50)).await;
    assert_eq!(state(only(&status)), "terminated Error 137: ");
    node.end().await;
}

#[tokio::test]
async fn a_pod_is_stopped_before_it_has_started() {
    let node = Node::new();
    let spec = json!({"volumes": [{"name": "v", "secret": {"secretName": "never"}}], "containers": [container("c", "sleep 1000")]});
    let uid = node.sync(&pod("early", spec));
    node.event("FailedMount", "").await;
    let status = node.remove(&uid, Duration::from_secs(20)).await;
    assert_eq!(state(only(&status)), "waiting ContainerCreating: ");
    let uid = node.sync(&script("backoff", "exit 1"));
    node.until(&uid, "backs off", is("waiting CrashLoopBackOff")).await;
    let status = node.remove(&uid, Duration::from_secs(20)).await;
    assert_eq!(state(only(&status)), "terminated Error 1: ");
    node.end().await;
}

#[tokio::test]
async fn another_stop_signal() {
    let node = Node::new();
    let ready = node.sign("ready");
    let text = format!(
        "trap 'exit 5' USR1; trap '' TERM; echo 1 > {}; while true; do sleep 0.02; done",
        ready.display()
    );
    let mut c = container("c", &text);
    c["lifecycle"] = json!({"stopSignal": "SIGUSR1"});
    let uid = node.up(&pod("signal", json!({"containers": [c]}))).await;
    file(&ready).await;
    let status = node.remove(&uid, Duration::from_secs(20)).await;
    assert_eq!(state(only(&status)), "terminated Error 5: ");
    node.end().await;
}

#[tokio::test]
async fn a_halted_node_goes_on_where_it_was() {
    let mut node = Node::new();
    let file = node.sign("diary");
    let pod_of = |name: &str, rank: &str| {
        let text = format!(
            "trap 'sleep 0.1; echo {name} stops >> {0}; exit 0' TERM; echo {name} >> {0}; while true; do sleep 0.02; done",
            file.display()
        );
        let mut pod = script(name, &text);
        pod.metadata.labels = Some([("rank".to_owned(), rank.to_owned())].into());
        pod
    };
    let pods = [pod_of("late", "2"), pod_of("first", "1")];
    let mut uids = Vec::new();
    for pod in &pods {
        uids.push(node.up(pod).await);
        let speaks =
            |_: &_| std::fs::read_to_string(&file).is_ok_and(|text| text.lines().count() == uids.len());
        node.until(&uids[0], "it speaks", speaks).await;
    }
    let before = node.backend.status(&uids[0]).unwrap();
    let first: fn(&Pod) -> bool = |pod| pod.metadata.labels.as_ref().unwrap()["rank"] == "1";
    for pods in [first, |_| true] {
        node.backend.halt(&HaltStage { pods, grace: Duration::from_secs(20) }).await;
    }
    assert_eq!(marker::find(&Marker::new(&node.instance)).unwrap(), []);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.ends_with("first stops\nlate stops\n"), "{text}");
    assert_eq!(node.backend.status(&uids[0]).unwrap(), before, "nobody is told");
    node.backend.release().await;

    node.backend = backend(&node.dir.path().join("data"), &node.instance);
    let mut recovered = node.backend.recover().await.unwrap();
    recovered.sort_by_key(|pod| pod.uid.clone());
    assert_eq!(recovered.iter().map(|p| p.running).collect::<Vec<_>>(), [0, 0]);
    assert_eq!(recovered[0].pod.spec, pods[1].spec);
    for pod in &pods {
        let uid = node.up(pod).await;
        assert_eq!(only(&node.backend.status(&uid).unwrap()).restart_count, 1);
    }
    node.end().await;
}

#[tokio::test]
async fn halts_and_ends_that_nobody_saw_are_no_crashes() {
    // Whoever waits for a back-off here waits longer than the test.
    let hour = Duration::from_secs(3600);
    let timings = Timings { backoff: hour, backoff_longest: hour, ..quick() };
    let mut node = Node::with(timings, Arc::new(Images));
    let pod = script("steady", "exec sleep 1000");
    let uid = node.up(&pod).await;
    for round in 1..=6 {
        if round % 2 == 0 {
            node.backend.halt(&HaltStage { pods: |_| true, grace: Duration::from_secs(20) }).await;
            node.backend.release().await;
        } else {
            let pids: Vec<i32> = marker::find(&Marker::new(&node.instance))
                .unwrap()
                .iter()
                .map(|found| found.id.pid)
                .collect();
            node.backend.release().await;
            kill_all(&node.instance);
            // They are this process's children here: until they are reaped they can be adopted.
            let reaped = async {
                while pids.iter().any(|pid| procfs::stat(*pid).is_some()) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), reaped).await.unwrap();
        }
        let data = node.dir.path().join("data");
        node.backend = backend_with(&data, &node.instance, timings, Arc::new(Images));
        assert_eq!(node.backend.recover().await.unwrap()[0].running, 0);
        assert!(!only(&node.backend.status(&uid).unwrap()).ready, "round {round}: ready without a process");
        node.up(&pod).await;
        assert_eq!(only(&node.backend.status(&uid).unwrap()).restart_count, round);
    }
    node.end().await;
}

#[tokio::test]
async fn a_pod_has_not_stopped_while_something_is_written_into_its_directory() {
    let node = Node::new();
    node.objects.map("m", &[("key", "value")]);
    let volumes = json!([{"name": "v", "configMap": {"name": "m"}}]);
    let spec = json!({"volumes": volumes, "containers": [container("c", "exec sleep 1000")]});
    let pod = pod("update", spec);
    let uid = node.up(&pod).await;
    // An update reads what is there first, and this is not read to its end before we let it.
    let file = node.dir.path().join("data/pods/uid-update/volumes/v/..data/key");
    std::fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let mut held = std::fs::OpenOptions::new().read(true).write(true).open(&file).unwrap();
    std::io::Write::write_all(&mut held, b"x").unwrap();
    node.sync(&pod);
    node.until(&uid, "the update is under way", |_| rustix::io::ioctl_fionread(&held).unwrap() == 0).await;

    node.backend.stop_pod(&uid, Duration::from_secs(20)).unwrap();
    let status = node.until(&uid, "its container has ended", is("terminated")).await;
    assert_eq!(status.lifecycle, PodLifecycle::Stopping);
    let refused = node.backend.remove_pod(&uid).await;
    assert!(matches!(refused, Err(BackendError::StillRunning(_))), "{refused:?}");
    drop(held);
    node.until(&uid, "stopped", |status| status.lifecycle == PodLifecycle::Stopped).await;
    node.backend.remove_pod(&uid).await.unwrap();
    node.backend.remove_pod(&uid).await.unwrap();
    node.end().await;
}

#[tokio::test]
async fn a_removal_that_failed_can_be_tried_again() {
    let node = Node::new();
    let uid = node.up(&script("again", "exec sleep 1000")).await;
    let pods = node.dir.path().join("data/pods");
    node.backend.stop_pod(&uid, Duration::from_secs(20)).unwrap();
    node.until(&uid, "stopped", |status| status.lifecycle == PodLifecycle::Stopped).await;
    // A file where the directory of all pods should be: nothing can be deleted there, whoever asks.
    let aside = node.dir.path().join("aside");
    std::fs::rename(&pods, &aside).unwrap();
    std::fs::write(&pods, "").unwrap();
    assert!(node.backend.remove_pod(&uid).await.is_err());
    std::fs::remove_file(&pods).unwrap();
    std::fs::rename(&aside, &pods).unwrap();
    assert!(node.backend.status(&uid).is_some(), "it is still known");
    node.backend.remove_pod(&uid).await.unwrap();
    assert!(node.backend.status(&uid).is_none());
    node.end().await;
}
