//! Brings a `Datastore` to its goal.
//!
//! One pass: read what is there → parse the spec → plan certificates → build → apply → ask etcd → write the status.
//! Certificates, objects and etcd are each tried even when another failed; the status is written once, at the end,
//! in any case. A deletion is a pass of its own ([`delete`]).

mod build;
mod certificates;
mod delete;
mod fence;
mod observe;
mod settle;
mod status;
pub(crate) mod validate;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use skep_api::resources::Reconciliation;
use skep_api::{Datastore, labels};
use skep_kubeops::events::Severity;
use skep_kubeops::{Applier, Classify, Key, Next, Reconciler, Recorder, finalizer};

use self::certificates::Certificates;
use self::observe::Observation;
use self::status::Pass;
use self::validate::Wanted;
use crate::datastores::{Material, reference};
use crate::{Config, Datastores, Error, Result};

/// How often a datastore that serves is asked how it is: nothing tells us when its disk fills.
const LOOK: Duration = Duration::from_secs(60);
/// How soon one that does not answer is asked again. Its pod becoming ready brings it sooner.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The reconciler of `Datastore` objects.
pub struct DatastoreReconciler {
    applier: Applier,
    datastores: Datastores,
    config: Config,
    recorder: Option<Recorder>,
}

impl DatastoreReconciler {
    /// A reconciler that writes with `applier` and opens etcd through `datastores`.
    pub fn new(applier: Applier, datastores: Datastores, config: Config, recorder: Option<Recorder>) -> Self {
        Self { applier, datastores, config, recorder }
    }

    /// Certificates and objects, as far as they go.
    async fn build_up(
        &self,
        datastore: &Datastore,
        wanted: &Wanted,
        seen: &Observation,
    ) -> Result<Certificates> {
        let failed = |source| Error::CertificateFailed { datastore: wanted.key.to_string(), source };
        let certificates =
            certificates::plan(&seen.stored, wanted, &self.config, Timestamp::now()).map_err(failed)?;
        for (what, why) in &certificates.issued {
            tracing::info!(datastore = %wanted.key, certificate = what, why, "certificate issued");
        }
        let objects = build::objects(wanted, &certificates).map_err(failed)?;
        if certificates.new_authority {
            let manager = self.applier.manager();
            let [authorities, ..] = &objects.secrets;
            fence::write(self.applier.client(), manager, authorities, seen.stored.ca.as_ref()).await?;
        }
        // Secrets first: the StatefulSet mounts them.
        for secret in &objects.secrets {
            self.applier.ensure(secret).await?;
        }
        if let Some(service) = &objects.service {
            self.applier.ensure(service).await?;
        }
        self.applier.ensure(&objects.network_policy).await?;
        self.applier.ensure(&objects.disruption_budget).await?;
        self.applier.ensure(&objects.stateful_set).await?;
        if seen.status().is_some() && !certificates.issued.is_empty() {
            self.note(datastore, &certificates);
        }
        Ok(certificates)
    }

    /// Tells people about certificates that were replaced in a datastore that was serving.
    fn note(&self, datastore: &Datastore, certificates: &Certificates) {
        if let Some(recorder) = &self.recorder {
            let list: Vec<String> =
                certificates.issued.iter().map(|(what, why)| format!("{what} ({why})")).collect();
            let text = format!("issued: {}", list.join(", "));
            recorder.publish(datastore, Severity::Normal, "CertificatesIssued", "Reconcile", text);
        }
    }

    /// Tells people about a refusal that is no failure of a pass.
    fn warn(&self, datastore: &Datastore, error: &Error) {
        if let Some(recorder) = &self.recorder {
            recorder.publish(datastore, Severity::Warning, error.reason(), "Reconcile", error.to_string());
        }
    }

    /// Writes the status of this pass.
    async fn report(&self, datastore: &Datastore, pass: &Pass<'_>) -> Result<()> {
        let old = datastore.status.clone().unwrap_or_default();
        let new = status::of(&old, datastore, pass, &Time(Timestamp::now()));
        match self.applier.status(datastore, Some(&old), &new).await {
            Ok(_) => Ok(()),
            // Deleted while we were at work: nobody is left to tell.
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn bring_up(&self, datastore: &Datastore, seen: &Observation) -> Result<Next> {
        let wanted = match Wanted::of(datastore, &self.config) {
            Ok(wanted) => wanted,
            Err(error) => {
                self.report(datastore, &Pass::refused(&error)).await?;
                return Err(error);
            }
        };
        let api: Api<Datastore> = Api::namespaced(self.applier.client().clone(), &wanted.namespace);
        if !finalizer::hold(&api, datastore, labels::finalizer::DATASTORE).await? {
            return Ok(Next::Done);
        }
        let built = self.build_up(datastore, &wanted, seen).await;
        let store = match &built {
            Ok(certificates) => {
                let material = settle::material(&wanted, certificates);
                settle::settle(&self.datastores, &wanted.key, material).await
            }
            Err(_) => settle::ask(&self.datastores, &reference(datastore)).await,
        };
        let pass = Pass {
            wanted: Some(&wanted),
            built: Some(&built),
            store: &store,
            seen: Some(seen),
            refusal: None,
        };
        let reported = self.report(datastore, &pass).await;
        let certificates = built?;
        reported?;
        let look = if store.is_serving() { LOOK } else { LOOK_AGAIN };
        let history = store.history().unwrap_or(look);
        Ok(Next::After(look.min(history).min(until(certificates.renewal))))
    }

    /// Leaves everything as it is, but still says how it is.
    async fn look_on(&self, datastore: &Datastore, seen: &Observation) -> Result<Next> {
        let store = settle::ask(&self.datastores, &reference(datastore)).await;
        let pass = Pass { wanted: None, built: None, store: &store, seen: Some(seen), refusal: None };
        self.report(datastore, &pass).await?;
        Ok(Next::After(LOOK))
    }
}

impl Reconciler for DatastoreReconciler {
    type Object = Datastore;
    type Error = Error;

    fn name() -> &'static str {
        "datastore"
    }

    fn is_behind(&self, datastore: &Datastore) -> bool {
        self.applier.is_ahead_of(datastore)
    }

    async fn reconcile(&self, datastore: Arc<Datastore>) -> Result<Next> {
        if datastore.metadata.deletion_timestamp.is_some() {
            return self.tear_down(&datastore).await;
        }
        let seen = observe::observe(self.applier.client(), &datastore).await?;
        match datastore.spec.reconciliation {
            Reconciliation::Active => self.bring_up(&datastore, &seen).await,
            Reconciliation::Paused => self.look_on(&datastore, &seen).await,
        }
    }

    fn deleted(&self, object: &Key) {
        self.datastores.forget(object);
    }
}

/// Time until a moment; nothing when it is over.
fn until(moment: Timestamp) -> Duration {
    Duration::try_from(moment.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO)
}

/// What opens a datastore, with the certificates of this pass.
impl Material {
    fn new(wanted: &Wanted, certificates: &Certificates) -> Result<Self, skep_pki::Error> {
        Ok(Self {
            uid: wanted.uid.clone(),
            endpoints: wanted.endpoints(),
            server_ca_pem: certificates.server_ca.trusted_pem()?,
            root: certificates.root.clone(),
            client_authority: certificates.client_ca.signer().clone(),
        })
    }
}
