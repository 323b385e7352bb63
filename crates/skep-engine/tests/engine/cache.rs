//! Damage to the cache, given directories, and lists.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use skep_engine::{
    EntryState, ImageRef, Source, cni_image, containerd_image, coredns_image, etcd_image, node_image,
    skep_image,
};

use crate::fake_go::PROGRAM;
use crate::support::{Bed, kube};

type Damage = (&'static str, fn(&Path), &'static str);

#[tokio::test]
async fn damage_is_noticed_and_made_good() {
    let damages: [Damage; 9] = [
        ("binary gone", |e| fs::remove_file(e.join("bin/kube")).unwrap(), "kube is gone"),
        ("link gone", |e| fs::remove_file(e.join("bin/kubectl")).unwrap(), "kubectl is gone"),
        (
            "link elsewhere",
            |e| {
                fs::remove_file(e.join("bin/kubectl")).unwrap();
                symlink("/bin/sh", e.join("bin/kubectl")).unwrap();
            },
            "leads to /bin/sh",
        ),
        ("truncated", |e| fs::write(e.join("bin/kube"), "#!").unwrap(), "bytes instead of"),
        (
            "one letter",
            |e| fs::write(e.join("bin/kube"), PROGRAM.replace("v1.36.3", "v1.36.4")).unwrap(),
            "kube has changed: sha256",
        ),
        ("manifest gone", |e| fs::remove_file(e.join("manifest.json")).unwrap(), "cannot be read"),
        ("manifest cut", |e| fs::write(e.join("manifest.json"), "{").unwrap(), "not understood"),
        (
            "manifest of tomorrow",
            |e| {
                let text = fs::read_to_string(e.join("manifest.json")).unwrap();
                fs::write(e.join("manifest.json"), text.replace("\"format\": 1", "\"format\": 99")).unwrap();
            },
            "has format 99",
        ),
        (
            "a file in its place",
            |e| {
                fs::remove_dir_all(e).unwrap();
                fs::write(e, "").unwrap();
            },
            "cannot be read",
        ),
    ];
    for (what, damage, reason) in damages {
        let bed = Bed::new();
        let artifact = bed.ensure(&kube()).await.0.unwrap();
        damage(&bed.cached("kube/v1.36.3"));
        let (again, said) = bed.ensure(&kube()).await;
        assert_eq!(again.unwrap(), artifact, "{what}");
        assert!(said.contains(reason), "{what}: {said}");
        assert_eq!(bed.go.calls().len(), 2, "{what}");
        assert_eq!(fs::read_to_string(bed.cached("kube/v1.36.3/bin/kubectl")).unwrap(), PROGRAM, "{what}");
    }
}

#[tokio::test]
async fn a_copied_cache_is_read_once_and_trusted() {
    let bed = Bed::new();
    bed.ensure(&kube()).await.0.unwrap();
    let binary = bed.cached("kube/v1.36.3/bin/kube");
    fs::write(&binary, PROGRAM).unwrap();
    assert!(bed.engine().find(&kube()).is_some());
    let (artifact, said) = bed.ensure(&kube()).await;
    artifact.unwrap();
    assert_eq!(said, "kube checking it");
    assert_eq!(bed.ensure(&kube()).await.1, "", "the new times were not remembered");
    assert_eq!(bed.go.calls().len(), 1);
}

#[tokio::test]
async fn other_sources_are_another_build() {
    let mut bed = Bed::new();
    bed.ensure(&etcd_image()).await.0.unwrap();
    let checkout = bed.dir.path().join("engine");
    fs::create_dir_all(checkout.join("etcd")).unwrap();
    for name in ["go.mod", "go.sum", "main.go"] {
        fs::write(checkout.join("etcd").join(name), "// changed\n").unwrap();
    }
    bed.config.sources_dir = Some(checkout);
    let (artifact, said) = bed.ensure(&etcd_image()).await;
    artifact.unwrap();
    assert!(said.contains("built from other sources"), "{said}");
    assert_eq!(bed.ensure(&etcd_image()).await.1, "");
    assert_eq!(bed.go.calls().len(), 2);
}

#[tokio::test]
async fn a_cache_that_everybody_can_write_to_is_refused() {
    let bed = Bed::new();
    fs::create_dir(&bed.config.cache_dir).unwrap();
    fs::set_permissions(&bed.config.cache_dir, fs::Permissions::from_mode(0o777)).unwrap();
    let error = bed.ensure(&kube()).await.0.unwrap_err();
    assert_eq!(error.code().to_string(), "SKEP-1007");
    assert!(error.to_string().contains("chmod o-w"), "{error}");
}

