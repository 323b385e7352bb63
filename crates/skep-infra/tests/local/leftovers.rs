//! What others left, and what is not ours.

use std::{
    fs,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use skep_infra::{
    Error, Provider as _, State,
    local::{Local, Settings, Steps},
};

use super::harness::*;

#[tokio::test]
async fn a_machine_whose_record_somebody_removed_is_swept() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    let local = ground.open();
    running(&ground, &local, &order("m1", "node-1", "a")).await;
    running(&ground, &local, &order("m2", "node-2", "a")).await;
    let survivor = first_process(&ground, "m2");
    fs::remove_dir_all(ground.machine_dir("m1")).unwrap();
    fs::create_dir(ground.data().join("machines/.new-m3")).unwrap();
    assert_eq!(local.sweep().await.unwrap(), 1);
    assert_eq!(local.get("m1").await.unwrap(), None);
    assert_eq!(local.get("m2").await.unwrap().unwrap().state, State::Running);
    assert_eq!(first_process(&ground, "m2"), survivor);
    assert_eq!(names_in(ground.data().join("machines")), ["m2"]);
    delete(&local, "m2").await;
    ground.assert_clean();
    assert_eq!(local.sweep().await.unwrap(), 0);
}

/// Another process writes down which process it has started only after that process is in the machine's groups.
#[tokio::test]
async fn a_start_that_was_never_written_down_is_ended_before_the_next() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    let local = ground.open();
    let order = order("m1", "node-1", "a");
    running(&ground, &local, &order).await;
    let unknown = first_process(&ground, "m1");
    let pid = ground.machine_dir("m1").join("pid.json");
    fs::remove_file(&pid).unwrap();
    running(&ground, &local, &order).await;
    assert!(!processes(&ground.installation()).contains(&unknown));
    // A number that another process has now: only its start time says so.
    let text = fs::read_to_string(&pid).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["pid"] = std::process::id().into();
    fs::write(&pid, value.to_string()).unwrap();
    assert_eq!(local.get("m1").await.unwrap().unwrap().state, State::Stopped);
    delete(&local, "m1").await;
    ground.assert_clean();
}

/// Does what is asked for once, a moment before it: as a program does that a process had started which was killed.
struct ComesFirst {
    what: &'static str,
    done: AtomicBool,
}

impl Steps for ComesFirst {
    fn before(&self, step: &str) -> Result<(), Error> {
        if step.contains(self.what) && !self.done.swap(true, Ordering::SeqCst) {
            let mut words = step.split(' ');
            let status = Command::new(words.next().unwrap()).args(words).status().unwrap();
            assert!(status.success(), "{step}");
        }
        Ok(())
    }
}

#[tokio::test]
async fn what_a_killed_process_had_made_late_is_made_anew() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    for what in ["type bridge", "address add", "netns add", "type veth"] {
        let late = Arc::new(ComesFirst { what, done: AtomicBool::new(false) });
        let local = Local::open(Settings { steps: Some(late.clone()), ..ground.settings() }).unwrap();
        running(&ground, &local, &order("m1", "node-1", "a")).await;
        assert!(late.done.load(Ordering::SeqCst), "{what}");
        delete(&local, "m1").await;
        ground.assert_clean();
    }
}

#[tokio::test]
async fn a_mount_of_somebody_else_is_not_emptied() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    let local = ground.open();
    running(&ground, &local, &order("m1", "node-1", "a")).await;
    let precious = ground.dir().join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "kept").unwrap();
    let at = ground.machine_dir("m1").join("own/tmp");
    run("mount", &["-n", "--bind", &precious.to_string_lossy(), &at.to_string_lossy()]);
    delete(&local, "m1").await;
    assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "kept");
    ground.assert_clean();
}

#[tokio::test]
async fn a_bridge_of_somebody_else_is_left_alone() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    let local = ground.open();
    run("ip", &["link", "add", "name", &ground.network.bridge, "type", "bridge"]);
    let error = local.ensure(&order("m1", "node-1", "a")).await.unwrap_err();
    assert!(matches!(error, Error::NetworkInUse { .. }), "{error}");
    assert_eq!(error.code().to_string(), "SKEP-8036");
    let state = local.get("m1").await.unwrap().unwrap().state;
    assert_eq!(state, State::Starting("it was not started yet".to_owned()));
    delete(&local, "m1").await;
    assert_eq!(ground.remains(), [format!("interface {}", ground.network.bridge)]);
    run("ip", &["link", "delete", "dev", &ground.network.bridge]);
}
