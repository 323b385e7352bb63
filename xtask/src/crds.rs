//! `cargo xtask crds`: the CustomResourceDefinitions under `deploy/crds/`, written from the types or compared with them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// What to do.
#[derive(clap::Args)]
pub struct Options {
    /// Write nothing; fail when a file is missing, differs, or belongs to no kind.
    #[arg(long)]
    check: bool,
}

const HEADER: &str = "# Written by `cargo xtask crds` from crates/skep-api. Do not edit.\n";

/// Writes or checks.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let (dir, wanted) = (directory(), generate()?);
    let differences = compare(&dir, &wanted)?;
    if options.check {
        anyhow::ensure!(differences.is_empty(), "{}\nRun `cargo xtask crds`.", differences.join("\n"));
        return Ok(());
    }
    fs::create_dir_all(&dir)?;
    for (name, text) in &wanted {
        fs::write(dir.join(name), text)?;
    }
    for name in present(&dir)?.keys().filter(|name| !wanted.contains_key(*name)) {
        fs::remove_file(dir.join(name))?;
    }
    differences.iter().for_each(|difference| println!("{difference}: put right"));
    Ok(())
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds")
}

/// File name → content. The name is that of the CRD, which is unique.
fn generate() -> anyhow::Result<BTreeMap<String, String>> {
    skep_api::crds()
        .into_iter()
        .map(|crd| {
            let name = crd.metadata.name.clone().context("a CRD without a name")?;
            Ok((format!("{name}.yaml"), format!("{HEADER}{}", serde_saphyr::to_string(&crd)?)))
        })
        .collect()
}

fn present(dir: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for item in fs::read_dir(dir).into_iter().flatten() {
        let path = item?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.insert(name, fs::read_to_string(&path)?);
        }
    }
    Ok(files)
}

/// What is wrong with the files of a directory, a line for each.
fn compare(dir: &Path, wanted: &BTreeMap<String, String>) -> anyhow::Result<Vec<String>> {
    let present = present(dir)?;
    let mut differences = Vec::new();
    for (name, text) in wanted {
        match present.get(name) {
            None => differences.push(format!("deploy/crds/{name} is missing")),
            Some(found) if found != text => {
                differences.push(format!("deploy/crds/{name} is not what the types say"))
            }
            Some(_) => {}
        }
    }
    let strangers = present.keys().filter(|name| !wanted.contains_key(*name));
    differences.extend(strangers.map(|name| format!("deploy/crds/{name} belongs to no kind")));
    Ok(differences)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_files_are_what_the_types_say() {
        let differences = compare(&directory(), &generate().unwrap()).unwrap();
        assert!(differences.is_empty(), "{}\nRun `cargo xtask crds`.", differences.join("\n"));
    }

    #[test]
    fn every_file_is_one_crd() {
        for (name, text) in generate().unwrap() {
            let crd: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
            assert_eq!(crd["kind"], "CustomResourceDefinition");
            assert_eq!(crd["apiVersion"], "apiextensions.k8s.io/v1");
            assert_eq!(format!("{}.yaml", crd["metadata"]["name"].as_str().unwrap()), name);
        }
    }

    #[test]
    fn differences_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let wanted: BTreeMap<_, _> =
            [("a.yaml", "a"), ("b.yaml", "b")].map(|(n, t)| (n.into(), t.into())).into();
        fs::write(dir.path().join("b.yaml"), "edited").unwrap();
        fs::write(dir.path().join("c.yaml"), "c").unwrap();
        fs::write(dir.path().join("README.md"), "not a CRD").unwrap();
        assert_eq!(
            compare(dir.path(), &wanted).unwrap(),
            [
                "deploy/crds/a.yaml is missing",
                "deploy/crds/b.yaml is not what the types say",
                "deploy/crds/c.yaml belongs to no kind"
            ]
        );
        assert_eq!(compare(&dir.path().join("nothing"), &wanted).unwrap().len(), 2);
    }
}
