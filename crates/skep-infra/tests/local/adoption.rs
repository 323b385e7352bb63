//! Machines outlive the process that made them, and the next one finds them.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use skep_infra::{Error, Provider as _, State, local::Local};
use tokio::time::timeout;

use super::harness::*;

/// Tells the child that it is one, and where.
const CHILD: &str = "SKEP_INFRA_TEST_CHILD";

#[tokio::test]
async fn a_machine_is_adopted_by_the_next_process() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    let local = ground.open();
    let order = order("m1", "node-1", "a");
    let machine = running(&ground, &local, &order).await;
    let first = first_process(&ground, "m1");
    let Err(error) = Local::open(ground.settings()) else { panic!("two at once") };
    assert!(matches!(error, Error::Locked { pid, .. } if pid == std::process::id()), "{error}");
    drop(local);

    let next = ground.open();
    assert_eq!(next.get("m1").await.unwrap().unwrap(), machine);
    assert_eq!(next.ensure(&order).await.unwrap(), machine);
    assert_eq!(first_process(&ground, "m1"), first);
    assert_eq!(next.sweep().await.unwrap(), 0);
    assert_eq!(next.get("m1").await.unwrap().unwrap().state, State::Running);
    // The next one is told of its end as well.
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    assert_eq!(timeout(LONG, next.ended()).await.unwrap(), "m1");
    assert_eq!(next.get("m1").await.unwrap().unwrap().state, State::Stopped);
    delete(&next, "m1").await;
    ground.assert_clean();
}

/// Not a test: what the test below kills. Makes one machine after the other and says so.
#[tokio::test]
async fn child() {
    let Ok(number) = std::env::var(CHILD) else { return };
    let ground = Ground::of(&std::env::current_dir().unwrap(), number.parse().unwrap());
    let local = ground.open();
    println!("\nopened");
    for number in 0..100 {
        local.ensure(&order(&format!("m{number}"), &format!("node-{number}"), "a")).await.unwrap();
        println!("\nmade {number}");
    }
}

#[tokio::test]
async fn machines_survive_a_kill_at_any_moment() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    // Milliseconds into the making of the second machine.
    for pause in [0, 15, 40, 70, 100, 140, 200] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "adoption::child", "--nocapture"])
            .env(CHILD, ground.network.gateway().octets()[2].to_string())
            .current_dir(ground.dir())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Open until the child is killed, or it ends by writing to nobody.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "made 0"), "it ended");
        let first = first_process(&ground, "m0");
        tokio::time::sleep(Duration::from_millis(pause)).await;
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));

        let local = ground.open();
        assert_eq!(local.get("m0").await.unwrap().unwrap().state, State::Running);
        assert_eq!(first_process(&ground, "m0"), first);
        let machines = [0, 1].map(|number| order(&format!("m{number}"), &format!("node-{number}"), "a"));
        for machine in &machines {
            assert_eq!(local.ensure(machine).await.unwrap().state, State::Running);
        }
        assert_eq!(first_process(&ground, "m0"), first, "it was made anew");
        for uid in names_in(ground.data().join("machines")).iter().filter(|name| !name.starts_with('.')) {
            delete(&local, uid).await;
        }
        local.sweep().await.unwrap();
        ground.assert_clean();
    }
}
