//! Keys and certificates of the hub, as files.
//!
//! Guarantees: each program and each part of this process has a client certificate of its own, with no more groups
//! than it needs; everything past two thirds of its life is issued anew, an authority together with all it signed
//! (only at start, when everything that trusts it starts as well); keys are mode 0600 and replaced atomically.
//!
//! Four authorities that do not trust each other: `hub` (who may talk to the API server, and its own serving
//! certificate), `front-proxy` (who may say "I speak for user x"), `etcd`, and `nodes` (kubelet endpoints of the
//! virtual nodes, and the API server when it calls them).

mod leaves;

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use skep_pki::{Authority, CaData, Credentials, KeyPair, Kubeconfig, Names, Pem, ServiceAccountKey};

pub(crate) use self::leaves::{API_SERVER_USER, GATEWAY_USER, NODES_USER, OPERATOR_USER};
use self::leaves::{AuthorityName, leaves};
use crate::{Error, Layout, Result, files};

/// Life of an authority.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What a certificate of the hub is called: its file name, and how other modules ask for it.
pub mod name {
    /// Serving certificate of kube-apiserver.
    pub const API_SERVER: &str = "apiserver";
    /// kube-apiserver as a client of the virtual nodes.
    pub const API_SERVER_TO_NODES: &str = "apiserver-kubelet-client";
    /// kube-apiserver as a client of etcd.
    pub const API_SERVER_TO_ETCD: &str = "apiserver-etcd-client";
    /// kube-apiserver as a client of aggregated API servers.
    pub const FRONT_PROXY: &str = "front-proxy-client";
    /// etcd, towards its clients and its peers.
    pub const ETCD: &str = "etcd";
    /// The administrator.
    pub const ADMIN: &str = "admin";
    /// kube-controller-manager.
    pub const CONTROLLER_MANAGER: &str = "kube-controller-manager";
    /// kube-scheduler.
    pub const SCHEDULER: &str = "kube-scheduler";
    /// The operator.
    pub const OPERATOR: &str = "operator";
    /// The gateway.
    pub const GATEWAY: &str = "gateway";
    /// The virtual nodes of this process as clients.
    pub const NODES: &str = "nodes-client";
    /// The kubelet endpoints of the virtual nodes of this process.
    pub const NODES_ENDPOINT: &str = "nodes-endpoint";
}

/// The hub's certificates, all present and valid.
#[derive(Clone, Debug)]
pub struct Pki {
    dir: PathBuf,
    pairs: BTreeMap<String, KeyPair>,
    authorities: BTreeMap<&'static str, String>,
    /// When the first of them is due for renewal.
    pub renewal: Timestamp,
    /// What was issued just now, and why: for the log.
    pub issued: Vec<(String, &'static str)>,
}

/// Keeps what is good in `pki/` and issues what is missing, due or for other names.
///
/// With `rotate` authorities that are due are replaced too; that needs everything to start anew.
///
/// # Errors
/// [`Error::Pki`] for a key that cannot be read, [`Error::DataDir`] or [`Error::DiskFull`].
pub fn ensure(layout: &Layout, nodes: &[IpAddr], rotate: bool, now: Timestamp) -> Result<Pki> {
    let dir = layout.pki();
    let mut pki = Pki {
        dir: dir.clone(),
        pairs: BTreeMap::new(),
        authorities: BTreeMap::new(),
        renewal: Timestamp::MAX,
        issued: Vec::new(),
    };
    let mut signers = BTreeMap::new();
    for which in AuthorityName::ALL {
        let (authority, reason) = authority(&dir, which, rotate, now)?;
        pki.issued.extend(reason.map(|reason| (which.file().to_owned(), reason)));
        pki.authorities.insert(which.file(), authority.cert_pem().to_owned());
        signers.insert(which, authority);
    }
    for wanted in leaves(nodes) {
        let old = read_pair(&dir, &wanted.file)?;
        let signer = signers.get(&wanted.authority).ok_or_else(|| Error::Pki(wanted.file.clone()))?;
        let ensured = signer.ensure(old.as_ref(), &wanted.leaf, now).map_err(pki_error)?;
        if let Some(reason) = ensured.issued {
            write_pair(&dir, &wanted.file, &ensured.pair)?;
            pki.issued.push((wanted.file.clone(), reason.as_str()));
        }
        pki.renewal = pki.renewal.min(ensured.renewal);
        pki.pairs.insert(wanted.file, ensured.pair);
    }
    service_accounts(&dir)?;
    encryption(&dir)?;
    Ok(pki)
}

impl Pki {
    /// Path of a certificate.
    pub fn cert(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.crt"))
    }

    /// Path of a key.
    pub fn key(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.key"))
    }

    /// Path of the certificate of the authority of the hub's API.
    pub fn hub_ca(&self) -> PathBuf {
        self.cert(AuthorityName::Hub.file())
    }

    /// Path of the certificate of the front proxy authority.
    pub fn front_proxy_ca(&self) -> PathBuf {
        self.cert(AuthorityName::FrontProxy.file())
    }

    /// Path of the certificate of etcd's authority.
    pub fn etcd_ca(&self) -> PathBuf {
        self.cert(AuthorityName::Etcd.file())
    }

