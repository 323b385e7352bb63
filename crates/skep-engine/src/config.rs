//! What the engine is told: by code, or by the environment.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};

/// Settings of an [`crate::Engine`].
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where made images are kept: one directory per user.
    pub cache_dir: PathBuf,
    /// A checkout's `engine/` directory to build from instead of the embedded sources.
    pub sources_dir: Option<PathBuf>,
    /// Directories with programs, looked at before anything else, in this order. The programs of `skep.dev/kube:v1.36.3`
    /// are in `<dir>/kube/v1.36.3/bin/`. *Any* image name can be given this way.
    pub given: Vec<PathBuf>,
    /// Whether and where official releases are looked for.
    pub releases: Releases,
    /// The `go` program. `None`: the one in `PATH`, then where upstream's installer and Debian put it.
    pub go: Option<PathBuf>,
    /// The program behind [`crate::skep_image`].
    pub own_program: Option<PathBuf>,
    /// Deadlines.
    pub limits: Limits,
}

/// Where official releases come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Releases {
    /// Nowhere: build.
    Off,
    /// From upstream: `https://dl.k8s.io` and `https://github.com`.
    Upstream,
    /// From a mirror that has the paths of both upstreams below one URL. `https`, or `http` on a loopback address.
    Mirror(String),
}

/// Deadlines. Each bounds one thing that could wait for ever.
#[derive(Clone, Debug)]
pub struct Limits {
    /// For a TCP connection to a release host. A host that is not there costs this much.
    pub connect: Duration,
    /// For the head of a response, redirects counted apart. A host that takes longer would not deliver hundreds of
    /// megabytes sooner than a build.
    pub head: Duration,
    /// For the next piece of a body.
    pub idle: Duration,
    /// How long an unreachable release host is not asked again by this process.
    pub retry_after: Duration,
    /// For a whole build.
    pub build: Duration,
    /// For another process that is making the same image.
    pub wait: Duration,
    /// For a finished program to say its version, and for `go` to say its own.
    pub check: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            head: Duration::from_secs(3),
            idle: Duration::from_secs(15),
            retry_after: Duration::from_secs(300),
            // Five minutes on two cores with cold caches; this leaves room for a very small machine.
            build: Duration::from_secs(90 * 60),
            wait: Duration::from_secs(95 * 60),
            check: Duration::from_secs(30),
        }
    }
}

impl EngineConfig {
    /// A cache there, everything else by default: upstream releases, `go` from `PATH`, nothing given.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            cache_dir: cache_dir.into(),
            sources_dir: None,
            given: Vec::new(),
            releases: Releases::Upstream,
            go: None,
            own_program: None,
            limits: Limits::default(),
        }
    }

    /// From the environment: `SKEP_ENGINE_CACHE` (else `XDG_CACHE_HOME/skep`, else `~/.cache/skep`), `SKEP_ENGINE_PATH`
    /// (given directories, separated by `:`), `SKEP_ENGINE_RELEASES` (`off`, or the URL of a mirror), `SKEP_ENGINE_SOURCES`,
    /// `SKEP_GO`. An empty variable is the same as none.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when no cache directory can be found out.
    pub fn from_env() -> Result<Self> {
        let mut config = Self::read(|name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from))?;
        config.own_program =
            env::current_exe().ok().filter(|exe| exe.file_name().is_some_and(|n| n == "skep"));
        Ok(config)
    }

    fn read(var: impl Fn(&str) -> Option<PathBuf>) -> Result<Self> {
        // The XDG specification says that relative paths are to be ignored.
        let cache_dir = var("SKEP_ENGINE_CACHE")
            .or_else(|| var("XDG_CACHE_HOME").filter(|p| p.is_absolute()).map(|p| p.join("skep")))
            .or_else(|| var("HOME").filter(|p| p.is_absolute()).map(|p| p.join(".cache/skep")))
            .ok_or(Error::InvalidConfig {
                setting: "the cache directory",
                why: "HOME is not set; set it, or SKEP_ENGINE_CACHE".to_owned(),
            })?;
        let cache_dir = std::path::absolute(&cache_dir).map_err(Error::io("find", &cache_dir, 0))?;
        let releases = match var("SKEP_ENGINE_RELEASES") {
            None => Releases::Upstream,
            Some(text) if text.as_os_str() == "off" => Releases::Off,
            Some(text) => Releases::Mirror(text.to_string_lossy().into_owned()),
        };
        Ok(Self {
            sources_dir: var("SKEP_ENGINE_SOURCES"),
            given: var("SKEP_ENGINE_PATH")
                .map(|list| env::split_paths(&list).filter(|p| !p.as_os_str().is_empty()).collect())
                .unwrap_or_default(),
            releases,
            go: var("SKEP_GO"),
            ..Self::new(cache_dir)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<EngineConfig> {
        EngineConfig::read(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| PathBuf::from(v)))
    }

    #[test]
    fn where_the_cache_is() {
        let all = [("SKEP_ENGINE_CACHE", "/c"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        for (vars, dir) in [(&all[..], "/c"), (&all[1..], "/x/skep"), (&all[2..], "/h/.cache/skep")] {
            assert_eq!(read(vars).unwrap().cache_dir, PathBuf::from(dir));
        }
        assert_eq!(
            read(&[("XDG_CACHE_HOME", "x"), ("HOME", "/h")]).unwrap().cache_dir,
            PathBuf::from("/h/.cache/skep")
        );
        assert_eq!(read(&[]).unwrap_err().code().to_string(), "SKEP-1007");
        assert!(read(&[("SKEP_ENGINE_CACHE", "rel")]).unwrap().cache_dir.is_absolute());
    }

    #[test]
    fn releases_and_given_paths() {
        let config = read(&[
            ("HOME", "/h"),
            ("SKEP_ENGINE_PATH", "/a::/b"),
            ("SKEP_ENGINE_RELEASES", "https://mirror.example/k"),
        ])
        .unwrap();
        assert_eq!(config.given, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(config.releases, Releases::Mirror("https://mirror.example/k".into()));
        assert_eq!(read(&[("HOME", "/h"), ("SKEP_ENGINE_RELEASES", "off")]).unwrap().releases, Releases::Off);
        assert_eq!(read(&[("HOME", "/h")]).unwrap().releases, Releases::Upstream);
    }
}
