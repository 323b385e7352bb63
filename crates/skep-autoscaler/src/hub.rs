//! The pools of one cluster as they are on the hub, and the one write there is.
//!
//! What is read is kept for a moment: upstream's client says with `Refresh` when it wants to know anew, and asks for every
//! pool several times in between. Every write goes into what is kept, so that nobody reads a size that is already another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;
use skep_api::{Machine, MachineClass, MachineClassSpec, NodePool, labels};
use skep_kubeops::error::is_conflict;
use skep_kubeops::watch::Guard;
use skep_plan::node_pool::replicas;
use tokio::sync::Mutex;

use crate::{Error, NAME};

/// How long what was read counts when nobody asks for a refresh: three of upstream's scans (`--scan-interval`).
const FRESH: Duration = Duration::from_secs(30);
/// Attempts of a write that others get in the way of.
const ATTEMPTS: usize = 5;

/// One cluster's pools on the hub. Cheap to clone; clones share what is kept.
#[derive(Clone)]
pub struct Hub {
    client: Client,
    namespace: Arc<str>,
    cluster: Arc<str>,
    kept: Arc<Mutex<Option<Kept>>>,
    /// Why it could not be read last time.
    trouble: Arc<ArcSwapOption<String>>,
}

struct Kept {
    at: Instant,
    state: State,
}

/// What was read. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct State {
    /// Pools that may be scaled, by name.
    pub(crate) pools: Arc<BTreeMap<String, NodePool>>,
    /// All machines of the cluster.
    pub(crate) machines: Arc<Vec<Machine>>,
    /// Machine classes by name.
    pub(crate) classes: Arc<BTreeMap<String, MachineClassSpec>>,
}

/// A new size of a pool.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// `spec.replicas`
    pub(crate) replicas: i32,
    /// `spec.scaling.remove`
    pub(crate) remove: Vec<String>,
}

/// Whether a change may be decided on anew after its write was refused because somebody else has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It names what it is about, so nothing of it is done twice.
    Always,
    /// It adds to the size. A write that nobody answered may have been done after all, and would be once more.
    IfSizeIsTheSame,
}

impl Hub {
    /// The pools of `cluster` in `namespace`.
    pub fn new(client: Client, namespace: &str, cluster: &str) -> Self {
        Self {
            client,
            namespace: namespace.into(),
            cluster: cluster.into(),
            kept: Arc::default(),
            trouble: Arc::default(),
        }
    }

    /// Name of the cluster, for people.
    pub(crate) fn cluster(&self) -> String {
        format!("{}/{}", self.namespace, self.cluster)
    }

    /// Reads everything anew.
    ///
    /// # Errors
    /// The hub refused or could not be reached; what was read before is kept.
    pub async fn refresh(&self) -> Result<(), Error> {
        let mut kept = self.kept.lock().await;
        self.read(&mut kept).await.map(drop)
    }

    /// What was read, not too long ago.
    pub(crate) async fn state(&self) -> Result<State, Error> {
        let mut kept = self.kept.lock().await;
        match kept.as_ref().filter(|kept| kept.at.elapsed() < FRESH) {
            Some(kept) => Ok(kept.state.clone()),
            None => self.read(&mut kept).await,
        }
    }

    /// Whether the hub answered when it was read last; nothing is asked of it here.
    ///
    /// # Errors
    /// A sentence that says what happened.
    pub fn reached(&self) -> Result<(), String> {
        self.trouble.load().as_ref().map_or(Ok(()), |trouble| Err(trouble.to_string()))
    }

    async fn read(&self, kept: &mut Option<Kept>) -> Result<State, Error> {
        let read = self.read_all(kept).await;
        self.trouble.store(read.as_ref().err().map(|error| Arc::new(error.to_string())));
        read
    }

    async fn read_all(&self, kept: &mut Option<Kept>) -> Result<State, Error> {
        let at = Instant::now();
        let (pools, machines, classes) = tokio::try_join!(
            self.list::<NodePool>(Api::namespaced(self.client.clone(), &self.namespace), ""),
            self.machines(),
            self.list::<MachineClass>(Api::all(self.client.clone()), ""),
        )?;
        let pools = pools.into_iter().filter(|pool| self.is_group(pool));
        let state = State {
            pools: Arc::new(pools.map(|pool| (pool.name_any(), pool)).collect()),
            machines: Arc::new(machines),
            classes: Arc::new(classes.into_iter().map(|class| (class.name_any(), class.spec)).collect()),
        };
        *kept = Some(Kept { at, state: state.clone() });
        Ok(state)
    }

