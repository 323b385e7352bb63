//! The lower layer: hygiene of what is started, exit codes, adoption, leftovers.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use skep_vnode::process::{
    Exit, Marker, Process, Signal, Spawn, StopPlan, Stream, marker, procfs, stop, stop_in_order, sweep,
};

fn instance(name: &str) -> Marker {
    Marker::new(&format!("test-{name}-{}", std::process::id()))
}

fn shell(script: &str, marker: &Marker) -> Spawn {
    Spawn::new("/bin/sh", marker).args(["-c", script])
}

async fn output(script: &str, marker: &Marker, dir: &Path) -> (Exit, String) {
    let file = dir.join("out");
    let process = shell(script, marker)
        .stdout(Stream::Append(file.clone()))
        .stderr(Stream::SameAsOutput)
        .start()
        .unwrap();
    let exit = process.wait().await;
    (exit, std::fs::read_to_string(file).unwrap())
}

/// Waits for something that is certain to happen; fails the test when it does not.
async fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(value) = probe() {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"))
}

fn number_in(path: &Path) -> Option<i32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[tokio::test]
async fn a_process_starts_with_nothing_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    // A descriptor that std does not mark: it would be inherited.
    let leak = rustix::io::dup(std::fs::File::open("/etc/passwd").unwrap()).unwrap();
    assert!(leak.as_raw_fd() > 2);
    let script = "env; echo \"fds: $(ls /proc/$$/fd | tr '\\n' ' ')\"; echo \"umask: $(umask)\"; \
                  echo \"core: $(ulimit -Hc)\"; grep NoNewPrivs /proc/self/status; echo \"in: $(readlink /proc/$$/fd/0)\"; \
                  read pid comm state ppid pgrp session rest < /proc/$$/stat; echo \"own: $(($$ - pgrp)) $(($$ - session))\"";
    let (exit, text) = output(script, &instance("clean"), dir.path()).await;
    assert_eq!(exit, Exit::Code(0), "{text}");
    for line in ["fds: 0 1 2", "umask: 0022", "core: 0", "NoNewPrivs:\t1", "in: /dev/null", "own: 0 0"] {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
    let allowed = ["SKEP_CONTAINER=", "PWD=", "SHLVL=", "_=", "OLDPWD="];
    let foreign: Vec<&str> = text
        .lines()
        .take_while(|l| !l.starts_with("fds:"))
        .filter(|l| !allowed.iter().any(|a| l.starts_with(a)))
        .collect();
    assert_eq!(foreign, Vec::<&str>::new());
}

#[tokio::test]
async fn ignored_signals_are_not_inherited() {
    let dir = tempfile::tempdir().unwrap();
    let (_, text) = output("grep SigIgn /proc/self/status", &instance("signals"), dir.path()).await;
    assert_eq!(text.split_whitespace().last(), Some("0000000000000000"));
}

#[tokio::test]
async fn exit_codes_and_signals() {
    let marker = instance("codes");
    assert_eq!(shell("exit 7", &marker).start().unwrap().wait().await, Exit::Code(7));
    assert_eq!(shell("kill -9 $$", &marker).start().unwrap().wait().await, Exit::Signal(9));
    let error = Spawn::new("/no/such/program", &marker).start().err().unwrap().to_string();
    assert!(error.contains("/no/such/program") && error.contains("No such file"), "{error}");
}

#[tokio::test]
async fn several_may_wait_and_waiting_can_be_given_up() {
    let process = shell("read x", &instance("wait")).stdin(Stream::Fd(std::io::pipe().unwrap().0.into()));
    let process = process.start().unwrap();
    let exit = process.wait().await;
    assert_eq!((exit, process.wait().await, process.exit()), (Exit::Code(1), exit, Some(exit)));
    let process = shell("sleep 1000", &instance("wait")).start().unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(20), process.wait()).await.is_err());
    process.kill().unwrap();
    assert_eq!(process.wait().await, Exit::Signal(9));
}

