//! The images that nodes run: how each is built, fetched and checked.

use std::fs;

use skep_engine::{KUBERNETES, Releases, Source, cni_image, containerd_image, coredns_image, node_image};

use crate::server::{Server, arch};
use crate::support::Bed;

const KUBE: &str = KUBERNETES[0];

/// What nodes run: each file by its own package, tags and stamps.
#[tokio::test]
async fn programs_of_a_node() {
    let bed = Bed::new();
    let cases = [
        (
            node_image("v1.36.3").unwrap(),
            vec!["-modfile=kube-1.36.mod", "component-base/version.gitVersion=v1.36.3 ", " ./node"],
        ),
        (
            containerd_image(),
            vec![
                "-tags=no_btrfs,no_zfs,no_devmapper",
                "containerd/v2/version.Version=v2.2.1 ",
                "/cmd/containerd",
            ],
        ),
        (cni_image(), vec!["buildversion.BuildVersion=v1.9.1 ", "/plugins/main/bridge"]),
        (coredns_image(), vec!["-ldflags=-s -w -o ", " ."]),
    ];
    for (image, parts) in cases {
        let before = bed.go.calls().len();
        let artifact = bed.ensure(&image).await.0.unwrap();
        let call = bed.go.calls().swap_remove(before);
        for part in &parts {
            assert!(call.contains(part), "{part} is not in {call}");
        }
        assert!(call.ends_with(parts.last().unwrap()), "{call}");
        assert_eq!(artifact.source, Source::Built);
    }
    let node = bed.ensure(&node_image("v1.36.3").unwrap()).await.0.unwrap();
    for name in ["kubelet", "kube-proxy"] {
        assert_eq!(fs::read_link(node.program(name).unwrap()).unwrap().to_str(), Some("node"));
    }
    let runtime = bed.ensure(&containerd_image()).await.0.unwrap();
    assert_eq!(runtime.digests.keys().collect::<Vec<_>>(), ["containerd", "containerd-shim-runc-v2", "ctr"]);
    // The shim has tags of its own: one of them runs beside every pod.
    let shim = bed.go.calls().into_iter().find(|call| call.ends_with("/containerd-shim-runc-v2")).unwrap();
    assert!(shim.contains("-tags=no_grpc,urfave_cli_no_docs "), "{shim}");
    assert_eq!(bed.go.calls().len(), 1 + 3 + 4 + 1);
}

/// One stale program among right ones is enough to refuse an image.
#[tokio::test]
async fn every_program_is_checked() {
    let bed = Bed::new();
    bed.go.build(
        "cp \"$program\" \"$target\"
         case $target in */ctr) printf '#!/bin/sh\\necho ctr containerd/v2 v1.6.20' > \"$target\";; esac",
    );
    let error = bed.ensure(&containerd_image()).await.0.unwrap_err();
    assert_eq!(error.code().to_string(), "SKEP-1010");
    assert!(
        error.to_string().contains("ctr does not run here") && error.to_string().contains("v1.6.20"),
        "{error}"
    );
    bed.assert_no_entry();
}

/// A plugin takes its orders from the environment, and must not get one from ours.
#[tokio::test]
async fn a_check_does_not_depend_on_the_environment() {
    let bed = Bed::new();
    bed.go.build(
        "cp \"$program\" \"$target\"
         echo '[ -z \"$HOME\" ] || exit 1' >> \"$target\"",
    );
    assert!(std::env::var_os("HOME").is_some());
    bed.ensure(&cni_image()).await.0.unwrap();
}

/// Upstreams' layouts, as their release workflows make them.
#[tokio::test]
async fn what_nodes_run_from_four_publishers() {
    let server = Server::start().await.with_kubernetes(KUBE);
    let arch = arch();
    let runtime = format!(
        "/containerd/containerd/releases/download/v2.2.1/containerd-static-2.2.1-linux-{arch}.tar.gz"
    );
    let plugins =
        format!("/containernetworking/plugins/releases/download/v1.9.1/cni-plugins-linux-{arch}-v1.9.1.tgz");
    let dns = format!("/coredns/coredns/releases/download/v1.15.0/coredns_1.15.0_linux_{arch}.tgz");
    for (path, digest, members) in [
        (
            &runtime,
            ".sha256sum",
            &["bin/containerd", "bin/containerd-shim-runc-v2", "bin/containerd-stress", "bin/ctr"][..],
        ),
        (
            &plugins,
            ".sha256",
            &["./LICENSE", "./bridge", "./dhcp", "./host-local", "./loopback", "./portmap"],
        ),
        (&dns, ".sha256", &["coredns"]),
    ] {
        let members: Vec<_> = members.iter().map(|member| (*member).to_owned()).collect();
        server.archive(path, &format!("{path}{digest}"), &members);
    }
    let mut bed = Bed::new();
    bed.config.releases = Releases::Mirror(server.url.clone());
    bed.config.go = Some("/nonexistent/go".into());
    for (image, programs) in [
        (node_image(KUBE).unwrap(), &["kube-proxy", "kubelet"][..]),
        (containerd_image(), &["containerd", "containerd-shim-runc-v2", "ctr"]),
        (cni_image(), &["bridge", "host-local", "loopback", "portmap"]),
        (coredns_image(), &["coredns"]),
    ] {
        let artifact = bed.ensure(&image).await.0.unwrap();
        assert_eq!(artifact.source, Source::Release);
        assert_eq!(artifact.digests.keys().collect::<Vec<_>>(), programs, "{image}");
    }
}
