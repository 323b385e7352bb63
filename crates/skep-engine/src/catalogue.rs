//! The images this version of Skep knows how to make.

use crate::image::ImageRef;
use crate::recipe::{Output, Recipe, Verb, VersionCheck};
use crate::release;
use crate::sources;

/// The host part of Skep's image names. Nothing is ever fetched from it: the names are resolved here.
pub const REGISTRY: &str = "skep.dev";
/// The Kubernetes versions that can be made, newest first.
pub const KUBERNETES: [&str; 2] = ["v1.36.3", "v1.35.4"];
/// The etcd version that can be made.
pub const ETCD: &str = "v3.7.3";

/// What every `kube` image has, wherever it comes from.
pub(crate) const KUBE_PROGRAMS: [&str; 4] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"];
/// What every `etcd` image has.
pub(crate) const ETCD_PROGRAMS: [&str; 3] = ["etcd", "etcdctl", "etcdutl"];

/// `skep.dev/kube:<version>`; any version can be named, those of [`KUBERNETES`] can be made.
///
/// # Errors
/// [`crate::Error::InvalidImage`] when the version cannot be a tag.
pub fn kubernetes_image(version: &str) -> crate::Result<ImageRef> {
    ImageRef::new(&format!("{REGISTRY}/kube"), version)
}

/// `skep.dev/etcd:`[`ETCD`].
pub fn etcd_image() -> ImageRef {
    ImageRef::fixed(&format!("{REGISTRY}/etcd"), ETCD)
}

/// `skep.dev/skep:<this version>`: the running program itself, for pods that run a part of Skep.
pub fn skep_image() -> ImageRef {
    ImageRef::fixed(&format!("{REGISTRY}/skep"), env!("CARGO_PKG_VERSION"))
}

/// Every recipe of the product.
pub(crate) fn recipes() -> Vec<Recipe> {
    KUBERNETES.iter().map(|version| kube(version)).chain([etcd()]).collect()
}

fn kube(version: &str) -> Recipe {
    let minor = minor(version);
    // `kubectl version` and the API server's `/version` come from these; the two packages
    // are where a server and a client look.
    let ldflags = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"]
        .map(|package| {
            let minor = minor.trim_start_matches("1.");
            format!(
                "-X {package}.gitVersion={version} -X {package}.gitMajor=1 -X {package}.gitMinor={minor} -X {package}.gitTreeState=clean"
            )
        })
        .join(" ");
    Recipe {
        image: ImageRef::fixed(&format!("{REGISTRY}/kube"), version),
        module: sources::kube(minor),
        outputs: vec![Output {
            file: "kube".to_owned(),
            verb: Verb::Build,
            package: ".".to_owned(),
            ldflags,
            links: KUBE_PROGRAMS.map(str::to_owned).to_vec(),
        }],
        check: Some(VersionCheck {
            program: "kube-apiserver".to_owned(),
            args: vec!["--version".to_owned()],
            expect: format!("Kubernetes {version}"),
        }),
        // One binary of 139 MB when built, six of 400 MB together when released.
        need_bytes: 600 << 20,
        release: release::kubernetes(version, &KUBE_PROGRAMS),
    }
}

fn etcd() -> Recipe {
    Recipe {
        image: etcd_image(),
        module: sources::etcd(),
        outputs: vec![Output {
            file: "etcd-all".to_owned(),
            verb: Verb::Build,
            package: ".".to_owned(),
            ldflags: String::new(),
            links: ETCD_PROGRAMS.map(str::to_owned).to_vec(),
        }],
        check: Some(VersionCheck {
            program: "etcd".to_owned(),
            args: vec!["--version".to_owned()],
            expect: format!("etcd Version: {}", ETCD.trim_start_matches('v')),
        }),
        need_bytes: 150 << 20,
        release: release::etcd(ETCD, &ETCD_PROGRAMS),
    }
}

/// `1.36` of `v1.36.3`.
fn minor(version: &str) -> &str {
    let version = version.trim_start_matches('v');
    version.rsplit_once('.').map_or(version, |(minor, _patch)| minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_is_whole() {
        for recipe in recipes() {
            assert_eq!(recipe.image.to_string().parse::<ImageRef>().unwrap(), recipe.image);
            let module = &recipe.module;
            let modfile = module.modfile.clone().unwrap_or("go.mod".into());
            let sum = modfile.replace(".mod", ".sum");
            for needed in ["go.mod", "main.go", &modfile, &sum] {
                assert!(module.files.iter().any(|f| f.name == needed && !f.content.is_empty()), "{needed}");
            }
            // The version that is promised is the version that the module file pins.
            let pinned = match recipe.image.name() {
                "kube" => format!("k8s.io/kubernetes {}\n", recipe.image.tag()),
                _ => format!("go.etcd.io/etcd/server/v3 {}\n", recipe.image.tag()),
            };
            let file = module.files.iter().find(|f| f.name == modfile).unwrap();
            assert!(String::from_utf8_lossy(&file.content).contains(&pinned), "{pinned}");
            assert!(recipe.programs().contains(&recipe.check.unwrap().program));
        }
        assert_eq!(skep_image().to_string().parse::<ImageRef>().unwrap(), skep_image());
    }

    #[test]
    fn versions_are_stamped_for_servers_and_clients() {
        insta::assert_snapshot!(kube("v1.36.3").outputs[0].ldflags);
    }
}