#[tokio::test]
async fn what_is_left_in_the_group_ends_with_the_leader() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}", file.display());
    shell(&script, &instance("group")).start().unwrap().wait().await;
    let left = number_in(&file).unwrap();
    eventually("the background process ends", || {
        procfs::stat(left).is_none_or(|s| s.is_zombie()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_daemon_outside_the_group_and_a_deaf_process_are_found_and_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, ready) = (dir.path().join("daemon"), dir.path().join("ready"));
    let marker = instance("daemon");
    let script = format!(
        "trap '' TERM; setsid sh -c 'echo $$ > {}; exec sleep 1000' & while ! [ -s {} ]; do sleep 0.01; done; touch {}; while true; do sleep 1; done",
        daemon.display(),
        daemon.display(),
        ready.display()
    );
    let process = shell(&script, &marker).start().unwrap();
    eventually("the daemon runs", || ready.exists().then_some(())).await;
    let daemon = number_in(&daemon).unwrap();
    assert_ne!(procfs::stat(daemon).unwrap().session, process.pid());
    let exit = stop(&process, &marker, StopPlan::term(Duration::from_millis(50))).await;
    assert_eq!(exit, Exit::Signal(9));
    assert!(procfs::stat(daemon).is_none_or(|s| s.is_zombie()));
    assert_eq!(marker::find(&marker).unwrap(), []);
}

#[tokio::test]
async fn a_session_member_that_hides_its_environment_is_killed_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let marker = instance("hidden");
    // Its own group (so the group kill misses it), no environment (so the marker misses it), same session.
    let script = format!(
        "set -m; env -i sh -c 'echo $$ > {}; exec sleep 1000' & while ! [ -s {} ]; do sleep 0.01; done; exec sleep 1000",
        file.display(),
        file.display()
    );
    let process = shell(&script, &marker).start().unwrap();
    let hidden = eventually("it runs", || number_in(&file)).await;
    assert_eq!(procfs::stat(hidden).unwrap().session, process.pid());
    stop(&process, &marker, StopPlan::term(Duration::from_secs(5))).await;
    assert!(procfs::stat(hidden).is_none_or(|s| s.is_zombie()));
}

/// Starts a process that is not our child: its parent has gone.
async fn orphan(script: &str, marker: &Marker) -> Process {
    let wrapper = format!("({script}) & exit 0");
    shell(&wrapper, marker).keep_group().start().unwrap().wait().await;
    let found =
        eventually("the orphan is found by its marker", || marker::find(marker).unwrap().into_iter().next())
            .await;
    Process::adopt(&found.id).unwrap().unwrap()
}

#[tokio::test]
async fn adoption_of_somebody_elses_process() {
    let dir = tempfile::tempdir().unwrap();
    let marker = instance("adopt");
    let gate = dir.path().join("gate");
    let process =
        orphan(&format!("while ! [ -e {} ]; do sleep 0.01; done; exit 5", gate.display()), &marker).await;
    let record = serde_json::to_string(process.id()).unwrap();
    let again = Process::adopt(&serde_json::from_str(&record).unwrap()).unwrap().unwrap();
    std::fs::write(&gate, "").unwrap();
    let exit = again.wait().await;
    // Kernels before 6.15 may have lost it.
    assert!(matches!(exit, Exit::Code(5) | Exit::Unknown), "{exit:?}");
    assert!(Process::adopt(process.id()).unwrap().is_none());
}

#[tokio::test]
async fn a_reused_number_is_not_adopted() {
    let process = shell("sleep 1000", &instance("reuse")).start().unwrap();
    let mut other = process.id().clone();
    other.start_ticks += 1;
    assert!(Process::adopt(&other).unwrap().is_none());
    let mut boot = process.id().clone();
    boot.boot = "another boot".into();
    assert!(Process::adopt(&boot).unwrap().is_none());
    // Our own child is adopted as a child: its exit code is known whatever the kernel.
    let again = Process::adopt(process.id()).unwrap().unwrap();
    process.signal(Signal::TERM).unwrap();
    drop(process);
    assert!(matches!(again.wait().await, Exit::Signal(15) | Exit::Unknown));
}

#[tokio::test]
async fn nothing_stays_in_the_process_table_when_nobody_waits() {
    let process = shell("exit 0", &instance("drop")).start().unwrap();
    let pid = process.pid();
    drop(process);
    eventually("it is reaped", || procfs::stat(pid).is_none().then_some(())).await;
}

#[tokio::test]
async fn sweeping_an_instance_and_ordered_stop() {
    let root = instance("sweep");
    let (a, b) = (root.join("node").join("a"), root.join("node").join("b"));
    let first = shell("exec sleep 1000", &a).start().unwrap();
    let second = shell("exec sleep 1000", &b).start().unwrap();
    assert_eq!(marker::find(&root).unwrap().len(), 2);
    let plan = StopPlan::term(Duration::from_secs(10));
    let exits = stop_in_order([(first, a.clone(), plan), (second, b, plan)]).await;
    assert_eq!(exits, [Exit::Signal(15), Exit::Signal(15)]);
    let third = shell("exec sleep 1000", &a).start().unwrap();
    assert_eq!(sweep(&root, None).await, 1);
    assert_eq!(third.wait().await, Exit::Signal(9));
}
