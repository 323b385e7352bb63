//! Several who ask at once, and one who dies in the middle.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skep_engine::etcd_image;

use crate::child;
use crate::support::{Bed, Reports, kube};

/// A pipe that a build writes to when it has begun, and one that it reads before it goes on.
fn gate(bed: &Bed) -> (PathBuf, PathBuf) {
    let pipes = (bed.dir.path().join("begun"), bed.dir.path().join("go-on"));
    for pipe in [&pipes.0, &pipes.1] {
        nix::unistd::mkfifo(pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let script = format!(
        "echo begun > {}; read x < {}; cp \"$program\" \"$target\"",
        pipes.0.display(),
        pipes.1.display()
    );
    bed.go.build(&script);
    pipes
}

async fn read(pipe: &Path) -> String {
    let pipe = pipe.to_owned();
    tokio::task::spawn_blocking(move || fs::read_to_string(pipe).unwrap()).await.unwrap()
}

async fn write(pipe: &Path) {
    let pipe = pipe.to_owned();
    tokio::task::spawn_blocking(move || fs::write(pipe, "go\n").unwrap()).await.unwrap();
}

#[tokio::test]
async fn many_tasks_and_processes_build_once() {
    let bed = Bed::new();
    let children: Vec<_> = (0..4).map(|_| child::spawn(&bed, &kube().to_string())).collect();
    let (engine, other) = (bed.engine(), bed.engine());
    let reports = Reports::default();
    let image = kube();
    let tasks =
        join_all((0..8).map(|n| if n % 2 == 0 { &engine } else { &other }.ensure(&image, &reports))).await;
    for artifact in tasks {
        assert_eq!(artifact.unwrap().bin_dir, bed.cached("kube/v1.36.3/bin"));
    }
    for child in children {
        let output = child.wait_with_output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && out.contains("bin_dir="), "{out}{err}");
    }
    assert_eq!(bed.go.calls().len(), 1);
}

#[tokio::test]
async fn a_waiter_says_for_whom_it_waits() {
    let bed = Bed::new();
    let (begun, go_on) = gate(&bed);
    let child = child::spawn(&bed, &kube().to_string());
    let pid = child.id();
    read(&begun).await;
    let (task, mut receiver) = bed.ensure_aside();
    assert_eq!(receiver.recv().await.unwrap(), format!("waiting for process {pid}, which is making it"));
    // Another image does not wait for this one.
    bed.go.build("cp \"$program\" \"$target\"");
    bed.ensure(&etcd_image()).await.0.unwrap();
    write(&go_on).await;
    task.await.unwrap().unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(bed.go.calls().len(), 2, "one of each image");
}

#[tokio::test]
async fn waiting_has_an_end() {
    let mut bed = Bed::new();
    let (begun, go_on) = gate(&bed);
    let child = child::spawn(&bed, &kube().to_string());
    read(&begun).await;
    bed.config.limits.wait = Duration::from_millis(100);
    let engine = bed.engine();
    let error = engine.ensure(&kube(), &skep_engine::Silent).await.unwrap_err();
    assert_eq!(error.code().to_string(), "SKEP-1013");
    assert!(error.to_string().contains(&format!("process {}", child.id())), "{error}");
    write(&go_on).await;
    assert!(child.wait_with_output().unwrap().status.success());
    // The wait that was given up does not keep the lock, in this process or any other.
    fs::remove_file(bed.cached("kube/v1.36.3/bin/kube")).unwrap();
    bed.go.build("cp \"$program\" \"$target\"");
    bed.config.limits.wait = Duration::from_secs(60);
    bed.ensure(&kube()).await.0.unwrap();
    assert!(child::spawn(&bed, &kube().to_string()).wait_with_output().unwrap().status.success());
}

#[tokio::test]
async fn a_killed_maker_leaves_nothing_half_made() {
    let bed = Bed::new();
    let (begun, go_on) = gate(&bed);
    let mut child = child::spawn(&bed, &kube().to_string());
    read(&begun).await;
    let half_made = crate::support::names(&bed.cached("tmp"));
    assert_eq!(half_made.len(), 1);
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    assert_eq!(bed.engine().find(&kube()), None);

    bed.go.build("cp \"$program\" \"$target\"");
    bed.ensure(&kube()).await.0.unwrap();
    assert!(crate::support::names(&bed.cached("tmp")).is_empty(), "what the dead one left is still there");
    // The orphaned `go` must not write into anything any more.
    write(&go_on).await;
    assert!(bed.engine().find(&kube()).is_some());
}
