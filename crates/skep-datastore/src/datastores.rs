//! The datastores of a cell as this process knows them: what opens each, and one connection to each.
//!
//! Guarantees: bounded in number; what was read is read again after [`FRESH`], at once when a connection fails, and
//! replaced when the reconciler renews a certificate. Unchanged material keeps its connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use skep_api::Datastore;
use skep_api::control_plane::DatastoreRef;
use skep_kubeops::{Key, Trigger};
use skep_pki::{Authority, KeyPair};
use tokio::time::Instant;

use crate::etcd::{Connection, Credentials, Failure};
use crate::opened::Opened;
use crate::secrets::{CA, CERT, KEY, Side, ca_name, pair, root_name, text};
use crate::{Error, Result};

/// How long what was read of a datastore is taken to be true.
const FRESH: Duration = Duration::from_secs(60);
/// Datastores kept open. A cell has a handful; the one that was not used for longest is closed.
const OPEN: usize = 64;

/// What opens a datastore.
#[derive(Debug, Clone)]
pub(crate) struct Material {
    /// UID of the `Datastore`.
    pub uid: String,
    /// Client URLs.
    pub endpoints: Vec<String>,
    /// What its members are verified with.
    pub server_ca_pem: String,
    /// The certificate of etcd's user root.
    pub root: KeyPair,
    /// Signs the tenants' certificates.
    pub client_authority: Authority,
}

impl Material {
    /// Is everything the same that a connection or a tenant's certificate depends on?
    fn same(&self, other: &Self) -> bool {
        self.uid == other.uid
            && self.endpoints == other.endpoints
            && self.server_ca_pem == other.server_ca_pem
            && self.root == other.root
            && self.client_authority.cert_pem() == other.client_authority.cert_pem()
    }
}

struct Entry {
    opened: Arc<Opened>,
    read: Instant,
    used: Instant,
}

/// The open datastores. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Datastores {
    client: Client,
    trigger: Trigger,
    entries: Arc<Mutex<HashMap<Key, Entry>>>,
    #[cfg(test)]
    stage: crate::etcd::stage::Stage,
}

