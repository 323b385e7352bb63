//! What keeps an agent from its gateway.

use std::{io, path::PathBuf};

use skep_api::Code;

/// Why a connection to a gateway was not made, or ended. It is tried again in every case.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The kubelet's client certificate is not there (yet), or cannot be read.
    #[error(
        "{code}: the tunnel of node {node} has no certificate: {path}: {reason}; the kubelet writes it when its request \
         for one has been approved ({page})",
        code = self.code(), page = self.code().page()
    )]
    Credentials {
        /// Name of the node.
        node: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The gateway cannot be reached.
    #[error("{code}: the tunnel of node {node} cannot reach gateway {gateway}: {source} ({page})",
        code = self.code(), page = self.code().page())]
    Connect {
        /// Name of the node.
        node: String,
        /// Host and port.
        gateway: String,
        /// What the system said.
        source: io::Error,
    },
    /// The gateway is not the cluster's, or does not take this node for one of the cluster.
    #[error(
        "{code}: gateway {gateway} and node {node} do not accept each other: {source}; compare the authorities the node was \
         given with those of the cluster ({page})",
        code = self.code(), page = self.code().page()
    )]
    Handshake {
        /// Name of the node.
        node: String,
        /// Host and port.
        gateway: String,
        /// What TLS said.
        source: io::Error,
    },
    /// The gateway did not greet, or in words that are not understood.
    #[error("{code}: gateway {gateway} does not speak {protocol}: {reason} ({page})",
        protocol = String::from_utf8_lossy(super::wire::ALPN), code = self.code(), page = self.code().page())]
    Protocol {
        /// Host and port.
        gateway: String,
        /// What was wrong.
        reason: String,
    },
    /// The connection was there and is lost.
    #[error("{code}: the tunnel of node {node} to gateway {gateway} was lost: {reason} ({page})",
        code = self.code(), page = self.code().page())]
    Lost {
        /// Name of the node.
        node: String,
        /// Host and port.
        gateway: String,
        /// How.
        reason: String,
    },
}

impl TunnelError {
    /// The code with its page.
    #[must_use]
    pub fn code(&self) -> Code {
        Code::new(match self {
            Self::Credentials { .. } | Self::Connect { .. } | Self::Lost { .. } => 8080,
            Self::Handshake { .. } | Self::Protocol { .. } => 8084,
        })
    }
}
