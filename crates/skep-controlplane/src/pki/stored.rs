//! The content of Secrets, as it is stored and as it is wanted.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use skep_pki::{Credentials, KeyPair, Kubeconfig, Pem};

use crate::names;

/// Content of one Secret. `Debug` shows the keys only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Data(BTreeMap<String, ByteString>);

impl Data {
    /// Puts a text under a key.
    pub fn put(&mut self, key: &str, text: impl AsRef<str>) {
        self.0.insert(key.to_owned(), ByteString(text.as_ref().as_bytes().to_vec()));
    }

    /// The text under a key, if it is there and is text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|bytes| std::str::from_utf8(&bytes.0).ok())
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The map a Secret holds.
    pub fn into_map(self) -> BTreeMap<String, ByteString> {
        self.0
    }

    /// Certificate and key under `<stem>.crt` and `<stem>.key`.
    pub fn pair(&self, stem: &str) -> Option<KeyPair> {
        Some(KeyPair {
            cert_pem: self.text(&format!("{stem}.crt"))?.to_owned(),
            key_pem: Pem::new(self.text(&format!("{stem}.key"))?),
        })
    }

    /// Puts certificate and key under `<stem>.crt` and `<stem>.key`.
    pub fn put_pair(&mut self, stem: &str, pair: &KeyPair) {
        self.put(&format!("{stem}.crt"), &pair.cert_pem);
        self.put(&format!("{stem}.key"), pair.key_pem.as_str());
    }
}

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.keys()).finish()
    }
}

impl From<BTreeMap<String, ByteString>> for Data {
    fn from(map: BTreeMap<String, ByteString>) -> Self {
        Self(map)
    }
}

/// The Secrets of one tenant as they were read.
#[derive(Debug, Default)]
pub struct Stored {
    secrets: BTreeMap<String, (Option<String>, Data)>,
}

impl Stored {
    /// These Secrets.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        let named = |secret: Secret| {
            let version = secret.resource_version();
            (secret.name_any(), (version, Data(secret.data.unwrap_or_default())))
        };
        Self { secrets: secrets.into_iter().map(named).collect() }
    }

    /// Content of one Secret.
    pub fn get(&self, name: &str) -> Option<&Data> {
        self.secrets.get(name).map(|(_, data)| data)
    }

    /// Resource version of one Secret.
    pub fn version(&self, name: &str) -> Option<&str> {
        self.secrets.get(name).and_then(|(version, _)| version.as_deref())
    }

    /// Certificate and key in a Secret.
    pub fn pair(&self, name: &str, stem: &str) -> Option<KeyPair> {
        self.get(name)?.pair(stem)
    }

    /// Certificate and key inside the administrator's kubeconfig.
    pub fn admin(&self) -> Option<KeyPair> {
        let text = self.get(names::ADMIN)?.text(names::KUBECONFIG_KEY)?;
        match Kubeconfig::parse(text).ok()?.credentials {
            Credentials::Inline { cert_pem, key_pem } => Some(KeyPair { cert_pem, key_pem }),
            Credentials::Files { .. } => None,
        }
    }
}
