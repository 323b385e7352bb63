//! Every error code that the code can produce has a page under `docs/errors/`, and every page a code.
//!
//! Codes are given where the error is: as text (`SKEP-7001: …`) or as number (`Self::Listen { .. } => 6001`). They are
//! found in the sources, because no value has to be made for that and no list can be forgotten.

// Helpers of tests may fail loudly; the lint only exempts the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What stands before the number in texts and names of pages.
const PREFIX: &str = "SKEP-";

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match path.is_dir() {
            true if name != "tests" => sources(&path, found),
            false if name.ends_with(".rs") && name != "tests.rs" => found.push(path),
            _ => {}
        }
    }
}

/// The code of a source without comments and tests.
fn product(source: &str) -> impl Iterator<Item = &str> {
    let product = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    product.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// `1001` to `9999`, as a word of its own.
fn number(word: &str) -> Option<u16> {
    word.parse().ok().filter(|number| (1000..10_000).contains(number) && word.len() == 4)
}

/// Codes in texts.
fn texts(line: &str) -> impl Iterator<Item = u16> {
    line.split(PREFIX).skip(1).filter_map(|rest| number(rest.get(..4)?))
}

/// Codes as numbers: what an arm gives, or what a `Code` is made of.
fn numbers(line: &str) -> impl Iterator<Item = u16> {
    let given =
        ["=>", "Code::new("].into_iter().filter_map(|mark| line.split_once(mark)).map(|(_, rest)| rest);
    given.flat_map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')).filter_map(number)
}

fn codes(crates: &Path) -> BTreeMap<u16, PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(crates).unwrap() {
        sources(&entry.unwrap().path().join("src"), &mut files);
    }
    let mut codes = BTreeMap::new();
    for file in files {
        let source = fs::read_to_string(&file).unwrap();
        let gives_codes =
            product(&source).any(|line| line.contains("fn code(") || line.contains("Code::new("));
        for line in product(&source) {
            for code in texts(line).chain(numbers(line).filter(|_| gives_codes)) {
                codes.entry(code).or_insert_with(|| file.clone());
            }
        }
    }
    codes
}

fn pages(directory: &Path) -> BTreeSet<u16> {
    let page = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let code = name.strip_prefix(PREFIX).and_then(|name| number(name.strip_suffix(".md")?));
        let code = code.unwrap_or_else(|| panic!("{name} is no page of an error"));
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with(&format!("# {PREFIX}{code}: ")), "{name} begins with another title");
        for part in ["what it means", "why", "what to do"] {
            assert!(text.to_lowercase().contains(part), "{name} does not say {part}");
        }
        code
    };
    fs::read_dir(directory).unwrap().map(|entry| page(entry.unwrap().path())).collect()
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let codes = codes(&root.join("crates"));
    let pages = pages(&root.join("docs/errors"));
    let missing: Vec<_> = codes.iter().filter(|(code, _)| !pages.contains(code)).collect();
    assert!(missing.is_empty(), "codes without a page in docs/errors/: {missing:?}");
    let idle: Vec<_> = pages.iter().filter(|code| !codes.contains_key(code)).collect();
    assert!(idle.is_empty(), "pages for codes that nothing produces: {idle:?}");
    // Each part of the product has some; a search that finds none of a part looks in the wrong place.
    let parts: BTreeSet<u16> = codes.keys().map(|code| code / 1000).collect();
    assert_eq!(parts, (1..=8).collect());
}
