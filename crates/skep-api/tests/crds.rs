//! The CRDs that are checked in are the ones the types give; `cargo xtask crds` writes them.

// Helpers of tests may fail loudly; the lint only exempts the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

#[test]
fn checked_in_crds_are_current() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    let mut expected: Vec<String> = Vec::new();
    for crd in skep_api::crds() {
        let name = crd.metadata.name.clone().unwrap();
        let file = format!("{name}.yaml");
        let found = std::fs::read_to_string(dir.join(&file)).unwrap_or_default();
        // The first line says where the file comes from.
        let found =
            found.split_once('\n').filter(|(first, _)| first.starts_with('#')).map_or("", |(_, rest)| rest);
        assert_eq!(
            found,
            serde_saphyr::to_string(&crd).unwrap(),
            "deploy/crds/{file} is not what the types give: run `cargo xtask crds`"
        );
        expected.push(file);
    }
    let mut files: Vec<String> =
        std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    expected.sort();
    assert_eq!(files, expected, "deploy/crds holds a file of no kind");
}
