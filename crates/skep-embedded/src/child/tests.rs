use std::{fs, os::unix::fs::PermissionsExt};

use skep_vnode::process::Signal;

use super::*;
use crate::Layout;

struct Bench {
    dir: tempfile::TempDir,
    context: Context,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::resolve(Some(&dir.path().join("data"))).unwrap();
        layout.prepare().unwrap();
        let records = Arc::new(StateFile::open(&layout).unwrap());
        records.update(|_| {}).unwrap();
        let context = Context {
            instance: Marker::new(&records.get().instance),
            records,
            board: Board::new(layout.root().to_owned()),
        };
        Self { dir, context }
    }

    /// A shell script in the place of a program of the hub.
    fn command(&self, script: &str) -> Command {
        let program = self.dir.path().join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        Command {
            name: "etcd",
            program,
            args: Vec::new(),
            fingerprint: "one".into(),
            log: self.dir.path().join("etcd.log"),
            notifies: false,
            grace: Duration::from_secs(5),
        }
    }

    fn start(&self, command: &Command) -> Child {
        Child::start(self.context.clone(), command.clone())
    }

    fn copies(&self) -> Vec<i32> {
        marker::find(&self.context.instance).unwrap().into_iter().map(|found| found.id.pid).collect()
    }

    fn recorded(&self) -> i32 {
        self.context.records.get().children["etcd"].process.pid
    }
}

const FOREVER: &str = "exec sleep 600";
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn runs_until_it_is_stopped_and_leaves_nothing() {
    let bench = Bench::new();
    let child = bench.start(&bench.command(FOREVER));
    child.ready(PATIENCE).await.unwrap();
    assert_eq!(bench.copies(), [bench.recorded()]);
    child.stop().await;
    assert_eq!(bench.copies(), Vec::<i32>::new());
    assert!(bench.context.records.get().children.is_empty());
}

#[tokio::test]
async fn a_killed_program_is_started_again() {
    let bench = Bench::new();
    let child = bench.start(&bench.command(FOREVER));
    child.ready(PATIENCE).await.unwrap();
    let first = bench.recorded();
    let mut board = bench.context.board.watch();
    Process::adopt(&bench.context.records.get().children["etcd"].process)
        .unwrap()
        .unwrap()
        .signal(Signal::KILL)
        .unwrap();
    let again = |snapshot: &crate::board::Snapshot| {
        snapshot.components.iter().any(|c| c.restarts == 1 && c.health == Health::Running)
    };
    timeout(PATIENCE, board.wait_for(again)).await.unwrap().unwrap();
    assert_ne!(bench.recorded(), first);
    assert_eq!(bench.copies(), [bench.recorded()]);
    child.stop().await;
}

#[tokio::test]
async fn a_copy_that_outlived_its_supervisor_is_kept_or_replaced() {
    let bench = Bench::new();
    let command = bench.command(FOREVER);
    let child = bench.start(&command);
    child.ready(PATIENCE).await.unwrap();
    let first = bench.recorded();
    // The supervisor is killed: nobody tells the process.
    child.task.abort();

    let same = bench.start(&command);
    same.ready(PATIENCE).await.unwrap();
    assert_eq!(bench.recorded(), first);
    same.task.abort();

    let changed = bench.start(&Command { fingerprint: "two".into(), ..command });
    changed.ready(PATIENCE).await.unwrap();
    assert_ne!(bench.recorded(), first);
    assert_eq!(bench.copies(), [bench.recorded()]);
    changed.stop().await;
}

#[tokio::test]
async fn a_copy_that_was_never_written_down_is_ended() {
    let bench = Bench::new();
    let command = bench.command(FOREVER);
    let stray = Spawn::new(&command.program, &bench.context.marker("etcd")).start().unwrap();
    let child = bench.start(&command);
    child.ready(PATIENCE).await.unwrap();
    assert_eq!(bench.copies(), [bench.recorded()]);
    assert_ne!(bench.recorded(), stray.pid());
    child.stop().await;
}

#[tokio::test]
async fn a_program_that_keeps_ending_is_an_error_with_its_last_words() {
    let bench = Bench::new();
    let command = Command { notifies: true, ..bench.command("echo cannot bind; exit 7") };
    let child = bench.start(&command);
    let error = child.ready(PATIENCE).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("exit code 7") && text.contains("cannot bind"), "{text}");
    assert_eq!(error.code().to_string(), "SKEP-2012");
    child.stop().await;
}

#[tokio::test]
async fn a_program_that_says_when_it_serves_is_not_ready_before() {
    let bench = Bench::new();
    let command = Command { notifies: true, ..bench.command("echo socket $NOTIFY_SOCKET; exec sleep 600") };
    let child = bench.start(&command);
    let error = child.ready(Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(error, Error::ChildNotReady { .. }), "{error}");
    assert!(error.to_string().contains("socket @"), "{error}");
    child.stop().await;
    assert_eq!(bench.copies(), Vec::<i32>::new());
}

#[tokio::test]
async fn a_missing_program_is_an_error_that_names_it() {
    let bench = Bench::new();
    let command = Command { program: "/nowhere/etcd".into(), ..bench.command("") };
    let child = bench.start(&command);
    let error = child.ready(PATIENCE).await.unwrap_err();
    assert!(error.to_string().contains("/nowhere/etcd"), "{error}");
    child.stop().await;
}

#[tokio::test]
async fn one_that_cannot_stay_says_why() {
    let bench = Bench::new();
    let child = bench.start(&bench.command("echo unknown flag; exit 1"));
    let error = timeout(PATIENCE, child.fails()).await.unwrap().to_string();
    assert!(
        error.contains("etcd") && error.contains("exit code 1") && error.contains("unknown flag"),
        "{error}"
    );
    child.stop().await;
    let child = bench.start(&bench.command(FOREVER));
    child.ready(PATIENCE).await.unwrap();
    assert!(futures::poll!(Box::pin(child.fails())).is_pending());
    child.stop().await;
}
