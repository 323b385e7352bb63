//! What a machine may lack: Go, and space on the disk.
//!
//! Disks are file systems in memory, which only root can mount; as another user those scenarios say that they did not
//! run.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
};

use nix::{errno::Errno, fcntl::posix_fallocate, unistd::geteuid};

use crate::installation::{Installation, eventually};

pub fn no_go() {
    let installation = Installation::new("no-go");
    let output = installation
        .command(["up"])
        .env("SKEP_ENGINE_CACHE", installation.file("cache"))
        .env("SKEP_ENGINE_RELEASES", "off")
        .env_remove("SKEP_ENGINE_PATH")
        // Named, because Go is found in its usual places also when PATH does not lead there.
        .env("SKEP_GO", installation.file("go"))
        .output()
        .unwrap();
    let error = crate::installation::text(&output.stderr);
    assert!(!output.status.success());
    for part in ["SKEP-1002", "go.dev/dl", "SKEP_ENGINE_PATH"] {
        assert!(error.contains(part), "{part} is missing in {error}");
    }
    assert_eq!(installation.processes(), Vec::<i32>::new());
}

/// A file system of this size under the data directory of an installation.
struct Disk<'a>(&'a Installation);

impl<'a> Disk<'a> {
    fn mount(installation: &'a Installation, mib: u32) -> Option<Self> {
        if !geteuid().is_root() {
            println!("not run: only root can mount a small disk");
            return None;
        }
        fs::create_dir(installation.data()).unwrap();
        let size = format!("size={mib}m,mode=0700");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "skep-e2e"]).arg(installation.data()));
        Some(Self(installation))
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = self.0.run(["down", "-q"]);
        run(Command::new("umount").arg("--lazy").arg(self.0.data()));
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

pub fn a_disk_too_small() {
    let installation = Installation::new("small-disk");
    let Some(_disk) = Disk::mount(&installation, 64) else { return };
    let error = installation.fails(1, "up");
    assert!(error.contains("SKEP-2006") && error.contains("256 MiB"), "{error}");
    assert_eq!(installation.processes(), Vec::<i32>::new());
}

pub fn a_disk_that_fills() {
    let installation = Installation::new("full-disk");
    let Some(_disk) = Disk::mount(&installation, 768) else { return };
    installation.up();
    let filler = installation.data().join("logs/filler");
    fill(&filler);
    let chunk = installation.file("chunk");
    fs::write(&chunk, vec![b'x'; 900 << 10]).unwrap();
    let create = |name: &str| {
        let file = format!("--from-file={}", chunk.display());
        installation.run(["kubectl", "create", "configmap", name, &file, "--request-timeout=10s"]).status
    };
    // etcd has room in files that it made before; then it says no.
    let kept: Vec<String> =
        (0..400).map(|n| format!("chunk-{n}")).take_while(|name| create(name).success()).collect();
    assert!(kept.len() < 400, "the disk never filled");
    fs::remove_file(&filler).unwrap();
    eventually("a write after there is room again", || create("after").success().then_some(()));
    let found = installation.kubectl("get configmaps -o name");
    for name in kept {
        assert!(found.contains(&format!("configmap/{name}\n")), "{name} was acknowledged and is lost");
    }
    installation.down();
}

/// Takes all room that there is.
fn fill(path: &Path) {
    let file = File::create(path).unwrap();
    let (mut size, mut step) = (0, 64 << 20);
    while step >= 4096 {
        match posix_fallocate(&file, size, step) {
            Ok(()) => size += step,
            Err(Errno::ENOSPC) => step /= 2,
            Err(error) => panic!("{error}"),
        }
    }
}
