//! The table: one row for each image. A new image is a row here and a directory under `engine/`.

use super::row::{Binary, Published, Row};
use super::{CNI, CONTAINERD, COREDNS, ETCD, KUBERNETES, METRICS_SERVER, PAUSE};
use crate::release::Upstream;

/// `kubectl version`, a server's `/version` and the version of a Node come from these; the two packages are where
/// servers and clients look.
const KUBERNETES_STAMPS: &[(&str, &[(&str, &str)])] = &[
    ("k8s.io/component-base/version", KUBERNETES_VERSION),
    ("k8s.io/client-go/pkg/version", KUBERNETES_VERSION),
];
const KUBERNETES_VERSION: &[(&str, &str)] = &[
    ("gitVersion", "{version}"),
    ("gitMajor", "{major}"),
    ("gitMinor", "{minor}"),
    ("gitTreeState", "clean"),
];
/// Kubernetes publishes each program by itself.
const KUBERNETES_RELEASE: Published = Published {
    upstream: Upstream::Kubernetes,
    path: "release/{version}/bin/linux/{arch}/{program}",
    digests: "{path}.sha256",
    member: None,
};

/// As containerd's Makefile has it.
const CONTAINERD_STAMPS: &[(&str, &[(&str, &str)])] =
    &[("github.com/containerd/containerd/v2/version", &[("Version", "{version}")])];
/// Snapshotters that need a kernel module and tools of their own, and the generator of manual pages.
const CONTAINERD_TAGS: &[&str] = &["no_btrfs", "no_zfs", "no_devmapper", "urfave_cli_no_docs"];