#[tokio::test]
async fn a_cache_that_cannot_be_made() {
    let mut bed = Bed::new();
    bed.config.cache_dir = bed.go.path.join("below-a-file");
    let error = bed.ensure(&kube()).await.0.unwrap_err();
    assert_eq!(error.code().to_string(), "SKEP-1009");
    assert!(error.to_string().contains("below-a-file"), "{error}");
}

#[tokio::test]
async fn any_image_can_be_given_and_given_comes_first() {
    let mut bed = Bed::new();
    let given = bed.dir.path().join("given");
    for dir in ["kube/v1.36.3/bin", "sleeper/v1/bin"] {
        fs::create_dir_all(given.join(dir)).unwrap();
        fs::write(given.join(dir).join("prog"), "").unwrap();
    }
    bed.config.given = vec![bed.dir.path().join("nothing-here"), given.clone()];
    for image in [kube(), "registry.example/tests/sleeper:v1".parse::<ImageRef>().unwrap()] {
        let (artifact, said) = bed.ensure(&image).await;
        let artifact = artifact.unwrap();
        assert_eq!((artifact.source, said.as_str()), (Source::Given, ""));
        assert!(artifact.program("prog").is_some_and(|p| p.starts_with(&given)));
    }
    assert!(bed.go.calls().is_empty());
    assert!(!bed.config.cache_dir.exists(), "nothing had to be written");
}

#[tokio::test]
async fn an_unknown_image_says_which_exist() {
    let mut bed = Bed::new();
    let given = bed.dir.path().join("given");
    fs::create_dir_all(given.join("sleeper/v1/bin")).unwrap();
    bed.config.given = vec![given];
    for unknown in ["skep.dev/kube:v1.30.0", "docker.io/nginx:latest", "skep.dev/kub:v1.36.3"] {
        let error = bed.ensure(&unknown.parse().unwrap()).await.0.unwrap_err();
        assert_eq!(error.code().to_string(), "SKEP-1001");
        assert_eq!(
            error.to_string(),
            format!(
                "image {unknown} is not known. Known: skep.dev/cni:v1.9.1, skep.dev/containerd:v2.2.1, \
                 skep.dev/coredns:v1.15.0, skep.dev/etcd:v3.7.3, skep.dev/kube:v1.35.4, skep.dev/kube:v1.36.3, \
                 skep.dev/metrics-server:v0.9.0, skep.dev/node:v1.35.4, skep.dev/node:v1.36.3, skep.dev/pause:v1, \
                 skep.dev/sleeper:v1"
            )
        );
    }
}

#[tokio::test]
async fn the_list_says_what_is_there() {
    let bed = Bed::new();
    let state = |image: &str| {
        let entry = bed.engine().list().into_iter().find(|entry| entry.image.to_string() == image);
        entry.map(|entry| entry.state)
    };
    let listed: Vec<_> = bed.engine().list().into_iter().map(|entry| entry.image.to_string()).collect();
    for image in [
        etcd_image(),
        kube(),
        node_image("v1.35.4").unwrap(),
        containerd_image(),
        cni_image(),
        coredns_image(),
    ] {
        assert!(listed.contains(&image.to_string()), "{image} is not in {listed:?}");
    }
    assert!(listed.iter().all(|image| state(image) == Some(EntryState::Absent)));
    bed.ensure(&kube()).await.0.unwrap();
    let size = PROGRAM.len() as u64;
    let ready = EntryState::Ready { source: Source::Built, bin_dir: bed.cached("kube/v1.36.3/bin"), size };
    assert_eq!(state("skep.dev/kube:v1.36.3"), Some(ready));
    fs::remove_file(bed.cached("kube/v1.36.3/bin/kube")).unwrap();
    let damaged = state("skep.dev/kube:v1.36.3");
    assert!(matches!(damaged, Some(EntryState::Unusable { reason }) if reason.contains("kube is gone")));
    assert_eq!(bed.engine().find(&kube()), None);
    let json = serde_json::to_value(bed.engine().list()).unwrap();
    assert_eq!(json[0]["image"], "skep.dev/cni:v1.9.1");
    assert_eq!(json[0]["state"]["state"], "absent");
}

#[tokio::test]
async fn the_running_program_is_an_image() {
    let mut bed = Bed::new();
    bed.config.own_program = Some("/bin/sh".into());
    let artifact = bed.ensure(&skep_image()).await.0.unwrap();
    assert_eq!(artifact.source, Source::Own);
    assert_eq!(fs::read_link(artifact.program("skep").unwrap()).unwrap(), Path::new("/bin/sh"));
    let first = artifact.bin_dir;
    bed.config.own_program = Some("/bin/cat".into());
    assert_ne!(bed.ensure(&skep_image()).await.0.unwrap().bin_dir, first, "two programs share a directory");
    bed.config.own_program = None;
    assert_eq!(bed.ensure(&skep_image()).await.0.unwrap_err().code().to_string(), "SKEP-1001");
}
