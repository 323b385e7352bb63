//! Official releases from a server on loopback: whole, damaged, slow, absent and hostile ones.

use std::fs;

use skep_engine::{KUBERNETES, Releases, Source, etcd_image};

use crate::fake_go::PROGRAM;
use crate::server::{Reply, Server, etcd_archive_path, etcd_sums_path, kube_path, sha256, text};
use crate::support::{Bed, kube};

const KUBE: &str = KUBERNETES[0];
const ETCD: &str = skep_engine::ETCD;

fn bed(server: &Server) -> Bed {
    let mut bed = Bed::new();
    bed.config.releases = Releases::Mirror(server.url.clone());
    bed
}

fn without_go(server: &Server) -> Bed {
    let mut bed = bed(server);
    bed.config.go = Some("/nonexistent/go".into());
    bed
}

#[tokio::test]
async fn kubernetes_as_single_programs() {
    let server = Server::start().await.with_kubernetes(KUBE);
    let bed = without_go(&server);
    let (artifact, said) = bed.ensure(&kube()).await;
    let artifact = artifact.unwrap();
    assert_eq!(artifact.source, Source::Release);
    assert_eq!(artifact.digests.len(), 4);
    assert_eq!(artifact.digests["kubectl"], sha256(PROGRAM.as_bytes()));
    assert!(artifact.program("kube-apiserver").is_some());
    assert!(said.contains("fetching kube-apiserver: 0 MiB"), "{said}");
    let hits = server.hits().len();
    bed.ensure(&kube()).await.0.unwrap();
    assert_eq!(server.hits().len(), hits, "what is cached was fetched again");
}

#[tokio::test]
async fn etcd_as_an_archive() {
    let (server, _) = Server::start().await.with_etcd(ETCD);
    let bed = without_go(&server);
    let artifact = bed.ensure(&etcd_image()).await.0.unwrap();
    assert_eq!(artifact.source, Source::Release);
    assert_eq!(artifact.digests.keys().collect::<Vec<_>>(), ["etcd", "etcdctl", "etcdutl"]);
    assert_eq!(fs::read_to_string(artifact.program("etcdutl").unwrap()).unwrap(), PROGRAM);
}

#[tokio::test]
async fn a_release_is_not_made_again_when_sources_change() {
    let (server, _) = Server::start().await.with_etcd(ETCD);
    let bed = without_go(&server);
    bed.ensure(&etcd_image()).await.0.unwrap();
    let manifest = bed.cached(&format!("etcd/{ETCD}/manifest.json"));
    let text = fs::read_to_string(&manifest).unwrap();
    let recipe = text.lines().find(|line| line.contains("\"recipe\"")).unwrap();
    fs::write(&manifest, text.replace(recipe, "\"recipe\": \"of another version\",")).unwrap();
    assert_eq!(bed.ensure(&etcd_image()).await.1, "");
}

#[tokio::test]
async fn redirects_are_followed() {
    let (target, _) = Server::start().await.with_etcd(ETCD);
    let (server, archive) = Server::start().await.with_etcd(ETCD);
    server.reply(&etcd_sums_path(ETCD), [Reply::Redirect(format!("{}{}", target.url, etcd_sums_path(ETCD)))]);
    server.reply(&etcd_archive_path(ETCD), [Reply::Redirect("/moved".into())]);
    server.reply("/moved", [Reply::Redirect("again".into())]);
    server.reply("/again", [Reply::Bytes(archive)]);
    let artifact = without_go(&server).ensure(&etcd_image()).await.0.unwrap();
    assert_eq!(artifact.source, Source::Release);
    assert_eq!(target.hits(), [etcd_sums_path(ETCD)]);
}

#[tokio::test]
async fn a_wrong_digest_is_never_used_and_never_papered_over() {
    let server = Server::start().await.with_kubernetes(KUBE);
    let path = kube_path(KUBE, "kubectl");
    server.reply(&path, [text("#!/bin/sh\necho evil\n")]);
    let bed = bed(&server);
    let error = bed.ensure(&kube()).await.0.unwrap_err();
    assert_eq!(error.code().to_string(), "SKEP-1006");
    for part in [&path, &sha256(PROGRAM.as_bytes()), "SKEP_ENGINE_RELEASES=off"] {
        assert!(error.to_string().contains(part), "{part} is not in: {error}");
    }
    assert_eq!(server.hits_of("/kubectl"), 2, "one more attempt, and no more than one");
    assert!(bed.go.calls().is_empty());
    bed.assert_no_entry();
}

#[tokio::test]
async fn a_wrong_archive_is_not_unpacked() {
    let (server, mut archive) = Server::start().await.with_etcd(ETCD);
    let last = archive.len() - 1;
    archive[last] ^= 1;
    server.reply(&etcd_archive_path(ETCD), [Reply::Bytes(archive)]);
    let bed = bed(&server);
    assert_eq!(bed.ensure(&etcd_image()).await.0.unwrap_err().code().to_string(), "SKEP-1006");
    bed.assert_no_entry();
}

