//! What a decision has to know about the cell that will host a control plane.

use skep_api::DEFAULT_DOMAIN;

use crate::datastore::Candidate;

/// A cell, as far as placing a control plane needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Domain under which tenants are named: `<tenant>.<domain>`.
    pub domain: String,
    /// URL of the gateway as tenants' clients reach it, like `https://127.0.0.1:6443`.
    pub gateway: String,
    /// Datastores that take tenants.
    pub datastores: Vec<Candidate>,
}

impl Cell {
    /// A cell behind this gateway, with the default domain and no datastore yet.
    pub fn new(gateway: impl Into<String>) -> Self {
        Self { domain: DEFAULT_DOMAIN.to_owned(), gateway: gateway.into(), datastores: Vec::new() }
    }
}
