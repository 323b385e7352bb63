//! Builds with a fake `go`: what it is told, and every way it can fail.

use std::fs;
use std::time::Duration;

use skep_engine::{KUBERNETES, Lines, Source, etcd_image, kubernetes_image};

use crate::support::{Bed, kube, names};

#[tokio::test]
async fn one_binary_with_links_by_name() {
    let bed = Bed::new();
    let (artifact, said) = bed.ensure(&kube()).await;
    let artifact = artifact.unwrap();
    assert_eq!(artifact.source, Source::Built);
    assert_eq!(artifact.bin_dir, bed.cached("kube/v1.36.3/bin"));
    assert_eq!(artifact.digests.keys().collect::<Vec<_>>(), ["kube"]);
    for name in ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"] {
        let program = artifact.program(name).unwrap();
        assert_eq!(fs::read_link(&program).unwrap().to_str(), Some("kube"));
    }
    for nothing in ["etcd", "", "..", "../manifest.json", "/bin/sh"] {
        assert_eq!(artifact.program(nothing), None, "{nothing}");
    }
    assert!(said.ends_with("kube ready"), "{said}");
    // Asked again, it is there, and nobody is told anything.
    let (again, said) = bed.ensure(&kube()).await;
    assert_eq!((again.unwrap(), said.as_str()), (artifact, ""));
    assert_eq!(bed.go.calls().len(), 1);
    assert_eq!(names(&bed.cached("tmp")), Vec::<String>::new());
}

#[tokio::test]
async fn each_minor_by_its_own_module_file_and_only_when_asked_for() {
    let bed = Bed::new();
    for version in KUBERNETES {
        bed.ensure(&kubernetes_image(version).unwrap()).await.0.unwrap();
        let call = bed.go.calls().pop().unwrap();
        let minor = &version[1..5];
        for part in [
            "build -v -mod=readonly -trimpath -buildvcs=false",
            &format!("-modfile=kube-{minor}.mod"),
            &format!("-ldflags=-s -w -X k8s.io/component-base/version.gitVersion={version}"),
        ] {
            assert!(call.contains(part), "{part} is not in {call}");
        }
    }
    bed.ensure(&etcd_image()).await.0.unwrap();
    assert_eq!(bed.go.calls().len(), 3);
    assert!(!bed.go.calls()[2].contains("-modfile"));
}

#[tokio::test]
async fn settings_of_the_user_that_would_break_a_build_do_not_reach_it() {
    let bed = Bed::new();
    bed.go.env("go1.26.8", "-mod=vendor -p=3 -race", "auto");
    bed.ensure(&kube()).await.0.unwrap();
    let environment = bed.go.environment();
    for setting in ["CGO_ENABLED=0", "GOFLAGS=-buildvcs=false -p=3", "GOWORK=off", "GOOS=linux"] {
        assert!(environment.iter().any(|line| line == setting), "{setting} is not in {environment:?}");
    }
}

#[tokio::test]
async fn without_go() {
    let mut bed = Bed::new();
    bed.config.go = Some(bed.dir.path().join("no-such-go"));
    let (error, _) = bed.ensure(&kube()).await;
    let error = error.unwrap_err();
    assert_eq!(error.code().to_string(), "SKEP-1002");
    let text = error.to_string();
    for part in ["skep.dev/kube:v1.36.3", "Go is not installed", "Install Go 1.26.0", "SKEP_ENGINE_PATH"] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    bed.assert_no_entry();
}

#[tokio::test]
async fn go_that_is_too_old() {
    let bed = Bed::new();
    // (what `go env` says, whether the build is tried)
    for (version, toolchain, tried) in
        [("go1.19.8", "", false), ("go1.22.2", "local", false), ("go1.22.2", "auto", true)]
    {
        bed.go.env(version, "", toolchain);
        bed.go.build("echo 'go: download go1.26 for linux/amd64: toolchain not available' >&2; exit 1");
        let before = bed.go.calls().len();
        let (error, said) = bed.ensure(&kube()).await;
        let error = error.unwrap_err();
        assert_eq!(error.code().to_string(), "SKEP-1003", "{error}");
        assert!(error.to_string().contains(&version[2..]) && error.to_string().contains("1.26.0"), "{error}");
        assert_eq!(bed.go.calls().len() > before, tried, "{version} {toolchain}");
        assert_eq!(said.contains("go fetches a newer toolchain"), tried, "{said}");
        bed.assert_no_entry();
    }
}

