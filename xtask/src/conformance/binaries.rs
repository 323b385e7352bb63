//! The suite and its runner, built from upstream's modules by the engine and kept in its cache.

use std::path::PathBuf;

use anyhow::Context as _;
use skep_api::KubeVersion;
use skep_engine::{
    Engine, GoModule, ImageRef, KUBERNETES, Lines, Output, Recipe, SourceFile, Verb, kubernetes_image,
};

/// Everything that runs.
pub struct Binaries {
    /// Upstream's tests as one program.
    pub e2e: PathBuf,
    /// The runner, of the version that the tests are compiled with.
    pub ginkgo: PathBuf,
    /// The kubectl that the kubectl tests use.
    pub kubectl: PathBuf,
}

/// Builds what is not there of the suite for clusters of this version. A suite of one minor says nothing about a cluster of
/// another one.
pub async fn ensure(cluster: &KubeVersion) -> anyhow::Result<Binaries> {
    let mut known = KUBERNETES.iter().filter_map(|version| Some((*version, version.parse().ok()?)));
    let same = |(_, known): &(&str, KubeVersion)| known.major_minor() == cluster.major_minor();
    let (version, _) = known.find(same).with_context(|| {
        format!(
            "the cluster runs Kubernetes {cluster}, and there are suites for {}",
            KUBERNETES.join(" and ")
        )
    })?;
    let engine = Engine::from_env()?;
    let progress = Lines::stderr();
    let suite = engine.ensure_recipe(&recipe(version, &cluster.major_minor())?, &progress).await?;
    let kube = engine.ensure(&kubernetes_image(version)?, &progress).await?;
    let program = |artifact: &skep_engine::Artifact, name: &str| {
        artifact.program(name).with_context(|| format!("{} has no {name}", artifact.image))
    };
    Ok(Binaries {
        e2e: program(&suite, "e2e.test")?,
        ginkgo: program(&suite, "ginkgo")?,
        kubectl: program(&kube, "kubectl")?,
    })
}

/// `minor` like `1.36`.
fn recipe(version: &str, minor: &str) -> anyhow::Result<Recipe> {
    let modfile = format!("conformance-{minor}.mod");
    let all = sources!(
        "conformance": "go.mod", "conformance-1.35.mod", "conformance-1.35.sum", "conformance-1.36.mod",
        "conformance-1.36.sum", "tools.go"
    );
    let other = |file: &SourceFile| file.name.starts_with("conformance-") && !file.name.contains(minor);
    let files = all.into_iter().filter(|file| !other(file)).collect();
    let image: ImageRef = format!("skep.dev/conformance:{version}").parse()?;
    let output = |file: &str, verb, package: &str, ldflags: String| Output {
        file: file.to_owned(),
        verb,
        package: package.to_owned(),
        tags: Vec::new(),
        ldflags,
        links: Vec::new(),
    };
    // The suite compares its own version with the cluster's.
    let stamp = format!("-X k8s.io/component-base/version.gitVersion={version}");
    let outputs = vec![
        output("e2e.test", Verb::Test, "k8s.io/kubernetes/test/e2e", stamp),
        output("ginkgo", Verb::Build, "github.com/onsi/ginkgo/v2/ginkgo", String::new()),
    ];
    let module = GoModule { name: "conformance".to_owned(), files, modfile: Some(modfile) };
    Ok(Recipe::built(image, module, outputs))
}
