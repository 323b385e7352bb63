//! Another process that asks for an image: this test binary once more, running only the test below.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use skep_engine::{Engine, EngineConfig, Lines};

use crate::support::{Bed, kube};

const MARK: &str = "SKEP_ENGINE_TEST_CHILD";

/// Starts a process that asks for `image` and prints where it is. It takes its settings from the environment only.
pub fn spawn(bed: &Bed, image: &str) -> Child {
    command(&bed.config.cache_dir, bed.config.go.as_deref(), image).spawn().unwrap()
}

pub fn command(cache: &Path, go: Option<&Path>, image: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child::the_child", "--nocapture", "--test-threads=1"])
        .env(MARK, image)
        .env("SKEP_ENGINE_CACHE", cache)
        .env("SKEP_ENGINE_RELEASES", "off")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    match go {
        Some(go) => command.env("SKEP_GO", go),
        None => command.env_remove("SKEP_GO"),
    };
    command
}

/// Does nothing unless it was started by [`spawn`].
#[test]
fn the_child() {
    let Ok(image) = std::env::var(MARK) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let engine = Engine::new(EngineConfig::from_env().unwrap());
    let image = image.parse().unwrap();
    let artifact = runtime.block_on(engine.ensure(&image, &Lines::stderr())).unwrap();
    println!("\nbin_dir={}", artifact.bin_dir.display());
}

#[tokio::test]
async fn settings_of_the_environment_are_used() {
    let bed = Bed::new();
    let output = spawn(&bed, &kube().to_string()).wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(&format!("bin_dir={}", bed.cached("kube/v1.36.3/bin").display())), "{text}");
}