    async fn machines(&self) -> Result<Vec<Machine>, Error> {
        let api = Api::namespaced(self.client.clone(), &self.namespace);
        self.list(api, &format!("{}={}", labels::CLUSTER, self.cluster)).await
    }

    /// Whether a pool is a node group here: it has bounds, is of the cluster and stays.
    fn is_group(&self, pool: &NodePool) -> bool {
        pool.spec.cluster == *self.cluster
            && pool.spec.scaling.is_some()
            && pool.metadata.deletion_timestamp.is_none()
    }

    /// All objects that can be read; the others are left out.
    async fn list<K>(&self, api: Api<Guard<K>>, selector: &str) -> Result<Vec<K>, Error>
    where
        K: skep_kubeops::Object,
        Guard<K>: Clone + std::fmt::Debug + DeserializeOwned,
    {
        let mut found = Vec::new();
        for guard in skep_kubeops::list_all(&api, selector).await? {
            match guard.0 {
                Ok(object) => found.push(object),
                Err(bad) => tracing::warn!(kind = %K::kind(&()), object = %bad.key(), error = %bad.error,
                    "an object is left out because it cannot be read"),
            }
        }
        Ok(found)
    }

    /// Changes the size of a pool as `decide` says of what is there now; `None` leaves it. One at a time, and only what has
    /// not changed since it was decided on.
    ///
    /// # Errors
    /// Those of `decide`; the hub's; somebody else has changed the size meanwhile.
    pub(crate) async fn resize(
        &self,
        group: &str,
        again: Again,
        decide: impl Fn(&NodePool, &[Machine]) -> Result<Option<Change>, Error>,
    ) -> Result<(), Error> {
        let mut kept = self.kept.lock().await;
        let api: Api<NodePool> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut before = None;
        for _ in 0..ATTEMPTS {
            let pool = self.get(&api, group).await?;
            let machines = self.machines().await?;
            let size = replicas(&pool.spec);
            let Some(change) = decide(&pool, &machines)? else { return Ok(()) };
            if again == Again::IfSizeIsTheSame && before.is_some_and(|before| before != size) {
                break;
            }
            before = Some(size);
            match self.write(&api, &pool, &change).await {
                Ok(written) => {
                    if let Some(kept) = kept.as_mut() {
                        Arc::make_mut(&mut kept.state.pools).insert(group.to_owned(), written);
                    }
                    return Ok(());
                }
                Err(error) if is_conflict(&error) => {}
                Err(error) => {
                    // It may have been done all the same.
                    *kept = None;
                    return Err(skep_kubeops::Error::api::<NodePool>("resize", group, error).into());
                }
            }
        }
        *kept = None;
        Err(Error::Contended { pool: group.to_owned() })
    }

    async fn get(&self, api: &Api<NodePool>, group: &str) -> Result<NodePool, Error> {
        let pool = api
            .get_opt(group)
            .await
            .map_err(|error| skep_kubeops::Error::api::<NodePool>("get", group, error))?;
        pool.filter(|pool| self.is_group(pool)).ok_or_else(|| self.no_group(group))
    }

    pub(crate) fn no_group(&self, group: &str) -> Error {
        // What a stranger sends is not repeated at any length.
        Error::NoGroup { group: group.chars().take(63).collect(), cluster: self.cluster() }
    }

    async fn write(&self, api: &Api<NodePool>, pool: &NodePool, change: &Change) -> kube::Result<NodePool> {
        let remove = Some(&change.remove).filter(|remove| !remove.is_empty());
        let patch = json!({
            "metadata": {"uid": pool.metadata.uid, "resourceVersion": pool.metadata.resource_version},
            "spec": {"replicas": change.replicas, "scaling": {"remove": remove}},
        });
        let params = PatchParams { field_manager: Some(NAME.to_owned()), ..PatchParams::default() };
        api.patch(&pool.name_any(), &params, &Patch::Merge(&patch)).await
    }
}
