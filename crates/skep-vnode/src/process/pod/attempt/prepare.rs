//! Before there is a process: image, environment, mounts, command line. Nothing here changes anything that matters, so
//! it can be given up at any moment.

use std::path::{Path, PathBuf};

use super::{Attempt, Refusal};
use crate::backend::{ImageError, ImageRoot, PodContext};
use crate::process::environment::{Environment, Recipe};
use crate::process::paths::PathMap;
use crate::process::pod::mounts::path_map;
use crate::process::program;
use crate::process::volumes::Volumes;

/// Longest host name Linux takes.
const HOST_NAME: usize = 63;

/// What a process is started from.
pub(super) struct Prepared {
    pub image: ImageRoot,
    pub environment: Environment,
    pub map: PathMap,
    pub words: Vec<String>,
    pub directory: PathBuf,
    pub message: PathBuf,
}

impl Attempt {
    pub(super) async fn prepare(&self, context: &PodContext) -> Result<Prepared, Refusal> {
        let container = self.container()?;
        let image = self.image(container.image.as_deref().unwrap_or_default()).await?;
        let layout = self.identity.layout.clone();
        let (name, message) = (container.name.clone(), layout.message(&container.name, self.cell.attempt));
        let made = self.identity.work.run(move || layout.fresh(&name)).await;
        let failed = |why: String| Refusal::config("CreateContainerError", why);
        let (work, temporary) = made.map_err(|e| failed(format!("making directories: {e}")))?;

        let volumes = Volumes::new(self.identity.layout.volumes());
        let base = self.base(&image, &work, &temporary, container.tty == Some(true));
        let recipe = Recipe { pod: &self.pod, container, context, base, volumes: volumes.root() };
        let environment = recipe.build().await;
        let mut environment =
            environment.map_err(|why| self.refuse("CreateContainerConfigError", why.to_string()))?;
        let map = path_map(&self.pod, container, &volumes, &environment, &message);
        let map = map.map_err(|why| self.refuse("CreateContainerConfigError", why))?;
        let words = program::words(container, &image, &environment, &map);
        if words.is_empty() {
            return Err(self.refuse("CreateContainerError", "no command specified".into()));
        }
        for value in environment.values_mut() {
            *value = map.apply(value);
        }
        let own = environment.get("PATH").map(String::as_str);
        let path = program::search_path(&image, own);
        environment.insert("PATH".into(), path);
        let directory = directory(container.working_dir.as_deref(), &map, &work).map_err(failed)?;
        Ok(Prepared { image, environment, map, words, directory, message })
    }

    async fn image(&self, image: &str) -> Result<ImageRoot, Refusal> {
        let site = &self.site;
        let resolved =
            tokio::time::timeout(site.config.timings.image_deadline, site.config.images.resolve(image));
        let error = match resolved.await {
            Ok(Ok(root)) => {
                self.reporter.normal(
                    "Pulled",
                    format!(
                        "Container image {image:?} already present on machine and can be accessed by the pod"
                    ),
                );
                return Ok(root);
            }
            Ok(Err(error)) => error,
            Err(_) => ImageError::Unavailable { image: image.into(), reason: "it took too long".into() },
        };
        if let ImageError::Invalid { .. } = &error {
            let message = format!("Failed to apply default image tag {image:?}: {error}");
            self.reporter.warning("InspectFailed", message.clone());
            return Err(Refusal { reason: "InvalidImageName", message, image: true });
        }
        self.reporter.warning("Failed", format!("Failed to pull image {image:?}: {error}"));
        self.reporter.warning("Failed", "Error: ErrImagePull");
        Err(Refusal { reason: "ErrImagePull", message: error.to_string(), image: true })
    }

    fn refuse(&self, reason: &'static str, message: String) -> Refusal {
        self.reporter.warning("Failed", format!("Error: {message}"));
        Refusal::config(reason, message)
    }

    /// What container runtimes set before anybody else does.
    fn base(&self, image: &ImageRoot, work: &Path, temporary: &Path, terminal: bool) -> Environment {
        let spec = self.pod.spec.as_ref();
        let host = spec.and_then(|s| s.hostname.clone()).filter(|h| !h.is_empty());
        let host = host.unwrap_or_else(|| self.identity.name.clone());
        let mut base: Environment = image.env.iter().cloned().collect();
        base.insert("HOSTNAME".into(), host.chars().take(HOST_NAME).collect());
        base.insert("HOME".into(), work.display().to_string());
        base.insert("TMPDIR".into(), temporary.display().to_string());
        if terminal {
            base.insert("TERM".into(), "xterm".into());
        }
        base
    }
}

/// Where the process starts: a mounted path, a directory of the host, or else a directory of its own.
fn directory(wanted: Option<&str>, map: &PathMap, work: &Path) -> Result<PathBuf, String> {
    let Some(wanted) = wanted.filter(|w| !w.is_empty()) else { return Ok(work.to_path_buf()) };
    let real = map.resolve(wanted);
    if real == Path::new(wanted) && !(real.is_absolute() && real.is_dir()) {
        let own = crate::process::volumes::relative(wanted.trim_start_matches('/'))
            .map_err(|why| format!("workingDir {wanted:?}: {why}"))?;
        let own = work.join(own);
        std::fs::create_dir_all(&own).map_err(|e| format!("workingDir {wanted:?}: {e}"))?;
        return Ok(own);
    }
    std::fs::create_dir_all(&real).map_err(|e| format!("workingDir {wanted:?}: {e}"))?;
    Ok(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn working_directories() {
        let dir = tempfile::tempdir().unwrap();
        let (work, volume) = (dir.path().join("work"), dir.path().join("volume"));
        std::fs::create_dir_all(&work).unwrap();
        std::fs::create_dir_all(&volume).unwrap();
        let mut map = PathMap::new();
        assert!(map.insert("/data", &volume));
        let get = |wanted: &str| directory(Some(wanted), &map, &work);
        assert_eq!(directory(None, &map, &work).unwrap(), work);
        assert_eq!(get("/data").unwrap(), volume);
        assert_eq!(get("/data/a/b").unwrap(), volume.join("a/b"));
        assert!(volume.join("a/b").is_dir());
        assert_eq!(get("/etc").unwrap(), Path::new("/etc"));
        assert_eq!(get("/no/such/place").unwrap(), work.join("no/such/place"));
        assert!(get("/../up").is_err());
    }
}
