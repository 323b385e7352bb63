//! A `go` that does what a test tells it: a shell script that writes down how it was called.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What it prints as a program: right for every image.
pub const PROGRAM: &str = "#!/bin/sh
echo 'Kubernetes v1.36.3'
echo 'Kubernetes v1.35.4'
echo 'etcd Version: 3.7.3'
echo 'containerd github.com/containerd/containerd/v2 v2.2.1'
echo 'CoreDNS-1.15.0'
for plugin in bridge host-local loopback portmap; do echo \"CNI $plugin plugin v1.9.1\" >&2; done
";

pub struct FakeGo {
    pub path: PathBuf,
    dir: PathBuf,
}

impl FakeGo {
    pub fn new(dir: &Path) -> Self {
        let go = Self { path: dir.join("go"), dir: dir.to_owned() };
        go.env("go1.26.8", "", "local");
        go.build("cp \"$program\" \"$target\"");
        fs::write(dir.join("program"), PROGRAM).unwrap();
        fs::set_permissions(dir.join("program"), fs::Permissions::from_mode(0o755)).unwrap();
        let script = format!(
            "#!/bin/sh\n\
             if [ \"$1\" = env ]; then exec cat {dir}/env.json; fi\n\
             echo \"$*\" >> {dir}/calls\n\
             env > {dir}/environment\n\
             program={dir}/program\n\
             while [ $# -gt 1 ]; do [ \"$1\" = -o ] && target=$2; shift; done\n\
             . {dir}/build.sh\n",
            dir = dir.display()
        );
        write_program(&go.path, &script);
        go
    }

    /// What `go env` says.
    pub fn env(&self, version: &str, flags: &str, toolchain: &str) {
        let text = format!(r#"{{"GOVERSION":"{version}","GOFLAGS":"{flags}","GOTOOLCHAIN":"{toolchain}"}}"#);
        fs::write(self.dir.join("env.json"), text).unwrap();
    }

    /// What `go build` does, as shell: `$program` is a program that works, `$target` is where it belongs.
    pub fn build(&self, script: &str) {
        fs::write(self.dir.join("build.sh"), format!("{script}\n")).unwrap();
    }

    /// The arguments of each build so far.
    pub fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The environment of the last build.
    pub fn environment(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("environment")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// Writes a program through another process. A file that this process has open for writing cannot be run, and a
/// thread that starts a process at that moment keeps it open for a little longer.
fn write_program(path: &Path, text: &str) {
    let mut shell = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
}
