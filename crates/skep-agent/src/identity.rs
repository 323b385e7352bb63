//! The node's own certificate: a client that uses it, and the moment when there is another one.

use std::{fs, io, path::PathBuf};

use kube::Client;
use skep_kubeops::ClientConfig;

use crate::{
    events::{Changes, appears},
    node::Node,
};

/// Waits until the node has a certificate; gives a client that uses it, and what notices that it was replaced.
///
/// # Errors
/// A sentence that says what cannot be used.
pub(crate) async fn client(node: &Node) -> Result<(Client, Rotation), String> {
    let certificate = node.layout.client_certificate();
    appears(&certificate).await.map_err(|error| error.to_string())?;
    let rotation = Rotation::of(certificate).map_err(|error| error.to_string())?;
    let config = ClientConfig::from_kubeconfig(&node.layout.kubeconfig(), None).await;
    let client =
        config.and_then(|config| config.build("skep-node-agent")).map_err(|error| error.to_string())?;
    Ok((client, rotation))
}

/// Notices that the certificate is another one.
pub(crate) struct Rotation {
    certificate: PathBuf,
    target: PathBuf,
    changes: Changes,
}

impl Rotation {
    fn of(certificate: PathBuf) -> io::Result<Self> {
        let changes = Changes::of(certificate.parent().unwrap_or(&certificate))?;
        let target = fs::read_link(&certificate)?;
        Ok(Self { certificate, target, changes })
    }

    /// Waits for it. Cancel safe.
    pub(crate) async fn happens(&mut self) -> io::Result<()> {
        while fs::read_link(&self.certificate).is_ok_and(|target| target == self.target) {
            self.changes.next().await?;
        }
        Ok(())
    }
}
