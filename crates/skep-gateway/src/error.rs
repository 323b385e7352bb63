//! Why a gateway cannot start or go on. What a single connection meets is a [`Rejection`](crate::Rejection).

use std::{io, net::SocketAddr};

use skep_api::Code;

/// A gateway cannot start, or a part of it has died.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The port is taken, the address is not of this machine, or the port needs rights.
    #[error(
        "{code}: the gateway cannot listen on {address}: {source}; choose another address, or stop what uses it ({page})",
        code = self.code(), page = self.code().page()
    )]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A setting cannot work.
    #[error("{code}: gateway setting {field} {why} ({page})", code = self.code(), page = self.code().page())]
    Config {
        /// The field as it is written in the file.
        field: &'static str,
        /// What is wrong and what is allowed.
        why: String,
    },
    /// A worker thread could not start or has stopped.
    #[error(
        "{code}: gateway worker {worker}: {source}; restart the gateway, and look at the limits of threads and open \
         files if it happens again ({page})",
        code = self.code(), page = self.code().page()
    )]
    Worker {
        /// Which thread, from 0.
        worker: usize,
        /// What the system said.
        source: io::Error,
    },
}

impl GatewayError {
    /// The code with its page.
    pub fn code(&self) -> Code {
        Code::new(match self {
            Self::Listen { .. } => 6001,
            Self::Config { .. } => 6002,
            Self::Worker { .. } => 6003,
        })
    }
}
