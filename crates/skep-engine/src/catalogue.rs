//! The images this version of Skep knows how to make.

mod row;
mod table;

use crate::image::ImageRef;
use crate::recipe::Recipe;

/// The host part of Skep's image names. Nothing is ever fetched from it: the names are resolved here.
pub const REGISTRY: &str = "skep.dev";
/// The Kubernetes versions that can be made, newest first: control plane and node.
pub const KUBERNETES: [&str; 2] = ["v1.36.3", "v1.35.4"];
/// The etcd version that can be made.
pub const ETCD: &str = "v3.7.3";
/// The containerd version that can be made. Pods with image volumes need 2.1 or newer.
pub const CONTAINERD: &str = "v2.2.1";
/// The version of the CNI plugins that can be made.
pub const CNI: &str = "v1.9.1";
/// The CoreDNS version that can be made.
pub const COREDNS: &str = "v1.15.0";
/// The metrics-server version that can be made.
pub const METRICS_SERVER: &str = "v0.9.0";
/// The version of [`cluster_autoscaler_image`].
pub const CLUSTER_AUTOSCALER: &str = "v1.36.1";
/// The version of [`pause_image`].
pub const PAUSE: &str = "v1";

/// `skep.dev/kube:<version>`: the control plane and kubectl. Any version can be named, those of [`KUBERNETES`] can be
/// made.
///
/// # Errors
/// [`crate::Error::InvalidImage`] when the version cannot be a tag.
pub fn kubernetes_image(version: &str) -> crate::Result<ImageRef> {
    ImageRef::new(&format!("{REGISTRY}/kube"), version)
}

/// `skep.dev/node:<version>`: kubelet and kube-proxy. Any version can be named, those of [`KUBERNETES`] can be made.
///
/// # Errors
/// [`crate::Error::InvalidImage`] when the version cannot be a tag.
pub fn node_image(version: &str) -> crate::Result<ImageRef> {
    ImageRef::new(&format!("{REGISTRY}/node"), version)
}

/// `skep.dev/etcd:`[`ETCD`]: etcd, etcdctl and etcdutl.
pub fn etcd_image() -> ImageRef {
    fixed("etcd", ETCD)
}

/// `skep.dev/containerd:`[`CONTAINERD`]: containerd, containerd-shim-runc-v2 and ctr. runc is not in it.
pub fn containerd_image() -> ImageRef {
    fixed("containerd", CONTAINERD)
}

/// `skep.dev/cni:`[`CNI`]: the plugins bridge, host-local, loopback and portmap. Its directory can be a runtime's
/// directory of plugins as it is.
pub fn cni_image() -> ImageRef {
    fixed("cni", CNI)
}

/// `skep.dev/coredns:`[`COREDNS`]: coredns. A build has the plugins that the DNS of a cluster needs (errors, health, ready,
/// kubernetes, cache, reload, loadbalance, forward, loop, log, prometheus, template), an official release has more.
pub fn coredns_image() -> ImageRef {
    fixed("coredns", COREDNS)
}

/// `skep.dev/metrics-server:`[`METRICS_SERVER`]: metrics-server.
pub fn metrics_server_image() -> ImageRef {
    fixed("metrics-server", METRICS_SERVER)
}

/// `skep.dev/cluster-autoscaler:`[`CLUSTER_AUTOSCALER`]: cluster-autoscaler. It can only be given
/// ([`crate::EngineConfig::given`]): upstream publishes it as an image of containers alone, and its Go module
/// (`k8s.io/autoscaler/cluster-autoscaler`) has no version that can be required.
pub fn cluster_autoscaler_image() -> ImageRef {
    fixed("cluster-autoscaler", CLUSTER_AUTOSCALER)
}

/// `skep.dev/pause:`[`PAUSE`]: the process that holds the namespaces of a pod.
pub fn pause_image() -> ImageRef {
    fixed("pause", PAUSE)
}

/// `skep.dev/skep:<this version>`: the running program itself, for pods that run a part of Skep.
pub fn skep_image() -> ImageRef {
    fixed("skep", env!("CARGO_PKG_VERSION"))
}

/// Every recipe of the product.
pub(crate) fn recipes() -> Vec<Recipe> {
    table::ROWS.iter().flat_map(row::Row::recipes).collect()
}

