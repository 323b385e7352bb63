//! `skep kubeconfig` and `skep use`

use std::{
    env, fs,
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use skep_api::Cluster;
use skep_pki::{Kubeconfig, Names, kubeconfig};
use tokio::time::{Instant, sleep};

use crate::{
    cli::{
        Global,
        cluster::{Named, Use},
    },
    error::{self, Error, Result, code},
    exit::Exit,
    hub, output,
};

/// Key of the Secret that holds the kubeconfig.
const KEY: &str = "value";
/// For another program to finish writing.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

pub async fn print(global: &Global, named: &Named) -> Result<()> {
    output::print(&fetch(global, named).await?)
}

pub async fn adopt(global: &Global, args: &Use) -> Result<()> {
    let Named { name, project } = &args.named;
    let text = fetch(global, &args.named).await?;
    let mut config =
        Kubeconfig::parse(&text).map_err(|error| unusable(&format!("cluster {project}/{name}"), error))?;
    let context = args.context.clone().unwrap_or_else(|| format!("skep-{project}-{name}"));
    config.names = Names::same(&context);
    let path = own_kubeconfig()?;
    let _lock = FileLock::take(&path).await?;
    let old = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        other => other.map_err(|error| Error::file(&path, error))?,
    };
    let new =
        kubeconfig::merge(&old, &config).map_err(|error| unusable(&path.display().to_string(), error))?;
    skep_embedded::files::replace(&path, new.as_bytes(), 0o600)?;
    output::print(&format!("context {context} is current in {}\n", path.display()))
}

fn unusable(what: &str, error: skep_pki::Error) -> Error {
    Error::new(code::KUBECONFIG, Exit::Failure, format!("{what}: {error}"))
}

/// The kubeconfig of a cluster. The text holds a private key.
pub(super) async fn fetch(global: &Global, Named { name, project }: &Named) -> Result<String> {
    let client = hub::client(global).await?;
    let what = format!("cluster {project}/{name}");
    let cluster: Cluster = Api::namespaced(client.clone(), project)
        .get(name)
        .await
        .map_err(|error| error::api(&what, &error))?;
    let not_yet = || {
        Error::new(code::NOT_READY, Exit::Failure, format!("{what} has no kubeconfig yet"))
            .help(format!("wait for it with `skep wait cluster {name} -n {project}`"))
    };
    let secret_name = cluster.status.and_then(|status| status.kubeconfig_secret).ok_or_else(not_yet)?;
    let secrets: Api<Secret> = Api::namespaced(client, project);
    let secret = match secrets.get(&secret_name).await {
        Err(error) if skep_kubeops::error::is_not_found(&error) => return Err(not_yet()),
        other => other.map_err(|error| error::api(&format!("secret {project}/{secret_name}"), &error))?,
    };
    let value = secret.data.and_then(|mut data| data.remove(KEY)).ok_or_else(not_yet)?;
    String::from_utf8(value.0).map_err(|error| {
        Error::new(code::KUBECONFIG, Exit::Failure, format!("secret {project}/{secret_name}: {error}"))
    })
}

/// The file kubectl would write to: the first one of `KUBECONFIG`, else `~/.kube/config`; behind symbolic links.
fn own_kubeconfig() -> Result<PathBuf> {
    let named = env::var_os("KUBECONFIG")
        .and_then(|list| env::split_paths(&list).find(|path| !path.as_os_str().is_empty()));
    let path = match named {
        Some(path) => path,
        None => env::home_dir().map(|home| home.join(".kube/config")).ok_or_else(|| {
            Error::new(code::KUBECONFIG, Exit::Failure, "no home directory and KUBECONFIG is not set")
        })?,
    };
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::create_dir_all(dir).map_err(|error| Error::file(dir, error))?;
    }
    Ok(fs::canonicalize(&path).unwrap_or(path))
}

/// The lock that kubectl and its relatives take: a file beside the kubeconfig that must not exist.
struct FileLock(PathBuf);

impl FileLock {
    async fn take(path: &Path) -> Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let lock = PathBuf::from(name);
        let began = Instant::now();
        loop {
            match OpenOptions::new().write(true).create_new(true).open(&lock) {
                Ok(_) => return Ok(Self(lock)),
                // There is no event for a file that goes away which every file system has.
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists && began.elapsed() < LOCK_PATIENCE =>
                {
                    sleep(Duration::from_millis(50)).await;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(Error::new(
                        code::KUBECONFIG,
                        Exit::Failure,
                        format!("{} is locked by {}", path.display(), lock.display()),
                    )
                    .help("another program is changing it; if none is, remove the lock file"));
                }
                Err(error) => return Err(Error::file(&lock, error)),
            }
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_lock_excludes_others_and_goes_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        let lock = FileLock::take(&path).await.unwrap();
        let error = FileLock::take(&path).await.err().unwrap();
        assert!(error.message.contains("config.lock"), "{}", error.message);
        drop(lock);
        assert!(FileLock::take(&path).await.is_ok());
        assert!(!dir.path().join("config.lock").exists());
    }
}
