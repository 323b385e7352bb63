//! `kubectl exec` over both protocols, and a terminal.

use futures::SinkExt;
use kube::api::{AttachParams, TerminalSize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{IDLE, TestNode, text};

/// What kubectl uses by default, and what older clients use.
const PROTOCOLS: [&str; 2] = ["true", "false"];

fn protocol(websockets: &str) -> [(&str, &str); 1] {
    [("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets)]
}

#[tokio::test(flavor = "multi_thread")]
async fn output_error_output_and_exit_code() {
    let node = TestNode::start("exec-output").await;
    node.up(node.script("p", IDLE)).await;
    for websockets in PROTOCOLS {
        let script = "echo out; echo err >&2; exit 7";
        let done =
            node.kubectl_with(&["exec", "p", "--", "sh", "-c", script], &protocol(websockets), b"").await;
        assert_eq!(text(&done.stdout), "out\n", "websockets={websockets}");
        assert_eq!(text(&done.stderr), "err\ncommand terminated with exit code 7\n");
        assert_eq!(done.status.code(), Some(7));
        let done =
            node.kubectl_with(&["exec", "p", "--", "no-such-program"], &protocol(websockets), b"").await;
        assert!(!done.status.success());
        assert!(text(&done.stderr).contains("no-such-program"), "{}", text(&done.stderr));
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn input_to_its_end_and_much_of_it() {
    let node = TestNode::start("exec-input").await;
    node.up(node.script("p", IDLE)).await;
    let much: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    for websockets in PROTOCOLS {
        let done = node.kubectl_with(&["exec", "-i", "p", "--", "cat"], &protocol(websockets), &much).await;
        assert!(done.stdout == much, "websockets={websockets}: {} bytes came back", done.stdout.len());
        assert!(done.status.success());
        // The command ends while the client still sends.
        let lines = b"y\n".repeat(1_000_000);
        let done =
            node.kubectl_with(&["exec", "-i", "p", "--", "head", "-1"], &protocol(websockets), &lines).await;
        assert_eq!(text(&done.stdout), "y\n", "websockets={websockets}");
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_keeps_the_output_open_does_not_hold_the_client() {
    let node = TestNode::start("exec-child").await;
    node.up(node.script("p", IDLE)).await;
    let done = node.kubectl(&["exec", "p", "--", "sh", "-c", "sleep 100000 & echo done"]).await;
    assert_eq!((text(&done.stdout).as_str(), done.status.code()), ("done\n", Some(0)));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_its_command() {
    let node = TestNode::start("exec-leave").await;
    node.up(node.script("p", IDLE)).await;
    let before = node.processes();
    for websockets in PROTOCOLS {
        let sign = node.sign(&format!("started-{websockets}"));
        let script = format!("touch {}; exec sleep 100000", sign.display());
        let arguments = ["exec", "p", "--", "sh", "-c", &script];
        let mut client = node.kubectl_command(&arguments, &protocol(websockets)).spawn().unwrap();
        crate::harness::until("the command to start", || async { sign.exists().then_some(()) }).await;
        client.kill().await.unwrap();
        crate::harness::until("the command to end", || async { (node.processes() <= before).then_some(()) })
            .await;
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_has_a_size_that_follows_the_client() {
    let node = TestNode::start("exec-tty").await;
    node.up(node.script("p", IDLE)).await;
    let parameters = AttachParams::interactive_tty().container("c");
    let mut process = node.pods().exec("p", ["sh"], &parameters).await.unwrap();
    let (mut input, mut output) = (process.stdin().unwrap(), process.stdout().unwrap());
    let mut size = process.terminal_size().unwrap();
    size.send(TerminalSize { width: 91, height: 37 }).await.unwrap();
    // Sizes and input come on different channels, so the shell is asked until it sees the new one.
    input
        .write_all(b"until [ \"$(stty size)\" = '37 91' ]; do sleep 0.05; done; stty size; exit 3\n")
        .await
        .unwrap();
    let mut seen = String::new();
    let mut buffer = [0_u8; 1024];
    while let Ok(read @ 1..) = output.read(&mut buffer).await {
        seen.push_str(&text(&buffer[..read]));
    }
    assert!(seen.contains("37 91\r\n"), "{seen:?}");
    let status = process.take_status().unwrap().await.unwrap();
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"), "{status:?}");
    node.end().await;
}
