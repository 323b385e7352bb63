//! The suite and its runner, built from upstream's modules by the engine and kept in its cache.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
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

const VERSION: &str = KUBERNETES[0];

/// Builds what is not there.
pub async fn ensure() -> anyhow::Result<Binaries> {
    let engine = Engine::from_env()?;
    let progress = Lines::stderr();
    let suite = engine.ensure_recipe(&recipe()?, &progress).await?;
    let kube = engine.ensure(&kubernetes_image(VERSION)?, &progress).await?;
    let program = |artifact: &skep_engine::Artifact, name: &str| {
        artifact.program(name).with_context(|| format!("{} has no {name}", artifact.image))
    };
    Ok(Binaries {
        e2e: program(&suite, "e2e.test")?,
        ginkgo: program(&suite, "ginkgo")?,
        kubectl: program(&kube, "kubectl")?,
    })
}

fn recipe() -> anyhow::Result<Recipe> {
    macro_rules! file {
        ($name:literal) => {
            SourceFile {
                name: $name.to_owned(),
                content: Cow::Borrowed(
                    include_bytes!(concat!("../../../engine/conformance/", $name)).as_slice(),
                ),
            }
        };
    }
    let files = vec![file!("go.mod"), file!("go.sum"), file!("tools.go")];
    let image: ImageRef = format!("skep.dev/conformance:{VERSION}").parse()?;
    let output = |file: &str, verb, package: &str, ldflags: String| Output {
        file: file.to_owned(),
        verb,
        package: package.to_owned(),
        tags: Vec::new(),
        ldflags,
        links: Vec::new(),
    };
    // The suite compares its own version with the cluster's.
    let stamp = format!("-X k8s.io/component-base/version.gitVersion={VERSION}");
    let outputs = vec![
        output("e2e.test", Verb::Test, "k8s.io/kubernetes/test/e2e", stamp),
        output("ginkgo", Verb::Build, "github.com/onsi/ginkgo/v2/ginkgo", String::new()),
    ];
    let module = GoModule { name: "conformance".to_owned(), files, modfile: None };
    Ok(Recipe::built(image, module, outputs))
}

impl Binaries {
    /// A suite of one minor says nothing about a cluster of another one.
    pub fn same_minor_as(&self, kubeconfig: &Path) -> anyhow::Result<()> {
        let output = Command::new(&self.kubectl)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--request-timeout=60s", "get", "--raw", "/version"])
            .output()?;
        anyhow::ensure!(
            output.status.success(),
            "the cluster does not answer: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let version: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let cluster = version["gitVersion"].as_str().unwrap_or_default();
        let minor = |version: &str| version.split('.').take(2).collect::<Vec<_>>().join(".");
        anyhow::ensure!(
            minor(cluster) == minor(VERSION),
            "the cluster runs Kubernetes {cluster}, and the suite is that of {VERSION}"
        );
        Ok(())
    }
}
