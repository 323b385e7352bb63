use std::{process::Command, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::timeout;

use super::{Children, Exit};

const PATIENCE: Duration = Duration::from_secs(30);

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    command
}

#[tokio::test]
async fn every_end_is_told_to_the_right_one() {
    let children = Children::new().unwrap();
    let running: Vec<_> =
        (0..20).map(|code| (code, children.spawn(shell(&format!("exit {code}"))).unwrap())).collect();
    for (code, mut child) in running {
        assert_eq!(timeout(PATIENCE, child.wait()).await.unwrap(), Exit::Code(code));
        assert_eq!(child.wait().await, Exit::Code(code), "again");
        // Too late: must reach nobody.
        child.kill();
    }
}

#[tokio::test]
async fn signals_arrive() {
    let children = Children::new().unwrap();
    let mut child = children.spawn(shell("sleep 600")).unwrap();
    child.signal(Signal::SIGTERM);
    assert_eq!(timeout(PATIENCE, child.wait()).await.unwrap(), Exit::Signal(Signal::SIGTERM as i32));
}

#[tokio::test]
async fn what_is_left_of_a_group_ends_with_its_leader() {
    let children = Children::new().unwrap();
    let script = shell("sleep 600 >/dev/null 2>&1 & echo $!");
    let output = children.run(script, b"", PATIENCE).await.unwrap();
    let left: i32 = String::from_utf8(output.success().unwrap()).unwrap().trim().parse().unwrap();
    // Killed with the leader; it disappears when whoever got it waits for it.
    let gone = async {
        while kill(Pid::from_raw(left), None).is_ok() {
            let state = std::fs::read_to_string(format!("/proc/{left}/stat")).unwrap_or_default();
            if state.contains(") Z ") {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
}

#[tokio::test]
async fn input_goes_in_and_output_comes_out() {
    let children = Children::new().unwrap();
    let much = vec![b'x'; 1 << 20];
    let output = children.run(shell("cat; echo problem >&2"), &much, PATIENCE).await.unwrap();
    assert_eq!((output.exit, output.errors.as_str()), (Exit::Code(0), "problem\n"));
    assert_eq!(output.out, much);

    let output = children.run(shell("exec <&-; echo no >&2; exit 3"), &much, PATIENCE).await.unwrap();
    assert_eq!(output.success().unwrap_err(), "exit code 3: no");
}

#[tokio::test]
async fn an_end_comes_in_time_and_output_is_bounded() {
    let children = Children::new().unwrap();
    let error = children.run(shell("sleep 600"), b"", Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    let error = children.run(shell("head -c 17000000 /dev/zero"), b"", PATIENCE).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error() {
    let children = Children::new().unwrap();
    assert!(children.spawn(Command::new("/no/such/program")).is_err());
}