fn fixed(name: &str, version: &str) -> ImageRef {
    ImageRef::fixed(&format!("{REGISTRY}/{name}"), version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(image: &ImageRef) -> Recipe {
        recipes().into_iter().find(|recipe| recipe.image == *image).unwrap()
    }

    #[test]
    fn every_recipe_is_whole() {
        let all = recipes();
        for recipe in &all {
            let image = &recipe.image;
            assert_eq!(image.to_string().parse::<ImageRef>().unwrap(), *image);
            let module = &recipe.module;
            let modfile = module.modfile.clone().unwrap_or("go.mod".into());
            let sum = modfile.replace(".mod", ".sum");
            let depends =
                module.files.iter().any(|f| String::from_utf8_lossy(&f.content).contains("\nrequire"));
            for needed in ["go.mod", &modfile].into_iter().chain(depends.then_some(sum.as_str())) {
                assert!(
                    module.files.iter().any(|f| f.name == needed && !f.content.is_empty()),
                    "{image}: {needed}"
                );
            }
            assert!(module.files.iter().any(|f| f.name.ends_with(".go")), "{image} has no source");
            let nobody = ["pause", "metrics-server"].contains(&image.name());
            assert_eq!(recipe.release.is_none(), nobody, "{image}: who publishes it?");
            let programs = recipe.programs();
            assert!(!recipe.checks.is_empty(), "{image}");
            for check in &recipe.checks {
                assert!(programs.contains(&check.program), "{image}: {}", check.program);
            }
            let mut names: Vec<_> =
                recipe.outputs.iter().flat_map(|o| std::iter::once(&o.file).chain(&o.links)).collect();
            let files = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), files, "{image}: a file and a link have the same name");
            assert_eq!(all.iter().filter(|other| other.image == *image).count(), 1, "{image}");
        }
        assert_eq!(skep_image().to_string().parse::<ImageRef>().unwrap(), skep_image());
    }

    /// The version that is promised is the version that the module file pins.
    #[test]
    fn promised_versions_are_pinned() {
        for recipe in recipes() {
            let module = &recipe.module;
            let pinned = match recipe.image.name() {
                "kube" | "node" => "k8s.io/kubernetes",
                "etcd" => "go.etcd.io/etcd/server/v3",
                "containerd" => "github.com/containerd/containerd/v2",
                "cni" => "github.com/containernetworking/plugins",
                "coredns" => "github.com/coredns/coredns",
                "metrics-server" => "sigs.k8s.io/metrics-server",
                // Ours: it is made of nothing else.
                "pause" => continue,
                other => panic!("which module is {other} made of?"),
            };
            let pinned = format!("{pinned} {}\n", recipe.image.tag());
            let modfile = module.modfile.as_deref().unwrap_or("go.mod");
            let file = module.files.iter().find(|f| f.name == modfile).unwrap();
            assert!(String::from_utf8_lossy(&file.content).contains(&pinned), "{pinned}");
        }
    }

    #[test]
    fn every_name_that_is_given_away_can_be_made() {
        let [newest, oldest] = KUBERNETES;
        for (image, programs) in [
            (kubernetes_image(newest).unwrap(), &["kube-apiserver", "kubectl"][..]),
            (node_image(newest).unwrap(), &["kubelet", "kube-proxy"]),
            (node_image(oldest).unwrap(), &["kubelet", "kube-proxy"]),
            (etcd_image(), &["etcd", "etcdctl", "etcdutl"]),
            (containerd_image(), &["containerd", "containerd-shim-runc-v2", "ctr"]),
            (cni_image(), &["bridge", "host-local", "loopback", "portmap"]),
            (coredns_image(), &["coredns"]),
            (metrics_server_image(), &["metrics-server"]),
            (pause_image(), &["pause"]),
        ] {
            let found = recipe(&image).programs();
            for program in programs {
                assert!(found.iter().any(|f| f == program), "{image} has no {program}");
            }
        }
    }

    /// What only a node runs must not make the control plane's binary larger, nor its build dependent on it.
    #[test]
    fn control_plane_and_node_share_module_files_and_nothing_else() {
        let kube = recipe(&kubernetes_image(KUBERNETES[0]).unwrap());
        let node = recipe(&node_image(KUBERNETES[0]).unwrap());
        let names = |recipe: &Recipe| recipe.module.files.iter().map(|f| f.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&kube), ["go.mod", "kube-1.36.mod", "kube-1.36.sum", "main.go"]);
        assert_eq!(names(&node), ["go.mod", "kube-1.36.mod", "kube-1.36.sum", "node/main.go"]);
        assert_eq!(kube.outputs[0].ldflags, node.outputs[0].ldflags);
        assert_ne!(kube.module.digest(), node.module.digest());
    }

    #[test]
    fn versions_are_stamped_for_servers_and_clients() {
        insta::assert_snapshot!(recipe(&kubernetes_image("v1.36.3").unwrap()).outputs[0].ldflags);
    }
}
