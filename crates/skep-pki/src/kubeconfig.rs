//! Kubeconfigs: building one, reading one, merging one into a person's own.
//!
//! A [`Kubeconfig`] here is what Skep hands out: one cluster, one user, one context. A person's file is never
//! reduced to that: [`merge`] and [`remove`] touch only the entries of the given names and keep everything else,
//! fields unknown to this version included.

mod document;
mod merge;
mod names;
mod read;

use base64::Engine;
use serde_json::{Map, Value, json};

pub use self::merge::{contexts, merge, remove};
pub use self::names::Names;
use crate::{Error, Pem, Result};

/// Where the authority that signs the server's certificate is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaData {
    /// In the file itself.
    Inline(String),
    /// In a file; a relative path counts from the kubeconfig's directory.
    File(String),
}

/// How the client proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Certificate and key in the file itself.
    Inline {
        /// Client certificate.
        cert_pem: String,
        /// Its private key.
        key_pem: Pem,
    },
    /// Certificate and key in files; relative paths count from the kubeconfig's directory. Clients written in Go
    /// read such files again when they change, so that a rotation needs no restart.
    Files {
        /// Path of the client certificate.
        cert: String,
        /// Path of its private key.
        key: String,
    },
}

/// One cluster, one user, one context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubeconfig {
    /// Names of the three entries.
    pub names: Names,
    /// URL of the API server.
    pub server: String,
    /// Name to ask for and to verify instead of the URL's host.
    pub tls_server_name: Option<String>,
    /// Authority of the server.
    pub ca: CaData,
    /// The user's certificate.
    pub credentials: Credentials,
    /// Namespace of the context.
    pub namespace: Option<String>,
}

impl Kubeconfig {
    /// A kubeconfig without a server name of its own and without a namespace.
    pub fn new(names: Names, server: impl Into<String>, ca: CaData, credentials: Credentials) -> Self {
        Kubeconfig { names, server: server.into(), tls_server_name: None, ca, credentials, namespace: None }
    }

    /// Sets the name to ask for in the TLS handshake (the gateway routes by it) and to verify.
    pub fn tls_server_name(mut self, name: impl Into<String>) -> Self {
        self.tls_server_name = Some(name.into());
        self
    }

    /// Sets the context's namespace.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Writes the file. The text holds a private key when the credentials are inline.
    pub fn to_yaml(&self) -> Result<String> {
        document::write(&json!({
            "apiVersion": "v1",
            "kind": "Config",
            "preferences": {},
            "clusters": [self.cluster_entry()],
            "contexts": [self.context_entry()],
            "current-context": self.names.context,
            "users": [self.user_entry()],
        }))
    }

    /// Reads the current context of a file. Refuses files without one, and credentials other than client
    /// certificates.
    pub fn parse(yaml: &str) -> Result<Self> {
        read::current(&document::read(yaml)?)
    }

    /// Are all certificates and keys inside, so that the file may be moved?
    pub fn is_self_contained(&self) -> bool {
        matches!((&self.ca, &self.credentials), (CaData::Inline(_), Credentials::Inline { .. }))
    }

    fn cluster_entry(&self) -> Value {
        let mut cluster = Map::new();
        match &self.ca {
            CaData::Inline(pem) => {
                cluster.insert("certificate-authority-data".into(), encode(pem.as_bytes()))
            }
            CaData::File(path) => cluster.insert("certificate-authority".into(), json!(path)),
        };
        cluster.insert("server".into(), json!(self.server));
        if let Some(name) = &self.tls_server_name {
            cluster.insert("tls-server-name".into(), json!(name));
        }
        json!({"name": self.names.cluster, "cluster": cluster})
    }

    fn context_entry(&self) -> Value {
        let mut context = json!({"cluster": self.names.cluster, "user": self.names.user});
        if let Some(namespace) = &self.namespace {
            context["namespace"] = json!(namespace);
        }
        json!({"name": self.names.context, "context": context})
    }

    fn user_entry(&self) -> Value {
        let user = match &self.credentials {
            Credentials::Inline { cert_pem, key_pem } => json!({
                "client-certificate-data": encode(cert_pem.as_bytes()),
                "client-key-data": encode(key_pem.as_bytes()),
            }),
            Credentials::Files { cert, key } => json!({"client-certificate": cert, "client-key": key}),
        };
        json!({"name": self.names.user, "user": user})
    }
}

fn encode(bytes: &[u8]) -> Value {
    Value::String(base64::engine::general_purpose::STANDARD.encode(bytes))
}

fn decode(text: &str, field: &str) -> Result<String> {
    base64::engine::general_purpose::STANDARD
        .decode(text.split_whitespace().collect::<String>())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| Error::Kubeconfig(format!("{field} is not a base64 text; write the kubeconfig again")))
}