#[tokio::test]
async fn go_that_is_not_go() {
    let bed = Bed::new();
    fs::write(bed.dir.path().join("env.json"), "a board game").unwrap();
    let error = bed.ensure(&kube()).await.0.unwrap_err();
    assert_eq!(error.code().to_string(), "SKEP-1010");
    assert!(error.to_string().contains("go env"), "{error}");
}

#[tokio::test]
async fn failures_and_what_they_are_called() {
    let bed = Bed::new();
    for (script, code, part) in [
        ("echo './main.go:3:1: undefined: x' >&2; exit 1", "SKEP-1004", "undefined: x"),
        ("kill -9 $$", "SKEP-1004", "signal: 9"),
        ("exit 0", "SKEP-1004", "go made no program"),
        (": > \"$target\"", "SKEP-1004", "go made no program"),
        ("echo 'mkdir /x: no space left on device' >&2; exit 1", "SKEP-1008", "no space left"),
        (
            "echo 'go: k8s.io/api@v0.36.3: dial tcp: lookup p: no such host' >&2; exit 1",
            "SKEP-1005",
            "GOPROXY",
        ),
        (
            "printf '#!/bin/sh\\necho Kubernetes v0.0.0-master' > \"$target\"; chmod +x \"$target\"",
            "SKEP-1010",
            "v0.0.0-master",
        ),
        ("printf 'not a program' > \"$target\"; chmod +x \"$target\"", "SKEP-1010", "kube-apiserver"),
    ] {
        bed.go.build(script);
        let error = bed.ensure(&kube()).await.0.unwrap_err();
        assert_eq!(error.code().to_string(), code, "{script}: {error}");
        assert!(error.to_string().contains(part), "{part} is not in: {error}");
        bed.assert_no_entry();
    }
    // And after all of that it simply works.
    bed.go.build("cp \"$program\" \"$target\"");
    bed.ensure(&kube()).await.0.unwrap();
}

#[tokio::test]
async fn everything_go_says_is_in_the_log() {
    let bed = Bed::new();
    bed.go.build(
        "echo on stdout; echo 'go: downloading k8s.io/api v0.36.3' >&2; echo strange thing >&2; exit 3",
    );
    let error = bed.ensure(&kube()).await.0.unwrap_err().to_string();
    let log = bed.cached("logs/kube-v1.36.3.log");
    assert!(error.contains(&log.display().to_string()), "{error}");
    assert!(error.contains("strange thing") && !error.contains("downloading"), "{error}");
    let log = fs::read_to_string(log).unwrap();
    for part in ["-modfile=kube-1.36.mod", "on stdout", "downloading", "strange thing"] {
        assert!(log.contains(part), "{part} is not in {log}");
    }
}

#[tokio::test]
async fn a_build_that_never_ends_is_stopped() {
    let mut bed = Bed::new();
    // Long enough for the shell to have set its trap.
    bed.config.limits.build = Duration::from_secs(3);
    // Ends in order when it is interrupted, like Go does.
    bed.go.build(
        "trap 'echo stopped > \"$program.trap\"; exit 1' INT; while :; do sleep 1 2>/dev/null & wait; done",
    );
    let error = bed.ensure(&kube()).await.0.unwrap_err();
    assert_eq!(error.code().to_string(), "SKEP-1012");
    assert!(bed.dir.path().join("program.trap").exists(), "it was not interrupted");
    bed.assert_no_entry();
}

#[tokio::test]
async fn a_running_build_is_heard_of_and_a_dropped_one_is_interrupted() {
    let bed = Bed::new();
    let fifo = bed.dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let trap = format!("trap 'echo stopped > {0}; exit 1' INT", fifo.display());
    bed.go
        .build(&format!("{trap}; echo k8s.io/api/core/v1 >&2; while :; do sleep 1 2>/dev/null & wait; done"));
    let (task, mut receiver) = bed.ensure_aside();
    let mut said = String::new();
    while !said.contains("now k8s.io/api/core/v1") {
        said = receiver.recv().await.unwrap();
    }
    task.abort();
    // Opening a pipe for reading waits for its writer: the trap.
    let stopped = tokio::task::spawn_blocking(move || fs::read_to_string(fifo)).await.unwrap();
    assert_eq!(stopped.unwrap(), "stopped\n");
    let _ = task.await;
    bed.assert_no_entry();
}

#[tokio::test]
async fn a_line_for_people() {
    let bed = Bed::new();
    bed.go.build("echo skep.dev/engine/kube >&2; cp \"$program\" \"$target\"");
    let lines = Lines::new(Vec::new());
    bed.engine().ensure(&kube(), &lines).await.unwrap();
    let text = String::from_utf8(lines.into_inner()).unwrap();
    assert!(text.contains("kube v1.36.3: building: linking kube [0:"), "{text}");
}
