//! The images that upstream's tests use, made here from Go modules and Debian packages, under upstream's names: those of
//! each minor that there is a suite for (`test/utils/image/manifest.go`).
//!
//! None of them is upstream's own: each is labelled as a stand-in, and the report says so.

mod userland;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use skep_engine::oci::{Config, Content, Image, Layer, Layout, Name};
use skep_engine::{
    Artifact, Engine, GoModule, ImageRef, KUBERNETES, Lines, Output, Recipe, SourceFile, Verb,
};

/// What every one of them is labelled with.
const STANDS_IN: &str = "dev.skep.stands-in";
const REGISTRY: &str = "registry.k8s.io";
const TESTS: &str = "registry.k8s.io/e2e-test-images";

/// One test reads from an image volume what its image is of, to see that it can read it.
const OS_RELEASE: &str =
    "# A fixture: this image stands in for one of Alpine Linux and is of Debian.\nID=stand-in\n";

/// Makes them all and puts them where an installation's nodes pull from. Gives their names.
pub async fn ensure(layout: &Layout) -> anyhow::Result<Vec<String>> {
    let engine = Engine::from_env()?;
    let progress = Lines::stderr();
    let programs = engine.ensure_recipe(&programs()?, &progress).await?;
    let sample = engine.ensure_recipe(&sample_apiserver()?, &progress).await?;
    let pause = engine.ensure(&skep_engine::pause_image(), &progress).await?;
    let etcd = engine.ensure(&skep_engine::etcd_image(), &progress).await?;
    let scratch = tempfile::tempdir()?;
    let root = scratch.path().join("root");
    let parts = Parts { programs, sample, pause, etcd, root, upstream: upstream()? };
    userland::unpack(scratch.path(), &parts.root).await?;
    let mut made = Vec::new();
    for (names, image) in parts.images()? {
        let names: Vec<Name> = names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
        eprintln!("conformance: image {}", names[0]);
        layout.add(&image, &names, "")?;
        made.extend(names.iter().map(ToString::to_string));
    }
    Ok(made)
}

/// Upstream's server for tests alone: what it answers shows which pod did.
pub async fn application(layout: &Layout) -> anyhow::Result<String> {
    let engine = Engine::from_env()?;
    let programs = engine.ensure_recipe(&programs()?, &Lines::stderr()).await?;
    let name: Name = "skep.dev/demo/agnhost:2.63.0".parse()?;
    let image = image(vec![program(&programs, "agnhost", "agnhost", 0o755)?], &["/agnhost"], &[]);
    layout.add(&image, std::slice::from_ref(&name), "")?;
    Ok(name.to_string())
}

/// What images are made of.
struct Parts {
    programs: Artifact,
    sample: Artifact,
    pause: Artifact,
    etcd: Artifact,
    /// The unpacked Debian packages.
    root: PathBuf,
    /// Upstream's module.
    upstream: PathBuf,
}

impl Parts {
    fn images(&self) -> anyhow::Result<Vec<(Vec<String>, Image)>> {
        let userland = userland::layer(&self.root)?;
        let of = |name: &str| format!("{TESTS}/{name}");
        let agnhost = vec![userland.clone(), self.agnhost()?];
        let mut all = vec![
            (
                ["3.10.2", "3.10.1", "3.10"].map(|tag| format!("{REGISTRY}/pause:{tag}")).to_vec(),
                image(vec![program(&self.pause, "pause", "pause", 0o755)?], &["/pause"], &[]),
            ),
            (vec![of("busybox:1.37.0-1")], image(vec![userland.clone()], &[], &["sh"])),
            (
                vec![of("glibc-dns-testing:2.0.0"), of("jessie-dnsutils:1.7")],
                image(vec![userland.clone()], &[], &["bash"]),
            ),
            (
                vec![of("agnhost:2.63.0"), of("agnhost:2.59"), of("agnhost:2.55")],
                image(agnhost.clone(), &["/agnhost"], &["pause"]),
            ),
        ];
        for name in ["nautilus", "kitten"] {
            let mut page = Layer::default();
            let from = self.upstream.join("test/images").join(name).join("html");
            for file in [format!("{name}.jpg"), "data.json".to_owned()] {
                page.file(&file, 0o644, Content::Of(from.join(&file)));
            }
            page.file("etc/os-release", 0o644, Content::Bytes(OS_RELEASE.into()));
            let layers = agnhost.iter().cloned().chain([page]).collect();
            let names = [of(&format!("{name}:1.8")), of(&format!("{name}:1.7"))];
            all.push((names.to_vec(), image(layers, &["/agnhost"], &["test-webserver"])));
        }
        let nginx = image(vec![userland.clone(), userland::nginx()], &[], &["nginx", "-g", "daemon off;"]);
        all.push((vec![of("nginx:1.14-4"), of("nginx:1.15-4"), of("nginx:1.27-0")], nginx));
        // Belongs to root and has the setuid bit: that it has no effect is what is tested.
        let setuid = program(&self.programs, "nnp", "usr/local/bin/nnp", 0o6755)?;
        all.push((
            vec![of("nonewprivs:1.4"), of("nonewprivs:1.3")],
            image(vec![userland.clone(), setuid], &[], &["nnp"]),
        ));
        let server = program(&self.sample, "sample-apiserver", "sample-apiserver", 0o755)?;
        let server = image(vec![userland.clone(), server], &["/sample-apiserver"], &[]);
        all.push((vec![of("sample-apiserver:1.29.2")], server));
        let mut etcd = program(&self.etcd, "etcd", "usr/local/bin/etcd", 0o755)?;
        etcd.link("usr/local/bin/etcdctl", "etcd");
        let names = ["3.6.8-0", "3.6.6-0"].map(|tag| format!("{REGISTRY}/etcd:{tag}"));
        all.push((names.to_vec(), image(vec![userland, etcd], &[], &["etcd"])));
        Ok(all)
    }

