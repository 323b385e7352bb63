//! The user's Go: where it is, which version it is, and which of its settings are kept.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::Build;
use crate::error::{Error, Result};
use crate::recipe::GoVersion;

/// Where `go` may be although it is not in `PATH`: upstream's installer, and Debian's and Ubuntu's versioned packages.
const ELSEWHERE: [&str; 3] = ["/usr/local/go/bin/go", "/usr/lib/go-1.27/bin/go", "/usr/lib/go-1.26/bin/go"];

/// Since this version `go` fetches a newer toolchain by itself when a module needs one.
const FETCHES_TOOLCHAINS: GoVersion = GoVersion(1, 21, 0);

/// A usable `go`.
#[derive(Debug)]
pub(super) struct Toolchain {
    pub go: PathBuf,
    pub version: GoVersion,
    /// The user's GOFLAGS that cannot break a build.
    kept: Vec<String>,
}

/// What `go env -json` says.
#[derive(serde::Deserialize)]
#[serde(rename_all = "UPPERCASE", default)]
#[derive(Default)]
struct GoEnv {
    goversion: String,
    goflags: String,
    gotoolchain: String,
}

impl Toolchain {
    /// Finds `go` and asks it for its version.
    pub(super) async fn find(build: &Build<'_>, needed: GoVersion) -> Result<Self> {
        let missing = |looked_for: String| Error::GoMissing {
            image: build.recipe.image.clone(),
            looked_for,
            needed: needed.to_string(),
            release: build.no_release.to_owned(),
        };
        let go = match build.go {
            Some(named) => locate(named.as_os_str()).ok_or_else(|| missing(named.display().to_string())),
            None => locate(OsStr::new("go"))
                .or_else(|| ELSEWHERE.iter().find_map(|path| locate(OsStr::new(path))))
                .ok_or_else(|| missing("`go` in PATH and in /usr/local/go/bin".to_owned())),
        }?;
        let env = ask(build, &go).await?;
        // Development versions have no number; they are newer than any release that is asked for.
        let version = match GoVersion::parse(&env.goversion) {
            Some(version) => version,
            None if env.goversion.starts_with("devel") => GoVersion(u32::MAX, 0, 0),
            None => GoVersion(0, 0, 0),
        };
        let toolchain = Self { go, version, kept: harmless(&env.goflags) };
        if version < needed && version < FETCHES_TOOLCHAINS {
            return Err(toolchain.too_old(build, ""));
        }
        if version < needed && env.gotoolchain == "local" {
            return Err(toolchain.too_old(build, ", and GOTOOLCHAIN=local forbids it to fetch one"));
        }
        Ok(toolchain)
    }

    /// GOFLAGS for the build. Never empty: an empty variable would let a setting of `go env -w` come back.
    pub(super) fn flags(&self) -> String {
        [&["-buildvcs=false".to_owned()], self.kept.as_slice()].concat().join(" ")
    }

    pub(super) fn too_old(&self, build: &Build<'_>, why: &str) -> Error {
        Error::GoTooOld {
            image: build.recipe.image.clone(),
            go: self.go.clone(),
            found: self.version.to_string(),
            needed: build.recipe.module.go_version().to_string(),
            why: why.to_owned(),
        }
    }
}

async fn ask(build: &Build<'_>, go: &Path) -> Result<GoEnv> {
    let broken = |why: String| Error::NotRunnable {
        program: go.to_owned(),
        expected: "the Go toolchain".to_owned(),
        why,
    };
    let mut command = Command::new(go);
    neutral(&mut command)
        .args(["env", "-json", "GOVERSION", "GOFLAGS", "GOTOOLCHAIN"])
        // The installed version is asked for, not one that a module file near this directory would switch to.
        .env("GO111MODULE", "off")
        .current_dir(build.cache)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(build.limits.check, command.output())
        .await
        .map_err(|_| broken(format!("`go env` did not end within {} s", build.limits.check.as_secs())))?
        .map_err(|e| broken(e.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(broken(format!(
            "`go env`: {}: {}",
            output.status,
            said.trim().chars().take(500).collect::<String>()
        )));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| broken(format!("`go env` gave no JSON: {e}")))
}

/// Takes away what the environment may say about other builds than ours. `go` knows its own root.
pub(super) fn neutral(command: &mut Command) -> &mut Command {
    for unwanted in
        ["GOROOT", "GOTOOLDIR", "GOTMPDIR", "GOEXPERIMENT", "GOCACHEPROG", "GODEBUG", "GOBIN", "GOFIPS140"]
    {
        command.env_remove(unwanted);
    }
    command.env("GOWORK", "off")
}

/// A program by path or by name in `PATH`.
fn locate(program: &OsStr) -> Option<PathBuf> {
    let is_program =
        |path: &Path| nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok() && path.is_file();
    if Path::new(program).components().count() > 1 {
        let path = std::path::absolute(program).ok()?;
        return is_program(&path).then_some(path);
    }
    std::env::split_paths(&std::env::var_os("PATH")?)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(program))
        .find(|path| is_program(path))
}

/// The flags that change how much of the machine a build may take, or the modes of what it leaves in the module cache.
/// All others (`-mod`, `-modfile`, `-tags`, `-race`, `-buildmode` …) change or break what is built.
fn harmless(goflags: &str) -> Vec<String> {
    goflags
        .split_whitespace()
        .filter(|flag| {
            let flag = flag.trim_start_matches('-');
            flag == "modcacherw" || flag == "modcacherw=true" || flag.starts_with("p=")
        })
        .map(str::to_owned)
        .collect()
}

/// Go's name of this machine's architecture.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_would_break_a_build_are_dropped() {
        assert_eq!(
            harmless("-mod=vendor -p=1 -modcacherw -tags=foo -race -buildmode=pie"),
            ["-p=1", "-modcacherw"]
        );
        assert!(harmless("").is_empty());
        let toolchain = Toolchain { go: "/go".into(), version: GoVersion(1, 26, 0), kept: vec![] };
        assert!(!toolchain.flags().is_empty());
    }
}
