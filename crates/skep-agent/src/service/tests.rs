use std::{
    fs,
    os::{linux::net::SocketAddrExt, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use tokio::{net::TcpListener, time::timeout};

use super::{health::Check, *};
use crate::events::Changes;

const PATIENCE: Duration = Duration::from_secs(60);

/// What scripts run as `say_ready`: this very program, with this test alone.
#[test]
fn says_ready() {
    let Ok(name) = std::env::var("NOTIFY_SOCKET") else { return };
    let Some(name) = name.strip_prefix('@') else { return };
    let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
    socket.connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap()).unwrap();
    socket.send(b"READY=1").unwrap();
}

/// A program made of a line of shell; `say_ready` tells whoever started it.
fn program(dir: &Path, script: &str) -> Program {
    let path = dir.join("program");
    let this = std::env::current_exe().unwrap();
    let ready =
        format!("say_ready() {{ {} --exact service::tests::says_ready >/dev/null; }}", this.display());
    fs::write(&path, format!("#!/bin/sh\n{ready}\ncd {}\n{script}\n", dir.display())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Program {
        name: "program",
        path,
        arguments: Vec::new(),
        environment: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
        log: dir.join("log"),
        ready: Ready::Notified(PATIENCE),
        health: None,
        grace: PATIENCE,
        before: None,
    }
}

/// Waits until a file has these lines.
async fn lines(path: PathBuf, expected: &[&str]) {
    let mut changes = Changes::of(path.parent().unwrap()).unwrap();
    let all = async {
        while fs::read_to_string(&path).unwrap_or_default().lines().collect::<Vec<_>>() != expected {
            changes.next().await.unwrap();
        }
    };
    timeout(PATIENCE, all).await.unwrap_or_else(|_| panic!("{:?}", fs::read_to_string(&path)));
}

#[tokio::test]
async fn ready_is_what_a_program_says_and_a_stop_is_polite() {
    let dir = tempfile::tempdir().unwrap();
    let script =
        "trap 'echo end >> told; exit 0' TERM; echo start >> told; say_ready; while :; do sleep 0.05; done";
    let service = Service::start(Children::new().unwrap(), program(dir.path(), script));
    timeout(PATIENCE, service.ready()).await.unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("told")).unwrap(), "start\n");
    timeout(PATIENCE, service.stop()).await.unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("told")).unwrap(), "start\nend\n");
}

#[tokio::test]
async fn a_program_that_ends_is_started_again_and_its_step_before_is_repeated() {
    let dir = tempfile::tempdir().unwrap();
    static STARTS: AtomicU32 = AtomicU32::new(0);
    let mut program = program(
        dir.path(),
        "echo start >> told; [ $(wc -l < told) -lt 3 ] && exit 3; say_ready; exec sleep 600",
    );
    program.before = Some(Arc::new(|| {
        STARTS.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }));
    let service = Service::start(Children::new().unwrap(), program);
    timeout(PATIENCE, service.ready()).await.unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("told")).unwrap(), "start\n".repeat(3));
    assert_eq!(STARTS.load(Ordering::Relaxed), 3);
    service.stop().await;
}

#[tokio::test]
async fn a_program_that_never_gets_ready_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = program(
        dir.path(),
        "echo start >> told; [ $(wc -l < told) -lt 2 ] && exec sleep 600; say_ready; exec sleep 600",
    );
    program.ready = Ready::Notified(Duration::from_secs(3));
    let service = Service::start(Children::new().unwrap(), program);
    timeout(PATIENCE, service.ready()).await.unwrap();
    service.stop().await;
}

#[tokio::test]
async fn a_program_that_does_not_answer_says_where_it_hangs_and_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    // Accepts and never answers.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut program = program(
        dir.path(),
        "trap 'echo stacks >> told; exit 2' QUIT; echo start >> told; while :; do sleep 0.05; done",
    );
    program.ready = Ready::Started;
    let short = Duration::from_millis(200);
    let check = Check::Healthz(deaf.local_addr().unwrap());
    // Time enough for a shell to come to its trap.
    let quiet = Duration::from_secs(2);
    program.health = Some(Health { check, quiet, period: short, patience: short });
    let service = Service::start(Children::new().unwrap(), program);
    let told = dir.path().join("told");
    let mut changes = Changes::of(dir.path()).unwrap();
    let again = async {
        // One that is asked before it could say that it listens ends without a word, and is started again as well.
        while !fs::read_to_string(&told).unwrap_or_default().contains("start\nstacks\nstart\n") {
            changes.next().await.unwrap();
        }
    };
    timeout(PATIENCE, again).await.unwrap();
    service.stop().await;
}

#[tokio::test]
async fn a_program_that_ignores_the_polite_signal_ends_after_its_grace() {
    let dir = tempfile::tempdir().unwrap();
    let mut program =
        program(dir.path(), "trap '' TERM; say_ready; echo up >> told; while :; do sleep 1; done");
    program.grace = Duration::from_millis(100);
    let service = Service::start(Children::new().unwrap(), program);
    service.ready().await;
    lines(dir.path().join("told"), &["up"]).await;
    timeout(PATIENCE, service.stop()).await.unwrap();
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_tried_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let program = program(dir.path(), "say_ready; exec sleep 600");
    fs::rename(&program.path, dir.path().join("away")).unwrap();
    let service = Service::start(Children::new().unwrap(), program.clone());
    let down = service.state.clone().wait_for(|state| *state == State::Down).await.map(drop);
    down.unwrap();
    fs::rename(dir.path().join("away"), &program.path).unwrap();
    timeout(PATIENCE, service.ready()).await.unwrap();
    service.stop().await;
}

#[tokio::test]
async fn a_runtime_that_is_not_there_is_not_well() {
    let dir = tempfile::tempdir().unwrap();
    assert!(cri::list_sandboxes(&dir.path().join("socket")).await.is_err());
}
