//! One pass over a cluster: is it to have an autoscaler, has it one, and how does that fare?

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use skep_api::condition::{self, ConditionType};
use skep_api::labels::{self, component::AUTOSCALER};
use skep_api::resources::Reconciliation;
use skep_api::{Cluster, ComponentMode, ControlPlane, NodePool};
use skep_kubeops::{Applier, Cache, Classify, ErrorClass, Key, Next, Observed, Reconciler};

use super::issue::Authority;
use super::status::{self, State};
use super::{Config, Directory, Offer, build};
use crate::{Hub, NAME};

/// Pause between two looks at a component that is as wanted: certificates are due months ahead.
const LOOK: Duration = Duration::from_secs(6 * 3600);

/// Why a pass failed. All of it may pass by itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// The hub or its cell refused or could not be reached.
    #[error(transparent)]
    Hub(#[from] skep_kubeops::Error),
    /// Certificates cannot be made.
    #[error(transparent)]
    Certificates(#[from] skep_controlplane::Error),
    /// The tenant's API server cannot be reached as its administrator.
    #[error(transparent)]
    Credentials(#[from] skep_node::Error),
    /// It refused or could not be reached.
    #[error("cluster {cluster}: {source}")]
    Tenant {
        /// The cluster.
        cluster: Key,
        /// What happened.
        source: skep_kubeops::Error,
    },
    /// Its client cannot be made.
    #[error("cluster {cluster}: no client can be made: {reason}")]
    Client {
        /// The cluster.
        cluster: Key,
        /// What happened.
        reason: String,
    },
}

impl Classify for Failed {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Hub(error) => error.class(),
            Self::Certificates(error) => error.class(),
            Self::Credentials(error) => error.class(),
            Self::Tenant { .. } | Self::Client { .. } => ErrorClass::Transient,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Hub(error) => error.reason(),
            Self::Certificates(error) => error.reason(),
            Self::Credentials(error) => error.reason(),
            Self::Tenant { .. } | Self::Client { .. } => "TenantUnreachable",
        }
    }
}

/// Gives clusters their autoscaler and takes it away.
pub(super) struct ComponentReconciler {
    pub(super) config: Config,
    pub(super) applier: Applier,
    pub(super) authority: Arc<Authority>,
    pub(super) directory: Directory,
    pub(super) pools: Cache<NodePool>,
    pub(super) planes: Cache<ControlPlane>,
    /// When the role was last applied in which cluster.
    pub(super) granted: Mutex<HashMap<Key, Instant>>,
}

impl ComponentReconciler {
    pub(super) fn new(config: Config, observed: Observed) -> Self {
        let applier = Applier::new(config.client.clone(), NAME).observing(observed);
        Self {
            authority: Arc::new(Authority::new(Applier::new(config.client.clone(), NAME))),
            config,
            applier,
            directory: Directory::default(),
            pools: Cache::new(),
            planes: Cache::new(),
            granted: Mutex::default(),
        }
    }

    /// Its control plane, as the cell says: by the cluster's uid, so that a cluster of the same name does not inherit it.
    fn plane(&self, cluster: &Cluster) -> Option<Arc<ControlPlane>> {
        let uid = cluster.metadata.uid.as_deref();
        let is_its = |plane: &ControlPlane| Some(plane.spec.cluster.uid.as_str()) == uid;
        self.planes.select(is_its).into_iter().next()
    }

