//! Which hub a command talks to: `--kubeconfig`, then `SKEP_KUBECONFIG`, then the installation in the data directory.

use std::path::PathBuf;

use kube::Client;
use skep_embedded::Layout;
use skep_kubeops::ClientConfig;

use crate::{cli::Global, error::Result};

/// The data directory of the local installation.
pub fn layout(global: &Global) -> Result<Layout> {
    Ok(Layout::resolve(global.data_dir.as_deref())?)
}

/// The hub's kubeconfig.
///
/// # Errors
/// When none is named and nothing was ever started here.
pub fn kubeconfig(global: &Global) -> Result<PathBuf> {
    if let Some(path) = &global.kubeconfig {
        return Ok(path.clone());
    }
    let layout = layout(global)?;
    let path = layout.kubeconfig();
    if path.exists() {
        Ok(path)
    } else {
        Err(skep_embedded::Error::NotRunning { path: layout.root().to_owned() }.into())
    }
}

/// A client of the hub. Nothing is sent yet.
pub async fn client(global: &Global) -> Result<Client> {
    let path = kubeconfig(global)?;
    // A person waits: no long retries behind their back.
    Ok(ClientConfig::from_kubeconfig(&path, None).await?.retries(1).build("skep")?)
}
