//! The `ControlPlane` controller: dereference → keys and datastore → build (pure) → apply → status.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use skep_api::condition::{self, ConditionType};
use skep_api::labels::{self, finalizer};
use skep_api::resources::Reconciliation;
use skep_api::{ControlPlane, Datastore, TenantId};
use skep_datastore::TenantStore;
use skep_kubeops::watch::Select;
use skep_kubeops::{
    Applier, Cache, Controller, Key, Metrics, Next, Observed, Reconciler, Recorder, Targets, Trigger,
};
use tokio_util::sync::CancellationToken;

use crate::build::CellSettings;
use crate::starts::Starts;
use crate::{Error, status};

mod announce;
mod apply;
mod authorities;
mod delete;
mod dereference;
mod door;
mod pass;

/// Field manager, controller name and event reporter.
const NAME: &str = "skep-controlplane";
/// Pause until a control plane is looked at although nothing happened: each look costs three lists and a call to etcd,
/// and there may be thousands.
const RESYNC: Duration = Duration::from_secs(30 * 60);
/// Passes at once. Each holds all Secrets, pods and Deployments of a tenant, and waits for the same API server: more of
/// them need memory and are no sooner done.
const CONCURRENCY: usize = 6;
/// Longest pause between two looks at a control plane that needs nothing: certificates are due months ahead.
const RENEWAL_LOOK: Duration = Duration::from_secs(12 * 3600);
/// Shortest pause before a renewal that is due, so that a wrong clock does not make a busy loop.
const SOONEST: Duration = Duration::from_secs(60);

/// What the controller needs to know beside the objects.
#[derive(Clone)]
pub struct Config {
    /// Client of the cell.
    pub client: kube::Client,
    /// Where tenants' keys are.
    pub store: Arc<dyn TenantStore>,
    /// The cell.
    pub cell: CellSettings,
    /// Most control planes that start at the same time.
    pub starts: usize,
    /// Where reconciles are counted.
    pub metrics: Metrics,
    /// Where events go.
    pub recorder: Recorder,
}

/// Runs the controller until `shutdown`.
pub async fn run(config: Config, shutdown: CancellationToken) {
    let observed = Observed::default();
    let control_planes: Cache<ControlPlane> = Cache::new();
    let datastores: Cache<Datastore> = Cache::new();
    let client = config.client.clone();
    let (metrics, recorder) = (config.metrics.clone(), config.recorder.clone());
    let trigger = Trigger::new();
    let reconciler = ControlPlaneReconciler::new(config, observed.clone(), trigger.clone());
    let owned = format!("{}={}", labels::MANAGED_BY, labels::MANAGED_BY_SKEP);
    let waiting = control_planes.clone();
    Controller::new(reconciler, client)
        .objects(&control_planes)
        .observed(&observed)
        .owns::<Secret>(&owned)
        .owns::<ConfigMap>(&owned)
        .owns::<NetworkPolicy>(&owned)
        .owns::<PodDisruptionBudget>(&owned)
        .owns::<Deployment>(&owned)
        .relates::<Pod>(Select::labels(&owned), of_tenant)
        .caches::<Datastore>(Select::all(), &datastores, move |datastore| waiting_for(&waiting, datastore))
        .triggered_by(&trigger)
        .metrics(&metrics)
        .events(&recorder)
        .concurrency(CONCURRENCY)
        .resync(RESYNC)
        .run(shutdown)
        .await;
}

/// The control plane a pod belongs to: it has the name of its namespace.
fn of_tenant(meta: &ObjectMeta) -> Targets {
    let tenant = meta.labels.as_ref().and_then(|labels| labels.get(labels::TENANT));
    tenant.map(|tenant| Key::namespaced(tenant.as_str(), tenant.as_str())).into()
}

/// The control planes that wait for a datastore which has just become ready.
fn waiting_for(control_planes: &Cache<ControlPlane>, datastore: &Datastore) -> Targets {
    let ready =
        datastore.status.as_ref().is_some_and(|s| condition::is_true(&s.conditions, ConditionType::Ready));
    if !ready {
        return Targets::None;
    }
    let namespace = datastore.namespace().unwrap_or_default();
    let name = datastore.name_any();
    let waits = |object: &ControlPlane| {
        let reference = &object.spec.datastore;
        let conditions =
            object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        reference.namespace == namespace
            && reference.name == name
            && !condition::is_true(conditions, ConditionType::DatastoreReady)
    };
    Targets::Many(control_planes.select(waits).iter().map(|object| Key::of(&**object)).collect())
}

/// Brings a `ControlPlane` to its goal.
pub struct ControlPlaneReconciler {
    config: Config,
    applier: Applier,
    door: door::Door,
    starts: Starts,
}

impl ControlPlaneReconciler {
    /// A reconciler that knows what `observed` sees of the children. `trigger` is called for control planes whose turn to
    /// start has come, and belongs to the controller that runs this.
    pub fn new(config: Config, observed: Observed, trigger: Trigger) -> Self {
        let applier = Applier::new(config.client.clone(), NAME).observing(observed);
        let starts = Starts::new(config.starts, trigger);
        Self { config, applier, door: door::Door::default(), starts }
    }

    /// The finalizer comes before the first effect, so that whatever is deleted at any later moment is cleaned up.
    async fn hold(&self, owner: &ControlPlane) -> Result<bool, Error> {
        let api = kube::Api::namespaced(self.config.client.clone(), &owner.namespace().unwrap_or_default());
        Ok(skep_kubeops::finalizer::hold(&api, owner, finalizer::CONTROL_PLANE).await?)
    }
}

impl Reconciler for ControlPlaneReconciler {
    type Object = ControlPlane;
    type Error = Error;

    fn name() -> &'static str {
        NAME
    }

    fn is_behind(&self, owner: &ControlPlane) -> bool {
        self.applier.is_ahead_of(owner)
    }

    async fn reconcile(&self, owner: Arc<ControlPlane>) -> Result<Next, Error> {
        // Cluster API leaves paused objects alone even when they are deleted. Here deletion is the one exception: a
        // person who deletes a paused cluster means it, and a finalizer nobody answers is a namespace that hangs.
        if owner.metadata.deletion_timestamp.is_some() {
            return self.delete(&owner).await;
        }
        if owner.spec.reconciliation == Reconciliation::Paused {
            let status = status::paused(&owner, &Time(Timestamp::now()));
            self.applier.status(&*owner, owner.status.as_ref(), &status).await?;
            return Ok(Next::Done);
        }
        let tenant = tenant(&owner)?;
        if !self.hold(&owner).await? {
            return Ok(Next::Done);
        }
        self.pass(&owner, &tenant).await
    }

    fn deleted(&self, key: &Key) {
        self.starts.leave(key);
    }
}

/// The tenant of a control plane that lives where its tenant lives.
///
/// # Errors
/// Its name or its namespace is another one: it would get at another tenant's keys.
fn tenant(owner: &ControlPlane) -> Result<TenantId, Error> {
    let refuse = |reason: String| Error::Spec { field: "tenant", reason };
    let tenant: TenantId = owner.spec.tenant.parse().map_err(|error| refuse(format!("{error}")))?;
    let (name, namespace) = (owner.name_any(), owner.namespace().unwrap_or_default());
    if name != tenant.as_str() || namespace != tenant.as_str() {
        return Err(refuse(format!(
            "{tenant} is neither this object's name ({name}) nor its namespace ({namespace})"
        )));
    }
    Ok(tenant)
}
