//! A crate may use only crates above it. What tests use is not restricted.

#![allow(clippy::unwrap_used, reason = "helpers of tests, not only the tests themselves")]

use std::process::Command;

use serde::Deserialize;

/// The layers of ARCHITECTURE.md from the top. A new crate is put where it belongs before its first commit.
const LAYERS: [&str; 20] = [
    "skep-api",
    "skep-plan",
    "skep-pki",
    "skep-kubeops",
    "skep-engine",
    "skep-datastore",
    "skep-controlplane",
    "skep-agent",
    "skep-infra",
    "skep-node",
    "skep-autoscaler",
    "skep-fleet",
    "skep-gateway",
    "skep-vnode",
    "skep-observe",
    "skep-insight",
    "skep-embedded",
    "skep",
    "skep-testkit",
    "xtask",
];

/// Crates that decide and do not act, with what they would need to act.
const PURE: [&str; 3] = ["skep-api", "skep-plan", "skep-pki"];
const ACTS: [&str; 6] = ["tokio", "hyper", "hyper-util", "axum", "kube-client", "kube-runtime"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Clone, Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Clone, Deserialize)]
struct Dependency {
    name: String,
    /// `dev` for what only tests use.
    kind: Option<String>,
    /// Set for crates of this workspace.
    path: Option<String>,
}

fn workspace() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice::<Metadata>(&output.stdout).unwrap().packages
}

/// Every edge that may not be, in words.
fn offences(packages: &[Package]) -> Vec<String> {
    let layer = |name: &str| LAYERS.iter().position(|known| *known == name);
    let mut offences = Vec::new();
    for package in packages {
        let name = &package.name;
        let Some(own) = layer(name) else {
            offences.push(format!("{name} has no layer: put it into this test and into ARCHITECTURE.md"));
            continue;
        };
        for used in package.dependencies.iter().filter(|used| used.kind.as_deref() != Some("dev")) {
            if used.path.is_some() && layer(&used.name).is_none_or(|layer| layer >= own) {
                offences.push(format!("{name} uses {}, which is not above it", used.name));
            }
            if PURE.contains(&name.as_str()) && ACTS.contains(&used.name.as_str()) {
                offences.push(format!("{name} decides and does not act, but uses {}", used.name));
            }
        }
    }
    offences
}

#[test]
fn no_crate_uses_one_below_it() {
    let packages = workspace();
    assert!(packages.len() > 10, "only {} crates were found", packages.len());
    let offences = offences(&packages);
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn offences_are_found() {
    let package = |name: &str, used: &[(&str, Option<&str>, bool)]| Package {
        name: name.into(),
        dependencies: used
            .iter()
            .map(|(name, kind, ours)| Dependency {
                name: (*name).into(),
                kind: kind.map(Into::into),
                path: ours.then(|| "crates".into()),
            })
            .collect(),
    };
    let packages = [
        package(
            "skep-kubeops",
            &[("skep-api", None, true), ("skep-testkit", Some("dev"), true), ("tokio", None, false)],
        ),
        package(
            "skep-plan",
            &[("skep-kubeops", None, true), ("tokio", None, false), ("tokio", Some("dev"), false)],
        ),
        package("skep-gateway", &[("skep-vnode", Some("build"), true), ("skep-gateway", None, true)]),
        package("skep-new", &[]),
    ];
    assert_eq!(
        offences(&packages),
        [
            "skep-plan uses skep-kubeops, which is not above it",
            "skep-plan decides and does not act, but uses tokio",
            "skep-gateway uses skep-vnode, which is not above it",
            "skep-gateway uses skep-gateway, which is not above it",
            "skep-new has no layer: put it into this test and into ARCHITECTURE.md",
        ]
    );
}
