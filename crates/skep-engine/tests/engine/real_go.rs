//! Real builds. They take seconds when Go's cache has the packages of etcd and of the network plugins, a minute otherwise.

use std::process::Command;

use skep_engine::{CNI, Engine, EngineConfig, Releases, Silent, Source, cni_image, etcd_image};

use crate::child;

#[tokio::test]
async fn etcd_from_its_modules() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = EngineConfig::new(dir.path().join("cache"));
    config.releases = Releases::Off;
    let artifact = Engine::new(config).ensure(&etcd_image(), &Silent).await.unwrap();
    assert_eq!(artifact.source, Source::Built);
    for (program, args, expected) in [
        ("etcd", "--version", "etcd Version: 3.7.3"),
        ("etcdctl", "version", "etcdctl version: 3.7.3"),
        ("etcdutl", "version", "etcdutl version: 3.7.3"),
    ] {
        let output = Command::new(artifact.program(program).unwrap()).arg(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains(expected), "{program}: {text}");
    }
}

/// Main packages of somebody else's module, each a file, versions by the linker.
#[tokio::test]
async fn network_plugins_from_their_modules() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = EngineConfig::new(dir.path().join("cache"));
    config.releases = Releases::Off;
    let artifact = Engine::new(config).ensure(&cni_image(), &Silent).await.unwrap();
    assert_eq!(artifact.source, Source::Built);
    for plugin in ["bridge", "host-local", "loopback", "portmap"] {
        let output = Command::new(artifact.program(plugin).unwrap()).env_clear().output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(&format!("CNI {plugin} plugin {CNI}")), "{plugin}: {text}");
    }
}

#[test]
fn hostile_settings_of_the_user() {
    let dir = tempfile::tempdir().unwrap();
    let output = child::command(&dir.path().join("cache"), None, &etcd_image().to_string())
        .env("GOFLAGS", "-mod=vendor -tags=nonsense -race")
        .env("GOWORK", "/nonexistent/go.work")
        .env("GOOS", "windows")
        .env("GOARCH", "wasm")
        .env("CGO_ENABLED", "1")
        .env("GO111MODULE", "off")
        .env("GOTMPDIR", "/nonexistent")
        .env("GOEXPERIMENT", "nonsense")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    assert!(error.contains("etcd v3.7.3: ready"), "{error}");
}