    /// Path of the certificate of the nodes' authority.
    pub fn nodes_ca(&self) -> PathBuf {
        self.cert(AuthorityName::Nodes.file())
    }

    /// Private key of service account tokens.
    pub fn service_account_key(&self) -> PathBuf {
        self.key("service-accounts")
    }

    /// Public key of service account tokens.
    pub fn service_account_public(&self) -> PathBuf {
        self.dir.join("service-accounts.pub")
    }

    /// Encryption of Secrets at rest.
    pub fn encryption(&self) -> PathBuf {
        self.dir.join("encryption.yaml")
    }

    /// A certificate and its key.
    ///
    /// # Errors
    /// [`Error::Pki`] for a name that is not in the table.
    pub fn pair(&self, name: &str) -> Result<&KeyPair> {
        self.pairs.get(name).ok_or_else(|| Error::Pki(format!("there is no certificate {name:?}")))
    }

    /// Text of an authority's certificate.
    fn authority(&self, which: AuthorityName) -> &str {
        self.authorities.get(which.file()).map_or("", String::as_str)
    }

    /// Text of the nodes' authority.
    pub fn nodes_ca_pem(&self) -> &str {
        self.authority(AuthorityName::Nodes)
    }

    /// All authorities in one text, as input for fingerprints: programs read these files only at start.
    pub fn authorities(&self) -> String {
        self.authorities.values().map(String::as_str).collect()
    }

    /// A kubeconfig with everything inside. The text holds a private key.
    ///
    /// # Errors
    /// [`Error::Pki`] for an unknown name.
    pub fn kubeconfig(&self, name: &str, server: &str) -> Result<String> {
        let pair = self.pair(name)?;
        let credentials =
            Credentials::Inline { cert_pem: pair.cert_pem.clone(), key_pem: pair.key_pem.clone() };
        self.config(server, credentials)
    }

    /// A kubeconfig that names files, which the program reads again when they change.
    ///
    /// # Errors
    /// [`Error::Pki`] when it cannot be written as YAML.
    pub fn kubeconfig_with_files(&self, name: &str, server: &str) -> Result<String> {
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        self.config(server, Credentials::Files { cert: path(self.cert(name)), key: path(self.key(name)) })
    }

    fn config(&self, server: &str, credentials: Credentials) -> Result<String> {
        let ca = CaData::Inline(self.authority(AuthorityName::Hub).to_owned());
        Kubeconfig::new(Names::same("skep-hub"), server, ca, credentials).to_yaml().map_err(pki_error)
    }
}

/// Reads or makes an authority; says why when it was made.
fn authority(
    dir: &Path,
    which: AuthorityName,
    rotate: bool,
    now: Timestamp,
) -> Result<(Authority, Option<&'static str>)> {
    if let Some(pair) = read_pair(dir, which.file())? {
        let authority = Authority::from_pem(&pair.cert_pem, pair.key_pem.as_str()).map_err(pki_error)?;
        let due = skep_pki::needs_renewal(&pair.cert_pem, now).map_err(pki_error)?;
        if !(due && rotate) {
            return Ok((authority, None));
        }
    }
    let authority = Authority::generate(which.common_name(), AUTHORITY_LIFE, now).map_err(pki_error)?;
    write_pair(dir, which.file(), &authority.pair())?;
    Ok((authority, Some("new authority")))
}

fn service_accounts(dir: &Path) -> Result<()> {
    let (key, public) = (dir.join("service-accounts.key"), dir.join("service-accounts.pub"));
    let pair = match read(&key)? {
        Some(text) => ServiceAccountKey::from_pem(&text).map_err(pki_error)?,
        None => ServiceAccountKey::generate().map_err(pki_error)?,
    };
    files::replace_if_changed(&key, pair.private_pem.as_bytes(), 0o600)?;
    files::replace_if_changed(&public, pair.public_pem.as_bytes(), 0o600).map(drop)
}

fn encryption(dir: &Path) -> Result<()> {
    let path = dir.join("encryption.yaml");
    match read(&path)? {
        // Never made anew: without the old key every Secret is lost.
        Some(_) => Ok(()),
        None => files::replace(&path, skep_pki::encryption_config(skep_pki::random_key()).as_bytes(), 0o600),
    }
}

fn read_pair(dir: &Path, name: &str) -> Result<Option<KeyPair>> {
    let (cert, key) = (read(&dir.join(format!("{name}.crt")))?, read(&dir.join(format!("{name}.key")))?);
    Ok(cert.zip(key).map(|(cert_pem, key)| KeyPair { cert_pem, key_pem: Pem::new(key) }))
}

/// The certificate goes last: a pair that a crash tore apart does not match and is issued again.
fn write_pair(dir: &Path, name: &str, pair: &KeyPair) -> Result<()> {
    files::replace(&dir.join(format!("{name}.key")), pair.key_pem.as_bytes(), 0o600)?;
    files::replace(&dir.join(format!("{name}.crt")), pair.cert_pem.as_bytes(), 0o600)
}

fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io(path, source)),
    }
}

fn pki_error(error: skep_pki::Error) -> Error {
    Error::Pki(error.to_string())
}

#[cfg(test)]
mod tests;
