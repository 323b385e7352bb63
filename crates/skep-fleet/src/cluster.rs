//! The `Cluster` controller: dereference → resolve (pure, in skep-plan) → build (pure) → apply → status.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::ResourceExt as _;
use skep_api::condition::{self, ConditionType};
use skep_api::labels::{self, finalizer};
use skep_api::resources::Reconciliation;
use skep_api::{Cluster, ClusterProfile, ControlPlane, Datastore, Release, SizeClass};
use skep_kubeops::watch::Select;
use skep_kubeops::{Applier, Cache, Controller, Key, Metrics, Next, Observed, Reconciler, Recorder, Targets};
use skep_plan::{Running, resolve};
use tokio_util::sync::CancellationToken;

mod apply;
mod build;
mod delete;
mod dereference;
mod error;
mod status;

pub use error::Error;

use dereference::Found;
use status::Outcome;

/// Field manager, controller name and event reporter.
const NAME: &str = "skep-fleet";

/// What the controller needs to know beside the objects.
#[derive(Clone)]
pub struct Config {
    /// Client of the hub, which is the cell as well in a single installation.
    pub client: kube::Client,
    /// Domain under which tenants are named: `<tenant>.<domain>`.
    pub domain: String,
    /// URL of the gateway as tenants' clients reach it, like `https://127.0.0.1:6443`.
    pub gateway: String,
    /// Where reconciles are counted.
    pub metrics: Metrics,
    /// Where events go.
    pub recorder: Recorder,
}

/// Runs the controller until `shutdown`.
pub async fn run(config: Config, shutdown: CancellationToken) {
    let observed = Observed::default();
    let reconciler = ClusterReconciler::new(config.clone(), observed.clone());
    let caches = reconciler.caches.clone();
    let clusters = Cache::<Cluster>::new();
    let waiting = clusters.clone();
    Controller::new(reconciler, config.client)
        .observed(&observed)
        .objects(&clusters)
        .relates::<Namespace>(Select::labels(managed()), of_cluster)
        .owns::<Secret>(&build::kubeconfigs())
        .caches::<ControlPlane>(Select::all(), &caches.control_planes, |object| {
            let cluster = &object.spec.cluster;
            Targets::One(Key::namespaced(cluster.namespace.as_str(), cluster.name.as_str()))
        })
        .caches::<SizeClass>(Select::all(), &caches.size_classes, |_| Targets::All)
        .caches::<ClusterProfile>(Select::all(), &caches.profiles, |_| Targets::All)
        .caches::<Release>(Select::all(), &caches.releases, |_| Targets::All)
        .caches::<Datastore>(Select::all(), &caches.datastores, move |_| not_accepted(&waiting))
        .metrics(&config.metrics)
        .events(&config.recorder)
        .run(shutdown)
        .await;
}

/// Everything the controller watches in full: our own kinds only.
#[derive(Clone, Default)]
pub struct Caches {
    /// Control planes of all tenants.
    pub control_planes: Cache<ControlPlane>,
    /// Size classes.
    pub size_classes: Cache<SizeClass>,
    /// Profiles.
    pub profiles: Cache<ClusterProfile>,
    /// Releases.
    pub releases: Cache<Release>,
    /// Datastores of the cell.
    pub datastores: Cache<Datastore>,
}

/// Brings a `Cluster` to its goal.
pub struct ClusterReconciler {
    config: Config,
    applier: Applier,
    caches: Caches,
}

impl ClusterReconciler {
    /// A reconciler that knows what `observed` sees of namespaces; its caches are filled by the controller that runs it.
    pub fn new(config: Config, observed: Observed) -> Self {
        let applier = Applier::new(config.client.clone(), NAME).observing(observed);
        Self { config, applier, caches: Caches::default() }
    }

    /// What the reconciler reads, for whoever fills it.
    pub fn caches(&self) -> &Caches {
        &self.caches
    }
}

impl Reconciler for ClusterReconciler {
    type Object = Cluster;
    type Error = Error;

    fn name() -> &'static str {
        NAME
    }

    fn is_behind(&self, cluster: &Cluster) -> bool {
        self.applier.is_ahead_of(cluster)
    }

    async fn reconcile(&self, cluster: Arc<Cluster>) -> Result<Next, Error> {
        if cluster.metadata.deletion_timestamp.is_some() {
            return self.delete(&cluster).await;
        }
        if !self.hold(&cluster).await? {
            return Ok(Next::Done);
        }
        let found = self.dereference(&cluster).await?;
        let outcome = self.carry_out(&cluster, &found).await;
        let kubeconfig = match (&outcome, outcome.control_plane()) {
            (Outcome::Paused(_), _) | (_, None) => Ok(None),
            (_, Some(control_plane)) => self.hand_over_kubeconfig(&cluster, control_plane).await,
        };
        let now = Time(k8s_openapi::jiff::Timestamp::now());
        let status = status::of(&cluster, &outcome, &kubeconfig, &now);
        // The controller itself tells why a pass failed.
        if kubeconfig.is_ok() && !matches!(outcome, Outcome::Failed(..)) {
            self.announce(&cluster, &status, &outcome);
        }
        self.applier.status(&*cluster, Some(&status::own(&cluster)), &status).await?;
        match outcome {
            Outcome::Failed(error, _) => Err(error),
            _ => kubeconfig.map(|_| Next::Done),
        }
    }
}

impl ClusterReconciler {
    /// The finalizer comes before the first effect, so that a cluster deleted at any later moment is cleaned up.
    async fn hold(&self, cluster: &Cluster) -> Result<bool, Error> {
        let api = kube::Api::namespaced(self.config.client.clone(), &cluster.namespace().unwrap_or_default());
        Ok(skep_kubeops::finalizer::hold(&api, cluster, finalizer::CLUSTER).await?)
    }

    /// Decides and writes, except for the status.
    async fn carry_out(&self, cluster: &Cluster, found: &Found) -> Outcome {
        let running = found.control_plane.as_ref().map(|object| Running::from(&**object));
        let done = match cluster.spec.reconciliation {
            Reconciliation::Paused => self.pause(found).await.map(Outcome::Paused),
            Reconciliation::Active => match resolve(cluster, &found.catalogue, &found.cell, running) {
                Ok(spec) => self.apply(cluster, spec, found).await.map(Outcome::Applied),
                Err(refused) => Ok(Outcome::Refused(refused, found.control_plane.clone())),
            },
        };
        done.unwrap_or_else(|error| Outcome::Failed(error, found.control_plane.clone()))
    }
}

/// The clusters that may have been refused for want of a datastore: one that changed may take them now.
fn not_accepted(clusters: &Cache<Cluster>) -> Targets {
    let waits = |cluster: &Cluster| {
        let status = cluster.status.as_ref();
        !status.is_some_and(|status| condition::is_true(&status.conditions, ConditionType::Accepted))
    };
    Targets::Many(clusters.select(waits).iter().map(|cluster| Key::of(&**cluster)).collect())
}

/// Selector of what Skep made.
fn managed() -> String {
    format!("{}={}", labels::MANAGED_BY, labels::MANAGED_BY_SKEP)
}

/// The cluster that an object in a tenant's namespace, or the namespace itself, belongs to.
fn of_cluster(meta: &ObjectMeta) -> Targets {
    let label = |key: &str| meta.labels.as_ref().and_then(|labels| labels.get(key));
    match (label(labels::PROJECT), label(labels::CLUSTER)) {
        (Some(project), Some(cluster)) => Targets::One(Key::namespaced(project.as_str(), cluster.as_str())),
        _ => Targets::None,
    }
}
