//! Tenants' API servers, as far as their nodes are concerned.
//!
//! One client, one watch of nodes and one of certificate requests for each tenant that has machines, opened when the
//! first machine needs it and ended when the last is gone. Everything is bounded: how many tenants are open at once (the
//! one not used for longest makes room), how many nodes and requests of one are held, and how much of each.
//!
//! The address and the name of an API server come from the cell. What lies beside the cluster, where the tenant team may
//! write, gives nothing but certificates: a kubeconfig can name programs to run and servers to call.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use skep_api::Machine;
use skep_kubeops::{Applier, Cache, Key, Observed, Trigger};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

mod credentials;
mod follow;
mod node;
mod pod;
mod request;

pub use credentials::{Connect, Credentials, connect};
pub use node::{Condition as NodeCondition, Node};
pub use pod::Pod;
pub use request::{Asked, CLIENT_SIGNER, Request, SERVING_SIGNER};

use crate::{Clock, Error, NAME, Watched, components};

/// Nodes, and certificate requests, of one tenant at most. A pool has 5,000 at most; upstream is tested to that as well.
const MOST_OBJECTS: usize = 20_000;
/// After this time a tenant that had too many is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(600);
/// Patience with the first list of nodes within one pass. It goes on after that; the pass is called again.
const FIRST_LIST: Duration = Duration::from_secs(5);

/// Where a tenant's API server is, as its cell says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// URL of the gateway.
    pub server: String,
    /// The tenant's name there.
    pub host: String,
}

/// All tenants that have machines. Cheap to clone.
#[derive(Clone)]
pub struct Tenants {
    inner: Arc<Inner>,
}

struct Inner {
    hub: Applier,
    observed: Observed,
    connect: Connect,
    machines: Cache<Machine>,
    trigger: Trigger,
    capacity: usize,
    watched: Watched,
    clock: Clock,
    open: Mutex<HashMap<Key, Entry>>,
    doors: Mutex<HashMap<Key, Weak<tokio::sync::Mutex<()>>>>,
}

struct Entry {
    tenant: Arc<Tenant>,
    used: Instant,
}

/// One tenant's API server.
pub struct Tenant {
    /// Applies with the administrator's rights.
    pub applier: Applier,
    /// Certificate authorities of its API server, PEM.
    pub authorities: String,
    /// Its nodes.
    pub nodes: Cache<Node>,
    /// Its certificate requests.
    pub requests: Cache<Request>,
    endpoint: Endpoint,
    /// Uid and version of the Secret it was opened with.
    secret: (Option<String>, Option<String>),
    opened: Instant,
    too_large: CancellationToken,
    /// When the objects of [`crate::bootstrap::roles`] were last applied.
    prepared: tokio::sync::Mutex<Option<Instant>>,
    /// What its components were last applied with, and when.
    equipped: tokio::sync::Mutex<Option<(components::Settings, Instant)>>,
    /// Uids of nodes that we deleted and the watch may still show.
    forgotten: Mutex<HashSet<String>>,
    _watches: DropGuard,
}

/// Name of the Secret with a cluster's kubeconfig, in the cluster's namespace.
pub fn kubeconfig_name(cluster: &str) -> String {
    format!("{cluster}-kubeconfig")
}