impl Datastores {
    /// No datastore is open yet; they are found through `client`.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            trigger: Trigger::new(),
            entries: Arc::default(),
            #[cfg(test)]
            stage: crate::etcd::stage::Stage::default(),
        }
    }

    /// As [`Datastores::new`], with every connection behind this stage.
    #[cfg(test)]
    pub(crate) fn staged(client: Client, stage: &crate::etcd::stage::Stage) -> Self {
        Self { stage: stage.clone(), ..Self::new(client) }
    }

    /// Asks for a look at a datastore, as when a tenant was added or etcd did not answer. For the controller.
    pub(crate) fn trigger(&self) -> &Trigger {
        &self.trigger
    }

    /// The datastore, opened; `None` when there is no such `Datastore`, or when its etcd has never answered: then it
    /// cannot hold anything.
    pub(crate) async fn find(&self, datastore: &DatastoreRef) -> Result<Option<Arc<Opened>>> {
        let key = key(datastore);
        if let Some(opened) = self.fresh(&key) {
            return Ok(Some(opened));
        }
        let stores: Api<Datastore> = Api::namespaced(self.client.clone(), &datastore.namespace);
        let found = stores
            .get_opt(&datastore.name)
            .await
            .map_err(|e| skep_kubeops::Error::api::<Datastore>("get", &key, e))?;
        let Some(found) = found.filter(answered) else {
            self.forget(&key);
            return Ok(None);
        };
        let material = self.read(&key, &found).await?;
        self.open(&key, material).map(Some)
    }

    /// As [`Datastores::find`], with an error that says which of the two it is.
    pub(crate) async fn get(&self, datastore: &DatastoreRef) -> Result<Arc<Opened>> {
        if let Some(opened) = self.find(datastore).await? {
            return Ok(opened);
        }
        let key = key(datastore);
        let stores: Api<Datastore> = Api::namespaced(self.client.clone(), &datastore.namespace);
        let found = stores
            .get_opt(&datastore.name)
            .await
            .map_err(|e| skep_kubeops::Error::api::<Datastore>("get", &key, e))?;
        match found {
            None => Err(Error::DatastoreNotFound { datastore: key.to_string() }),
            Some(_) => Err(not_ready(&key, "the first answer of its etcd")),
        }
    }

    /// Opens a datastore with this material, or keeps the connection when nothing changed.
    pub(crate) fn open(&self, key: &Key, material: Material) -> Result<Arc<Opened>> {
        let now = Instant::now();
        let mut entries = self.lock();
        if let Some(entry) = entries.get_mut(key).filter(|e| e.opened.material.same(&material)) {
            entry.read = now;
            entry.used = now;
            return Ok(Arc::clone(&entry.opened));
        }
        let credentials =
            Credentials { server_ca_pem: material.server_ca_pem.clone(), client: material.root.clone() };
        let mut connection = Connection::new(&material.endpoints, &credentials).map_err(|failure| {
            Error::DatastoreRefused {
                datastore: key.to_string(),
                action: "open a connection",
                reason: failure.to_string(),
            }
        })?;
        #[cfg(test)]
        {
            connection.stage = self.stage.clone();
        }
        if let Some(before) = entries.get(key).filter(|e| e.opened.material.uid == material.uid) {
            connection.succeed(&before.opened.connection);
        }
        let opened = Arc::new(Opened::new(key.clone(), material, connection));
        if entries.len() >= OPEN
            && !entries.contains_key(key)
            && let Some(idle) = entries.iter().min_by_key(|(_, e)| e.used).map(|(k, _)| k.clone())
        {
            entries.remove(&idle);
        }
        entries.insert(key.clone(), Entry { opened: Arc::clone(&opened), read: now, used: now });
        Ok(opened)
    }

    /// Closes a datastore; running calls end by themselves.
    pub(crate) fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// Turns the failure of a call into an error, and has the datastore looked at when etcd does not answer.
    pub(crate) fn failed(&self, key: &Key, action: &'static str, failure: Failure) -> Error {
        let datastore = key.to_string();
        match failure {
            Failure::Unavailable(reason) => {
                // What opens it may have changed: the next call reads it again.
                if let Some(entry) = self.lock().get_mut(key)
                    && let Some(stale) = Instant::now().checked_sub(FRESH)
                {
                    entry.read = stale;
                }
                self.trigger.one(key.clone());
                Error::DatastoreUnavailable { datastore, reason }
            }
            other => Error::DatastoreRefused { datastore, action, reason: other.to_string() },
        }
    }

    fn fresh(&self, key: &Key) -> Option<Arc<Opened>> {
        let now = Instant::now();
        let mut entries = self.lock();
        let entry = entries.get_mut(key).filter(|e| now.duration_since(e.read) < FRESH)?;
        entry.used = now;
        Some(Arc::clone(&entry.opened))
    }

    async fn read(&self, key: &Key, datastore: &Datastore) -> Result<Material> {
        let namespace = key.namespace.as_deref().unwrap_or_default();
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let (ca_name, root_name) = (ca_name(&key.name), root_name(&key.name));
        let (ca, root) = tokio::join!(secrets.get_opt(&ca_name), secrets.get_opt(&root_name));
        let get = |answer: Result<Option<Secret>, kube::Error>, name: &str| {
            answer.map_err(|e| {
                Error::from(skep_kubeops::Error::api::<Secret>("get", Key::namespaced(namespace, name), e))
            })
        };
        material(datastore, get(ca, &ca_name)?.as_ref(), get(root, &root_name)?.as_ref())
            .ok_or_else(|| not_ready(key, "its certificates"))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The version is written when etcd first answered with authentication on, and never taken back. No tenant was let in
/// before that.
pub(crate) fn answered(datastore: &Datastore) -> bool {
    datastore.status.as_ref().is_some_and(|s| s.version.is_some() && !s.endpoints.is_empty())
}

/// What opens a datastore, from its objects; `None` while a part is missing or damaged.
fn material(datastore: &Datastore, ca: Option<&Secret>, root: Option<&Secret>) -> Option<Material> {
    Some(Material {
        uid: datastore.metadata.uid.clone()?,
        endpoints: datastore.status.as_ref()?.endpoints.clone(),
        server_ca_pem: text(root?, CA)?.to_owned(),
        root: pair(root, CERT, KEY)?,
        // The newest may not sign yet; only the reconciler decides that. Signing with the one that issued root's
        // certificate is always right: etcd accepts that one, or nobody could talk to it.
        client_authority: signer_of(Side::Client.read(ca), &pair(root, CERT, KEY)?)?,
    })
}

fn signer_of(generations: Vec<Authority>, pair: &KeyPair) -> Option<Authority> {
    generations.into_iter().find(|a| skep_pki::issued_by(&pair.cert_pem, a.cert_pem()).unwrap_or(false))
}

/// How other objects name this datastore.
pub(crate) fn reference(datastore: &Datastore) -> DatastoreRef {
    DatastoreRef {
        namespace: datastore.metadata.namespace.clone().unwrap_or_default(),
        name: datastore.metadata.name.clone().unwrap_or_default(),
    }
}

fn not_ready(key: &Key, waiting_for: &str) -> Error {
    Error::DatastoreNotReady { datastore: key.to_string(), waiting_for: waiting_for.to_owned() }
}

pub(crate) fn key(datastore: &DatastoreRef) -> Key {
    Key::namespaced(datastore.namespace.as_str(), datastore.name.as_str())
}
