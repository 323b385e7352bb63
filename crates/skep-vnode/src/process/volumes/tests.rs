use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::process::testing::{self, Objects};

fn pod(volumes: serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "web-0", "namespace": "ns", "uid": "u", "labels": {"app": "web"}},
        "spec": {"volumes": volumes, "containers": [{"name": "c", "resources": {"limits": {"memory": "64Mi"}}}]}
    }))
    .unwrap()
}

struct Fixture {
    dir: tempfile::TempDir,
    objects: Arc<Objects>,
    context: PodContext,
}

impl Fixture {
    fn new() -> Self {
        let objects = Arc::new(Objects::default());
        objects.map("m", &[("a", "1"), ("b", "2")]);
        objects.secret("s", &[("tls.key", "private"), ("x", "y")]);
        let context = testing::context_with(objects.clone());
        Self { dir: tempfile::tempdir().unwrap(), objects, context }
    }

    fn volumes(&self) -> Volumes {
        Volumes::new(self.dir.path().join("volumes"))
    }

    async fn prepare(&self, volumes: serde_json::Value) -> Result<Prepared, VolumeError> {
        self.volumes().prepare(&pod(volumes), &self.context, &DirectoryWork::default()).await
    }

    /// Relative path → contents and mode of everything visible in a volume.
    fn seen(&self, volume: &str) -> BTreeMap<String, String> {
        let root = self.dir.path().join("volumes").join(volume);
        let mut seen = BTreeMap::new();
        let mut open = vec![PathBuf::new()];
        while let Some(below) = open.pop() {
            for entry in std::fs::read_dir(root.join(&below)).unwrap() {
                let name = below.join(entry.unwrap().file_name());
                if name.to_string_lossy().starts_with("..") {
                    continue;
                }
                let meta = std::fs::metadata(root.join(&name)).unwrap();
                if meta.is_dir() {
                    open.push(name);
                } else {
                    let text = std::fs::read_to_string(root.join(&name)).unwrap();
                    let mode = meta.permissions().mode() & 0o777;
                    seen.insert(name.display().to_string(), format!("{mode:o} {text}"));
                }
            }
        }
        seen
    }
}

fn listing(seen: &BTreeMap<String, String>) -> String {
    seen.iter().map(|(k, v)| format!("{k}: {v}\n")).collect()
}

#[tokio::test]
async fn every_kind_of_file_volume() {
    let fixture = Fixture::new();
    let prepared = fixture
        .prepare(json!([
            {"name": "whole", "configMap": {"name": "m"}},
            {"name": "items", "secret": {"secretName": "s", "defaultMode": 256, "items": [
                {"key": "tls.key", "path": "deep/er/key.pem", "mode": 384}, {"key": "x", "path": "./y"}]}},
            {"name": "gone", "secret": {"secretName": "none", "optional": true}},
            {"name": "half", "configMap": {"name": "m", "optional": true, "items": [{"key": "none", "path": "n"}, {"key": "a", "path": "a"}]}},
            {"name": "me", "downwardAPI": {"items": [
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "mem", "resourceFieldRef": {"containerName": "c", "resource": "limits.memory", "divisor": "1Mi"}}]}},
            {"name": "all", "projected": {"defaultMode": 292, "sources": [
                {"configMap": {"name": "m"}},
                {"secret": {"name": "s", "items": [{"key": "x", "path": "b"}]}},
                {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
                {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 1000}}]}}
        ]))
        .await
        .unwrap();
    assert_eq!(listing(&fixture.seen("whole")), "a: 644 1\nb: 644 2\n");
    assert_eq!(listing(&fixture.seen("items")), "deep/er/key.pem: 600 private\ny: 400 y\n");
    assert_eq!(listing(&fixture.seen("gone")), "");
    assert_eq!(listing(&fixture.seen("half")), "a: 644 1\n");
    assert_eq!(listing(&fixture.seen("me")), "labels: 644 app=\"web\"\nmem: 644 64\n");
    assert_eq!(
        listing(&fixture.seen("all")),
        "a: 444 1\nb: 444 y\nname: 444 web-0\ntoken: 444 token for vault\n"
    );
    let renew = prepared.renew_at.unwrap().duration_since(Timestamp::now()).as_secs();
    assert!((700..=800).contains(&renew), "four fifths of 1000 s: {renew}");
    let again = fixture.prepare(json!([{"name": "whole", "configMap": {"name": "m"}}])).await.unwrap();
    assert_eq!(again.changed, Vec::<String>::new(), "nothing is rewritten when nothing changed");
}