#[tokio::test]
async fn one_bad_download_is_tried_again() {
    let server = Server::start().await.with_kubernetes(KUBE);
    let half = || PROGRAM.as_bytes()[..10].to_vec();
    for (program, bad) in [
        ("kubectl", Reply::Cut(half())),
        ("kube-apiserver", text("damaged")),
        ("kube-controller-manager", Reply::Stall(half())),
        ("kube-scheduler", Reply::Status(503)),
    ] {
        server.reply(&kube_path(KUBE, program), [bad, text(PROGRAM)]);
    }
    let artifact = without_go(&server).impatient().ensure(&kube()).await.0.unwrap();
    assert_eq!(artifact.source, Source::Release);
    assert!(artifact.digests.values().all(|digest| *digest == sha256(PROGRAM.as_bytes())));
}

/// What cannot be had as a release is built, and a person is told why.
#[tokio::test]
async fn what_cannot_be_fetched_is_built() {
    let path = kube_path(KUBE, "kubectl");
    let digest = format!("{path}.sha256");
    let away = || Reply::Redirect("http://192.0.2.1/evil".into());
    let cases: Vec<(&str, &str, Reply, usize)> = vec![
        ("is not published there", &digest, Reply::Status(404), 1),
        ("it answers 403", &digest, Reply::Status(403), 1),
        ("it answers 500", &digest, Reply::Status(500), 1),
        ("has no SHA-256 of kubectl", &digest, text("<html>please log in</html>"), 1),
        ("much too long", &digest, Reply::Bytes(vec![b'a'; 300 << 10]), 1),
        ("redirects more than", &digest, Reply::Redirect(digest.clone()), 6),
        ("192.0.2.1 is not this machine: use https", &digest, away(), 1),
        ("no answer within 2 s", &digest, Reply::Silence, 1),
        ("is not published there", &path, Reply::Status(404), 1),
        ("it broke off", &path, Reply::Cut(b"#!/bin/sh".to_vec()), 2),
        ("nothing more came within 2 s", &path, Reply::Stall(b"#!/bin/sh".to_vec()), 2),
        ("192.0.2.1 is not this machine: use https", &path, away(), 1),
        ("it answers 502", &path, Reply::Status(502), 2),
    ];
    for (why, at, reply, attempts) in cases {
        let server = Server::start().await.with_kubernetes(KUBE);
        let bed = match reply {
            Reply::Silence | Reply::Stall(_) => bed(&server).impatient(),
            _ => bed(&server),
        };
        server.reply(at, [reply]);
        let (artifact, said) = bed.ensure(&kube()).await;
        let artifact = artifact.unwrap();
        assert_eq!(artifact.source, Source::Built, "{why}");
        assert_eq!(
            artifact.digests.keys().collect::<Vec<_>>(),
            ["kube"],
            "{why}: files of the release are left"
        );
        assert!(said.contains("no official release (") && said.contains(why), "{why} is not in: {said}");
        assert_eq!(server.hits_of(at), attempts, "{why}");
    }
}

#[tokio::test]
async fn without_release_and_without_go_both_are_said() {
    let mut bed = Bed::new();
    // A port that nobody is given by chance.
    bed.config.releases = Releases::Mirror("http://127.0.0.1:1".into());
    bed.config.go = Some("/nonexistent/go".into());
    let error = bed.ensure(&kube()).await.0.unwrap_err();
    assert_eq!(error.code().to_string(), "SKEP-1002");
    let text = error.to_string();
    assert!(
        text.contains("No official release: 127.0.0.1: ") && text.contains("Connection refused"),
        "{text}"
    );
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_asked_once() {
    let server = Server::start().await;
    for path in [etcd_sums_path(ETCD), format!("{}.sha256", kube_path(KUBE, "kube-apiserver"))] {
        server.reply(&path, [Reply::Silence]);
    }
    let bed = bed(&server).impatient();
    let engine = bed.engine();
    for image in [kube(), etcd_image()] {
        let reports = crate::support::Reports::default();
        assert_eq!(engine.ensure(&image, &reports).await.unwrap().source, Source::Built);
        assert!(reports.text().contains("no official release (127.0.0.1: no answer"), "{}", reports.text());
    }
    assert_eq!(server.hits().len(), 1);
}

#[tokio::test]
async fn a_release_of_another_version_is_refused() {
    let server = Server::start().await.with_kubernetes(KUBE);
    let other = "#!/bin/sh\necho Kubernetes v1.30.0\n";
    let path = kube_path(KUBE, "kube-apiserver");
    server.reply(&path, [text(other)]);
    server.reply(&format!("{path}.sha256"), [text(&sha256(other.as_bytes()))]);
    let bed = bed(&server);
    let error = bed.ensure(&kube()).await.0.unwrap_err();
    assert_eq!(error.code().to_string(), "SKEP-1010");
    assert!(error.to_string().contains("Kubernetes v1.30.0"), "{error}");
    bed.assert_no_entry();
}

#[tokio::test]
async fn a_mirror_that_cannot_be_used_is_said_before_anything_is_asked() {
    let mut bed = Bed::new();
    bed.config.releases = Releases::Mirror("http://mirror.example/k8s".into());
    let error = bed.ensure(&kube()).await.0.unwrap_err();
    assert_eq!(error.code().to_string(), "SKEP-1007");
    assert!(error.to_string().contains("use https"), "{error}");
}