impl Tenants {
    /// At most `capacity` tenants at once. `observed` may see the Secrets with kubeconfigs; `machines` are all machines,
    /// and `trigger` calls for those that something has happened to. `watched` is told since when nodes are seen.
    pub fn new(
        hub: Applier,
        observed: Observed,
        connect: Connect,
        machines: Cache<Machine>,
        trigger: Trigger,
        capacity: usize,
        (watched, clock): (Watched, Clock),
    ) -> Self {
        let inner = Inner {
            hub,
            observed,
            connect,
            machines,
            trigger,
            capacity: capacity.max(1),
            watched,
            clock,
            open: Mutex::default(),
            doors: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The tenant of a cluster, opened if it is not, and anew when its kubeconfig or its place has changed.
    ///
    /// # Errors
    /// Its kubeconfig is not there or cannot be used, or it has too many nodes to be looked after.
    pub async fn open(&self, cluster: &Key, endpoint: &Endpoint) -> Result<Arc<Tenant>, Error> {
        let namespace = cluster.namespace.as_deref().unwrap_or_default();
        let key = Key::namespaced(namespace, kubeconfig_name(&cluster.name));
        let seen = || self.inner.observed.get::<Secret>(&key).map(|meta| (meta.uid, meta.resource_version));
        let current = || {
            let (known, seen) = (self.take(cluster, endpoint)?, seen()?);
            (known.secret == seen).then_some(known)
        };
        if let Some(tenant) = current() {
            return tenant.usable(cluster);
        }
        // Of many machines that find it closed one opens it, and the others find it open.
        let door = self.door(cluster);
        let _one_at_a_time = door.lock().await;
        if let Some(tenant) = current() {
            return tenant.usable(cluster);
        }
        let secret = self.inner.hub.get::<Secret>(&key).await?;
        let secret = secret.ok_or_else(|| Error::NoKubeconfig { secret: key.clone() })?;
        let version = (secret.metadata.uid.clone(), secret.metadata.resource_version.clone());
        if let Some(tenant) = self.take(cluster, endpoint).filter(|tenant| tenant.secret == version) {
            return tenant.usable(cluster);
        }
        let credentials = Credentials::read(&key, &secret, endpoint)?;
        let authorities = credentials.authorities.clone();
        let client = (self.inner.connect)(credentials)
            .await
            .map_err(|reason| Error::Kubeconfig { secret: key.clone(), reason })?;
        let (nodes, requests) = (Cache::new(), Cache::new());
        let (stop, too_large) = (CancellationToken::new(), CancellationToken::new());
        tokio::spawn(
            follow::Follower {
                client: client.clone(),
                cluster: cluster.clone(),
                nodes: nodes.clone(),
                requests: requests.clone(),
                machines: self.inner.machines.clone(),
                trigger: self.inner.trigger.clone(),
                too_large: too_large.clone(),
                watched: self.inner.watched.clone(),
                clock: self.inner.clock.clone(),
            }
            .run(stop.clone()),
        );
        let tenant = Arc::new(Tenant {
            applier: Applier::new(client, NAME),
            authorities,
            nodes,
            requests,
            endpoint: endpoint.clone(),
            secret: version,
            opened: Instant::now(),
            too_large,
            prepared: tokio::sync::Mutex::default(),
            equipped: tokio::sync::Mutex::default(),
            forgotten: Mutex::default(),
            _watches: stop.drop_guard(),
        });
        self.put(cluster, &tenant);
        Ok(tenant)
    }

    /// Ends what no machine needs any more.
    pub fn retain(&self, needed: impl Fn(&Key) -> bool) {
        self.lock().retain(|cluster, _| needed(cluster));
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The open one, unless it is somewhere else now or its time as too large is over.
    fn take(&self, cluster: &Key, endpoint: &Endpoint) -> Option<Arc<Tenant>> {
        let mut open = self.lock();
        let entry = open.get_mut(cluster)?;
        let over = entry.tenant.too_large.is_cancelled() && entry.tenant.opened.elapsed() > LOOK_AGAIN;
        if over || entry.tenant.endpoint != *endpoint {
            open.remove(cluster);
            return None;
        }
        entry.used = Instant::now();
        Some(entry.tenant.clone())
    }

    /// What whoever opens a tenant holds.
    fn door(&self, cluster: &Key) -> Arc<tokio::sync::Mutex<()>> {
        let mut doors = self.inner.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.retain(|_, door| door.strong_count() > 0);
        if let Some(door) = doors.get(cluster).and_then(Weak::upgrade) {
            return door;
        }
        let door = Arc::default();
        doors.insert(cluster.clone(), Arc::downgrade(&door));
        door
    }

    fn put(&self, cluster: &Key, tenant: &Arc<Tenant>) {
        let mut open = self.lock();
        while open.len() >= self.inner.capacity && !open.contains_key(cluster) {
            let Some(oldest) = open.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone())
            else {
                break;
            };
            open.remove(&oldest);
        }
        open.insert(cluster.clone(), Entry { tenant: tenant.clone(), used: Instant::now() });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Entry>> {
        self.inner.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tenant {
    fn usable(self: Arc<Self>, cluster: &Key) -> Result<Arc<Self>, Error> {
        if self.too_large.is_cancelled() {
            return Err(Error::TenantTooLarge { cluster: cluster.clone(), most: MOST_OBJECTS });
        }
        Ok(self)
    }

    /// Waits for the first list of nodes and of requests: before it, "not there" means nothing.
    ///
    /// # Errors
    /// They have not come within a few seconds.
    pub async fn synced(&self, cluster: &Key) -> Result<(), Error> {
        let both = async {
            self.nodes.wait_synced().await;
            self.requests.wait_synced().await;
        };
        tokio::time::timeout(FIRST_LIST, both)
            .await
            .map_err(|_| Error::TenantSilent { cluster: cluster.clone(), seconds: FIRST_LIST.as_secs() })
    }

    /// Applies once what every tenant with nodes needs, and again after a while.
    ///
    /// # Errors
    /// The tenant's API server refused or could not be reached.
    pub async fn prepare(&self, cluster: &Key) -> Result<(), Error> {
        let mut prepared = self.prepared.lock().await;
        if prepared.is_some_and(|at| at.elapsed() < crate::bootstrap::APPLY_AGAIN) {
            return Ok(());
        }
        for binding in crate::bootstrap::roles() {
            self.applier.apply(&binding).await.map_err(Error::tenant(cluster))?;
        }
        *prepared = Some(Instant::now());
        Ok(())
    }

    /// Applies the components of a tenant with nodes: when something about them has changed, and again after a while.
    ///
    /// # Errors
    /// The tenant's API server refused or could not be reached.
    pub async fn equip(&self, cluster: &Key, settings: components::Settings) -> Result<(), Error> {
        let mut equipped = self.equipped.lock().await;
        if let Some((known, at)) = &*equipped
            && *known == settings
            && at.elapsed() < crate::bootstrap::APPLY_AGAIN
        {
            return Ok(());
        }
        components::apply(&self.applier, &settings).await.map_err(Error::tenant(cluster))?;
        *equipped = Some((settings, Instant::now()));
        Ok(())
    }

    /// The node of this name, unless it is one that we have deleted ourselves.
    pub fn node(&self, name: &str) -> Option<Arc<Node>> {
        let node = self.nodes.get(&Key::cluster(name))?;
        let forgotten = self.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = node.metadata.uid.as_ref().is_some_and(|uid| forgotten.contains(uid));
        (!gone).then_some(node)
    }

    /// Deletes the node of this name if it is the right one; from now on only another one of that name is seen.
    ///
    /// # Errors
    /// The tenant's API server refused or could not be reached.
    pub async fn delete_node(
        &self,
        cluster: &Key,
        name: &str,
        is_right: impl Fn(&Node) -> bool,
    ) -> Result<(), Error> {
        let key = Key::cluster(name);
        // Not from the watch: it may be behind, and a node that is left over is left for ever.
        let found = self.applier.get::<Node>(&key).await.map_err(Error::tenant(cluster))?;
        let Some(node) = found.filter(is_right) else { return Ok(()) };
        let uid = node.metadata.uid.as_deref();
        self.applier.delete_if_exists::<Node>(&key, uid).await.map_err(Error::tenant(cluster))?;
        self.forget(node.metadata.uid);
        Ok(())
    }

    fn forget(&self, uid: Option<String>) {
        let mut forgotten = self.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that the watch no longer shows need not be remembered.
        let shown: HashSet<String> =
            self.nodes.list().iter().filter_map(|node| node.metadata.uid.clone()).collect();
        forgotten.retain(|uid| shown.contains(uid));
        forgotten.extend(uid.filter(|uid| shown.contains(uid)));
    }
}