    fn forget(&self, key: &Key) {
        self.directory.forget(key);
        self.granted.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Takes everything away. The condition goes last: while it is there, something may be left.
    async fn remove(&self, cluster: &Cluster, key: &Key) -> Result<Next, Failed> {
        self.forget(key);
        // What is left of a cluster on its way out goes with its namespace.
        if !had(cluster) || cluster.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Done);
        }
        if let Some(plane) = self.plane(cluster) {
            self.uninstall(key, &plane).await?;
        }
        self.say(cluster, None).await?;
        Ok(Next::Done)
    }

    /// Brings it about and says how it fares.
    async fn maintain(&self, cluster: &Cluster, key: &Key, offer: &Offer) -> Result<Next, Failed> {
        let flags = cluster.spec.flags.as_ref().map(|flags| flags.autoscaler.as_slice()).unwrap_or_default();
        let refused = build::refused(flags);
        if !refused.is_empty() {
            self.say(cluster, Some(State::Refused(refused.join("; ")))).await?;
            return Ok(Next::Done);
        }
        let Some(plane) = self.plane(cluster).filter(|plane| serves(plane)) else {
            self.say(cluster, Some(State::Waits)).await?;
            return Ok(Next::Done);
        };
        if !had(cluster) {
            self.say(cluster, Some(State::Starting)).await?;
        }
        if let Err(error) = self.install(key, &plane, offer, flags).await {
            self.say(cluster, Some(State::Failed(error.to_string()))).await?;
            return Err(error);
        }
        self.directory.put(&plane.spec.tenant, key, || {
            Hub::new(
                self.config.client.clone(),
                &cluster.namespace().unwrap_or_default(),
                &cluster.name_any(),
            )
        });
        let pods = self.pods(&plane).await?;
        let pools = self.pools.select(|pool| {
            pool.spec.cluster == cluster.name_any() && pool.namespace() == cluster.namespace()
        });
        let why = self.authority.why();
        let state = status::of(&pods, &pools, offer, why.as_deref().map(String::as_str));
        self.say(cluster, Some(state)).await?;
        Ok(Next::After(LOOK))
    }

    async fn pods(&self, plane: &ControlPlane) -> Result<Vec<Pod>, Failed> {
        let namespace = plane.spec.tenant.as_str();
        let api: Api<Pod> = Api::namespaced(self.config.client.clone(), namespace);
        let selector = format!("{}={AUTOSCALER},{}={namespace}", labels::COMPONENT, labels::TENANT);
        let pods = api.list(&ListParams::default().labels(&selector)).await;
        Ok(pods.map_err(|error| skep_kubeops::Error::api::<Pod>("list", namespace, error))?.items)
    }

    /// Writes the one condition that is ours.
    async fn say(&self, cluster: &Cluster, state: Option<State>) -> Result<(), Failed> {
        let (old, new) = status::write(cluster, state);
        self.applier.status(cluster, Some(&old), &new).await?;
        Ok(())
    }
}

/// Whether the component was there when the cluster was last looked at.
fn had(cluster: &Cluster) -> bool {
    let conditions = cluster.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    condition::get(conditions, ConditionType::AutoscalerReady).is_some()
}

/// Whether its API server answers, or did.
fn serves(plane: &ControlPlane) -> bool {
    let conditions = plane.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    condition::is_true(conditions, ConditionType::Ready)
}

impl Reconciler for ComponentReconciler {
    type Object = Cluster;
    type Error = Failed;

    fn name() -> &'static str {
        NAME
    }

    fn is_behind(&self, cluster: &Cluster) -> bool {
        self.applier.is_ahead_of(cluster)
    }

    async fn reconcile(&self, cluster: Arc<Cluster>) -> Result<Next, Failed> {
        let key = Key::of(&*cluster);
        let wanted = cluster.spec.components.autoscaler == ComponentMode::Managed;
        if !wanted || cluster.metadata.deletion_timestamp.is_some() {
            return self.remove(&cluster, &key).await;
        }
        if cluster.spec.reconciliation == Reconciliation::Paused {
            return Ok(Next::Done);
        }
        match &self.config.offer {
            Some(offer) => self.maintain(&cluster, &key, offer).await,
            None => {
                self.say(&cluster, Some(State::NotOffered)).await?;
                Ok(Next::Done)
            }
        }
    }

    fn deleted(&self, object: &Key) {
        self.forget(object);
    }
}
