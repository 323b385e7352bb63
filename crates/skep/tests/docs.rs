//! Every command in the user documentation is run here, page after page in the order of `docs/README.md`, against a
//! real installation. A block of ```` ```sh ```` is a script that must succeed; one of ```` ```sh root ```` as well, where
//! root and the tools of real nodes are there. Other blocks are not run.

// Helpers of tests may fail loudly; the lint only exempts the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

const SKEP: &str = env!("CARGO_BIN_EXE_skep");

struct Block {
    page: String,
    line: usize,
    script: String,
}

/// Pages in the order the index links them.
fn pages(docs: &Path) -> Vec<PathBuf> {
    let index = fs::read_to_string(docs.join("README.md")).unwrap();
    let mut pages: Vec<PathBuf> = Vec::new();
    for link in index.split("](").skip(1) {
        let target = link.split(')').next().unwrap();
        let page = docs.join(target);
        if target.ends_with(".md") && !target.contains('/') && !pages.contains(&page) {
            pages.push(page);
        }
    }
    pages
}

fn blocks(page: &Path) -> Vec<Block> {
    let text = fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match (&mut open, line) {
            (None, "```sh root") if !real_nodes() => {
                println!("LEFT OUT: {}:{}: no root or no tools for real nodes", page.display(), number + 1);
            }
            (None, "```sh" | "```sh root") => {
                let page = page.file_name().unwrap().to_string_lossy().into_owned();
                open = Some(Block { page, line: number + 2, script: String::new() });
            }
            (Some(_), "```") => blocks.extend(open.take()),
            (Some(block), line) => {
                block.script.push_str(line);
                block.script.push('\n');
            }
            (None, _) => {}
        }
    }
    assert!(open.is_none(), "{}: a block is not closed", page.display());
    blocks
}

/// Whether this host can have real nodes.
fn real_nodes() -> bool {
    let there = |name: &&str| {
        let path = std::env::var("PATH").unwrap_or_default();
        path.split(':').any(|dir| Path::new(dir).join(name).exists())
    };
    nix::unistd::geteuid().is_root() && ["runc", "iptables", "nft", "conntrack", "ip"].iter().all(there)
}

/// Stops the installation even when a page fails.
struct Down<'a>(&'a dyn Fn(&str) -> Command);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        let _ = self.0("skep down").output();
    }
}

#[test]
fn every_command_in_the_documentation_works() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let home = tempfile::tempdir().unwrap();
    let bin = home.path().join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(SKEP, bin.join("skep")).unwrap();
    let cache = std::env::var_os("SKEP_ENGINE_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        base.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache")).join("skep")
    });
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let shell = |script: &str| {
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(home.path())
            .env("PATH", &path)
            .env("HOME", home.path())
            .env("SKEP_ENGINE_CACHE", &cache)
            .env_remove("XDG_DATA_HOME")
            .env_remove("KUBECONFIG")
            .env_remove("SKEP_DATA_DIR");
        command
    };
    // Readers have a kubectl of their own; here it is the engine's.
    let link =
        format!("ln -s \"$(skep engine path skep.dev/kube:v1.36.3)/kubectl\" '{}/kubectl'", bin.display());
    assert!(shell(&link).status().unwrap().success(), "the engine gave no kubectl");

    let _down = Down(&shell);
    let mut run = 0;
    for block in pages(&docs).iter().flat_map(|page| blocks(page)) {
        let output = shell(&block.script).output().unwrap();
        assert!(
            output.status.success(),
            "docs/{} line {}: {}\n{}\n{}\n{}",
            block.page,
            block.line,
            output.status,
            block.script,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        run += 1;
    }
    assert!(run >= 10, "only {run} blocks were found: did the documentation move?");
}