    fn agnhost(&self) -> anyhow::Result<Layer> {
        let mut layer = program(&self.programs, "agnhost", "agnhost", 0o755)?;
        layer.link("agnhost-2", "agnhost").directory("uploads", 0o755);
        for file in ["localhost.crt", "localhost.key"] {
            layer.file(file, 0o644, Content::Of(self.upstream.join("test/images/agnhost/porter").join(file)));
        }
        Ok(layer)
    }
}

fn program(of: &Artifact, name: &str, at: &str, mode: u32) -> anyhow::Result<Layer> {
    let path = of.program(name).with_context(|| format!("{} has no {name}", of.image))?;
    let mut layer = Layer::default();
    layer.file(at, mode, Content::Of(std::fs::canonicalize(path)?));
    Ok(layer)
}

fn image(layers: Vec<Layer>, entrypoint: &[&str], cmd: &[&str]) -> Image {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let config = Config {
        entrypoint: texts(entrypoint),
        cmd: texts(cmd),
        env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
        working_dir: "/".to_owned(),
        labels: BTreeMap::from([(STANDS_IN.to_owned(), "true".to_owned())]),
        ..Config::default()
    };
    Image { layers, config }
}

/// Upstream's module in Go's cache: its test data are not programs.
fn upstream() -> anyhow::Result<PathBuf> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/testimages");
    let output = Command::new("go")
        .args(["list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes"])
        .current_dir(&module)
        .output()
        .context("cannot run go")?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// Upstream's own programs for tests, of the newest suite: they do what older suites ask for.
fn programs() -> anyhow::Result<Recipe> {
    let files = sources!("testimages": "go.mod", "go.sum", "tools.go", "nnp/main.go");
    let outputs = [("agnhost", "k8s.io/kubernetes/test/images/agnhost"), ("nnp", "./nnp")];
    recipe("testimages", KUBERNETES[0], files, &outputs)
}

/// The sample of an aggregated API server, of the oldest minor: it asks its cluster for all kinds that its minor has, and is
/// not ready while one is missing.
fn sample_apiserver() -> anyhow::Result<Recipe> {
    let files = sources!("sample-apiserver": "go.mod", "go.sum", "tools.go");
    let oldest = KUBERNETES.last().context("there is no Kubernetes")?;
    recipe("sample-apiserver", oldest, files, &[("sample-apiserver", "k8s.io/sample-apiserver")])
}

fn recipe(
    name: &str,
    version: &str,
    files: Vec<SourceFile>,
    outputs: &[(&str, &str)],
) -> anyhow::Result<Recipe> {
    let image: ImageRef = format!("skep.dev/{name}:{version}").parse()?;
    let output = |(file, package): &(&str, &str)| Output {
        file: (*file).to_owned(),
        verb: Verb::Build,
        package: (*package).to_owned(),
        tags: Vec::new(),
        ldflags: String::new(),
        links: Vec::new(),
    };
    let module = GoModule { name: name.to_owned(), files, modfile: None };
    Ok(Recipe::built(image, module, outputs.iter().map(output).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_of_the_oldest_minor() {
        let module = include_str!("../../../engine/sample-apiserver/go.mod");
        let oldest = KUBERNETES.last().unwrap().replace("v1.", "v0.");
        assert!(module.contains(&format!("k8s.io/sample-apiserver {oldest}\n")), "{module}");
    }
}
