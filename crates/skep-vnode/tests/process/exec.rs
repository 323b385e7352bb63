//! `kubectl exec`.

use skep_vnode::backend::{ExecRequest, PodBackend, TerminalSize};
use skep_vnode::process::{Marker, marker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::*;

fn request(script: &str) -> ExecRequest {
    let command = ["sh", "-c", script].map(str::to_owned).into();
    ExecRequest { command, stdin: true, stdout: true, stderr: true, ..ExecRequest::default() }
}

#[tokio::test]
async fn streams_environment_mounts_and_exit_code() {
    let node = Node::new();
    let mut pod = pod(
        "exec",
        serde_json::json!({
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [container("c", "echo from main > /data/f; exec sleep 1000")]
        }),
    );
    let c = &mut pod.spec.as_mut().unwrap().containers[0];
    c.volume_mounts =
        serde_json::from_value(serde_json::json!([{"name": "v", "mountPath": "/data"}])).unwrap();
    c.env = serde_json::from_value(serde_json::json!([{"name": "WHO", "value": "me"}])).unwrap();
    let uid = node.up(&pod).await;
    file(&node.dir.path().join("data/pods/uid-exec/volumes/v/f")).await;
    let mut session =
        node.backend.exec(&uid, "c", request("cat; cat /data/f; echo $WHO >&2; exit 5")).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"typed\n").await.unwrap();
    drop(stdin);
    let (mut out, mut err) = (String::new(), String::new());
    session.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
    session.stderr.take().unwrap().read_to_string(&mut err).await.unwrap();
    assert_eq!((out.as_str(), err.as_str(), session.exit.await), ("typed\nfrom main\n", "me\n", 5));
    let missing = ExecRequest { command: vec!["nosuch".into()], ..ExecRequest::default() };
    let error = node.backend.exec(&uid, "c", missing).await.err().unwrap().to_string();
    assert_eq!(error, "exec: \"nosuch\": executable file not found in $PATH");
    node.end().await;
}

#[tokio::test]
async fn a_terminal_with_a_size() {
    let node = Node::new();
    let uid = node.up(&script("tty", "exec sleep 1000")).await;
    let script =
        "stty size; test -t 0 && test -t 1 && test -t 2 && echo terminal; read x; stty size; echo got $x";
    let size = Some(TerminalSize { width: 100, height: 30 });
    let request = ExecRequest { tty: true, size, ..request(script) };
    let mut session = node.backend.exec(&uid, "c", request).await.unwrap();
    let (mut stdin, mut stdout) = (session.stdin.take().unwrap(), session.stdout.take().unwrap());
    let mut text = String::new();
    let mut chunk = [0; 1024];
    while !text.contains("terminal") {
        let got = stdout.read(&mut chunk).await.unwrap();
        text.push_str(std::str::from_utf8(&chunk[..got]).unwrap());
    }
    assert!(text.starts_with("30 100\r\n"), "{text}");
    session.control.resize(TerminalSize { width: 80, height: 24 });
    stdin.write_all(b"yes\n").await.unwrap();
    stdout.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("24 80\r\n") && text.ends_with("got yes\r\n"), "{text}");
    assert_eq!(session.exit.await, 0);
    node.end().await;
}

#[tokio::test]
async fn a_session_that_is_dropped_kills_its_command_and_nothing_else() {
    let node = Node::new();
    let uid = node.up(&script("drop", "exec sleep 1000")).await;
    let session = node.backend.exec(&uid, "c", request("exec sleep 2000")).await.unwrap();
    let all = Marker::new(&node.instance);
    assert_eq!(marker::find(&all).unwrap().iter().filter(|f| f.helper).count(), 1);
    drop(session);
    while marker::find(&all).unwrap().iter().any(|f| f.helper) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(marker::find(&all).unwrap().len(), 1);
    let session = node.backend.exec(&uid, "c", request("exec sleep 3000")).await.unwrap();
    session.control.kill();
    assert_eq!(session.exit.await, 137);
    // What runs beside a container ends with it.
    let session =
        node.backend.exec(&uid, "c", request("trap '' TERM; while true; do sleep 1; done")).await.unwrap();
    node.remove(&uid, std::time::Duration::from_secs(5)).await;
    assert_eq!(session.exit.await, 137);
    node.end().await;
}

#[tokio::test]
async fn only_where_something_runs() {
    let node = Node::new();
    let mut pod = script("done", "true");
    pod.spec.as_mut().unwrap().restart_policy = Some("Never".into());
    let uid = node.sync(&pod);
    node.until(&uid, "ended", is("terminated")).await;
    let error = node.backend.exec(&uid, "c", request("true")).await.err().unwrap().to_string();
    assert_eq!(error, "container \"c\" of pod ns/done is not running (terminated: Completed)");
    node.end().await;
}