const CNI_STAMPS: &[(&str, &[(&str, &str)])] =
    &[("github.com/containernetworking/plugins/pkg/utils/buildversion", &[("BuildVersion", "{version}")])];

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "kube",
        versions: &KUBERNETES,
        module: "kube",
        files: &["go.mod", "kube-{major}.{minor}.mod", "kube-{major}.{minor}.sum", "main.go"],
        modfile: Some("kube-{major}.{minor}.mod"),
        binaries: &[Binary {
            file: "kube",
            package: ".",
            tags: &[],
            stamps: KUBERNETES_STAMPS,
            links: &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"],
        }],
        checks: &[("kube-apiserver", &["--version"], "Kubernetes {version}")],
        // One binary of 128 MB when built, several of up to 400 MB together when released.
        need_mib: 600,
        published: Some(KUBERNETES_RELEASE),
    },
    Row {
        name: "node",
        versions: &KUBERNETES,
        module: "kube",
        files: &["go.mod", "kube-{major}.{minor}.mod", "kube-{major}.{minor}.sum", "node/main.go"],
        modfile: Some("kube-{major}.{minor}.mod"),
        binaries: &[Binary {
            file: "node",
            package: "./node",
            tags: &[],
            stamps: KUBERNETES_STAMPS,
            links: &["kubelet", "kube-proxy"],
        }],
        checks: &[
            ("kubelet", &["--version"], "Kubernetes {version}"),
            ("kube-proxy", &["--version"], "Kubernetes {version}"),
        ],
        need_mib: 300,
        published: Some(KUBERNETES_RELEASE),
    },
    Row {
        name: "etcd",
        versions: &[ETCD],
        module: "etcd",
        files: &["go.mod", "go.sum", "main.go"],
        modfile: None,
        binaries: &[Binary {
            file: "etcd-all",
            package: ".",
            tags: &[],
            stamps: &[],
            links: &["etcd", "etcdctl", "etcdutl"],
        }],
        checks: &[("etcd", &["--version"], "etcd Version: {number}")],
        need_mib: 150,
        published: Some(Published {
            upstream: Upstream::GitHub,
            path: "etcd-io/etcd/releases/download/{version}/etcd-{version}-linux-{arch}.tar.gz",
            digests: "etcd-io/etcd/releases/download/{version}/SHA256SUMS",
            member: Some("etcd-{version}-linux-{arch}/{program}"),
        }),
    },
    Row {
        name: "containerd",
        versions: &[CONTAINERD],
        module: "containerd",
        files: &["go.mod", "go.sum", "tools.go"],
        modfile: None,
        // Three files, not one: a shim runs beside every pod and must be small.
        binaries: &[
            Binary {
                file: "containerd",
                package: "github.com/containerd/containerd/v2/cmd/containerd",
                tags: CONTAINERD_TAGS,
                stamps: CONTAINERD_STAMPS,
                links: &[],
            },
            Binary {
                file: "containerd-shim-runc-v2",
                package: "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
                tags: &["no_grpc", "urfave_cli_no_docs"],
                stamps: CONTAINERD_STAMPS,
                links: &[],
            },
            Binary {
                file: "ctr",
                package: "github.com/containerd/containerd/v2/cmd/ctr",
                tags: CONTAINERD_TAGS,
                stamps: CONTAINERD_STAMPS,
                links: &[],
            },
        ],
        checks: &[
            ("containerd", &["--version"], "containerd/v2 {version}"),
            ("containerd-shim-runc-v2", &["-v"], "{version}"),
            ("ctr", &["--version"], "containerd/v2 {version}"),
        ],
        need_mib: 200,
        // The other archive, without `static`, needs the C library of a recent distribution.
        published: Some(Published {
            upstream: Upstream::GitHub,
            path: "containerd/containerd/releases/download/{version}/containerd-static-{number}-linux-{arch}.tar.gz",
            digests: "{path}.sha256sum",
            member: Some("bin/{program}"),
        }),
    },
    Row {
        name: "cni",
        versions: &[CNI],
        module: "cni",
        files: &["go.mod", "go.sum", "tools.go"],
        modfile: None,
        // A plugin that is run without a command says what it is.
        binaries: &[
            cni("bridge", "github.com/containernetworking/plugins/plugins/main/bridge"),
            cni("host-local", "github.com/containernetworking/plugins/plugins/ipam/host-local"),
            cni("loopback", "github.com/containernetworking/plugins/plugins/main/loopback"),
            cni("portmap", "github.com/containernetworking/plugins/plugins/meta/portmap"),
        ],
        checks: &[
            ("bridge", &[], "CNI bridge plugin {version}"),
            ("host-local", &[], "CNI host-local plugin {version}"),
            ("loopback", &[], "CNI loopback plugin {version}"),
            ("portmap", &[], "CNI portmap plugin {version}"),
        ],
        need_mib: 100,
        published: Some(Published {
            upstream: Upstream::GitHub,
            path: "containernetworking/plugins/releases/download/{version}/cni-plugins-linux-{arch}-{version}.tgz",
            digests: "{path}.sha256",
            member: Some("{program}"),
        }),
    },
    Row {
        name: "coredns",
        versions: &[COREDNS],
        module: "coredns",
        files: &["go.mod", "go.sum", "main.go"],
        modfile: None,
        // Its version is a constant of its own.
        binaries: &[Binary { file: "coredns", package: ".", tags: &[], stamps: &[], links: &[] }],
        checks: &[("coredns", &["-version"], "CoreDNS-{number}\n")],
        need_mib: 150,
        published: Some(Published {
            upstream: Upstream::GitHub,
            path: "coredns/coredns/releases/download/{version}/coredns_{number}_linux_{arch}.tgz",
            digests: "{path}.sha256",
            member: Some("{program}"),
        }),
    },
    Row {
        name: "metrics-server",
        versions: &[METRICS_SERVER],
        module: "metrics-server",
        files: &["go.mod", "go.sum", "tools.go"],
        modfile: None,
        binaries: &[Binary {
            file: "metrics-server",
            package: "sigs.k8s.io/metrics-server/cmd/metrics-server",
            tags: &[],
            // As its Makefile has it. What `--version` prints is another variable, which nobody sets.
            stamps: &[("k8s.io/client-go/pkg/version", &[("gitVersion", "{version}")])],
            links: &[],
        }],
        checks: &[("metrics-server", &["--help"], "--metric-resolution")],
        need_mib: 150,
        published: None,
    },
    Row {
        name: "pause",
        versions: &[PAUSE],
        module: "pause",
        files: &["go.mod", "main.go"],
        modfile: None,
        binaries: &[Binary {
            file: "pause",
            package: ".",
            tags: &[],
            stamps: &[("main", &[("version", "{version}")])],
            links: &[],
        }],
        checks: &[("pause", &["-v"], "pause {version}")],
        need_mib: 10,
        published: None,
    },
];

const fn cni(file: &'static str, package: &'static str) -> Binary {
    Binary { file, package, tags: &[], stamps: CNI_STAMPS, links: &[] }
}