#[tokio::test]
async fn updates_swap_all_files_at_once() {
    let fixture = Fixture::new();
    let volumes = json!([{"name": "v", "configMap": {"name": "m"}}]);
    fixture.prepare(volumes.clone()).await.unwrap();
    let root = fixture.dir.path().join("volumes/v");
    let first = std::fs::read_link(root.join("..data")).unwrap();
    assert_eq!(std::fs::read_link(root.join("a")).unwrap(), Path::new("..data/a"));
    fixture.objects.map("m", &[("a", "new"), ("c", "3")]);
    let prepared = fixture.prepare(volumes.clone()).await.unwrap();
    assert_eq!(prepared.changed, ["v"]);
    assert_eq!(listing(&fixture.seen("v")), "a: 644 new\nc: 644 3\n");
    assert_ne!(std::fs::read_link(root.join("..data")).unwrap(), first);
    let left = std::fs::read_dir(&root).unwrap().count();
    assert_eq!(left, 4, "a, c, ..data and one generation");
    // Somebody broke it: it is repaired.
    std::fs::remove_file(root.join("c")).unwrap();
    fixture.prepare(volumes).await.unwrap();
    assert_eq!(listing(&fixture.seen("v")), "a: 644 new\nc: 644 3\n");
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_told_as_the_kubelet_does() {
    let fixture = Fixture::new();
    for (volume, reason) in [
        (json!({"name": "v", "secret": {"secretName": "none"}}), "secret \"none\" not found"),
        (json!({"name": "v", "configMap": {"name": "none"}}), "configmap \"none\" not found"),
        (
            json!({"name": "v", "persistentVolumeClaim": {"claimName": "none"}}),
            "persistentvolumeclaim \"none\" not found",
        ),
        (
            json!({"name": "v", "configMap": {"name": "m", "items": [{"key": "z", "path": "z"}]}}),
            "references non-existent config key: z",
        ),
        (
            json!({"name": "v", "configMap": {"name": "m", "items": [{"key": "a", "path": "../../etc/passwd"}]}}),
            "path \"../../etc/passwd\": it contains \"..\"",
        ),
        (
            json!({"name": "v", "configMap": {"name": "m", "items": [{"key": "a", "path": "/etc/passwd"}]}}),
            "path \"/etc/passwd\": it is absolute",
        ),
        (
            json!({"name": "v", "configMap": {"name": "m", "items": [{"key": "a", "path": "..data"}]}}),
            "path \"..data\": it starts with \"..\"",
        ),
        (json!({"name": "../v", "emptyDir": {}}), "\"../v\" is not a name"),
        (
            json!({"name": "v", "hostPath": {"path": "/etc/../x"}}),
            "hostPath \"/etc/../x\" must be absolute and without \"..\"",
        ),
        (
            json!({"name": "v", "hostPath": {"path": "/etc/passwd", "type": "Directory"}}),
            "hostPath type check failed: /etc/passwd is not a directory",
        ),
        (
            json!({"name": "v", "hostPath": {"path": "/no/such", "type": "Socket"}}),
            "hostPath type check failed: /no/such is not a socket file",
        ),
        (
            json!({"name": "v", "nfs": {"path": "/", "server": "x"}}),
            "SKEP-7102: nfs volumes need a mount and cannot be had on a node that runs pods as processes",
        ),
    ] {
        let error = fixture.prepare(json!([volume])).await.unwrap_err();
        assert_eq!(error.reason, reason);
    }
}

#[tokio::test]
async fn directories_and_paths_inside_them() {
    let fixture = Fixture::new();
    let claim = fixture.dir.path().join("claim");
    std::fs::create_dir(&claim).unwrap();
    fixture.objects.claims.lock().unwrap().insert("data-web-0".into(), claim.clone());
    fixture.objects.claims.lock().unwrap().insert("web-0-scratch".into(), claim.clone());
    let made = fixture.dir.path().join("made/by/type");
    let list = json!([
        {"name": "empty", "emptyDir": {}},
        {"name": "pvc", "persistentVolumeClaim": {"claimName": "data-web-0"}},
        {"name": "scratch", "ephemeral": {}},
        {"name": "host", "hostPath": {"path": made, "type": "DirectoryOrCreate"}},
        {"name": "map", "configMap": {"name": "m"}}
    ]);
    fixture.prepare(list.clone()).await.unwrap();
    let pod = pod(list);
    let volume = |name: &str| {
        let found = pod.spec.as_ref().unwrap().volumes.iter().flatten().find(|v| v.name == name);
        found.cloned().unwrap()
    };
    let volumes = fixture.volumes();
    assert_eq!(volumes.locate(&volume("pvc"), "").unwrap(), claim);
    assert_eq!(volumes.locate(&volume("scratch"), "").unwrap(), claim);
    assert_eq!(volumes.locate(&volume("host"), "").unwrap(), made);
    let empty = volumes.locate(&volume("empty"), "a/b").unwrap();
    assert!(empty.is_dir() && empty.ends_with("volumes/empty/a/b"));
    assert_eq!(std::fs::read_to_string(volumes.locate(&volume("map"), "a").unwrap()).unwrap(), "1");
    assert!(volumes.locate(&volume("empty"), "../map").unwrap_err().contains("it contains \"..\""));
    std::os::unix::fs::symlink("/etc", fixture.dir.path().join("volumes/empty/out")).unwrap();
    assert!(volumes.locate(&volume("empty"), "out/x").unwrap_err().contains("leads out of the volume"));
}

#[test]
fn sizes_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("d")).unwrap();
    std::fs::write(dir.path().join("d/f"), vec![1; 100_000]).unwrap();
    assert!(size_of(dir.path()).unwrap() >= 100_000);
    assert_eq!(size_of(&dir.path().join("none")).unwrap(), 0);
}

proptest! {
    #[test]
    fn a_relative_path_never_leaves(path in "[a-c./]{0,12}") {
        if let Ok(clean) = relative(&path) {
            prop_assert!(clean.is_relative());
            prop_assert!(clean.components().all(|c| matches!(c, Component::Normal(_))));
        }
    }
}
