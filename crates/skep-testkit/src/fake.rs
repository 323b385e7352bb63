//! An in-memory Kubernetes API for tests of reconcilers.
//!
//! It does what a client can notice: versions and conflicts, generations, the
//! status subresource, server-side apply with ownership of fields per manager,
//! merge, JSON and strategic patches, finalizers, owner references, namespaces,
//! selectors, watches with resume, bookmarks and expiry. Custom resources are
//! pruned and defaulted by their schema.
//!
//! It refuses to be a judge of values: nothing is validated or defaulted for
//! built-in kinds, and CRD bounds and CEL rules are not evaluated. Tests that
//! need those use [`crate::ApiServer`]; a parity test keeps the two together.

use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use serde_json::Value;

mod delete;
mod failure;
mod fields;
mod kinds;
mod patch;
mod reflex;
mod request;
mod schema;
mod select;
mod service;
mod ssa;
mod world;
mod write;

pub use service::FakeService;

use reflex::Reflex;
use select::Selection;
use service::Shared;
use world::World;

/// An API server in memory. Cheap to clone; clones are the same server.
#[derive(Clone)]
pub struct FakeApiServer {
    shared: Shared,
}

impl Default for FakeApiServer {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeApiServer {
    /// A server with the built-in kinds, the four initial namespaces and Skep's own CRDs.
    pub fn new() -> Self {
        Self::bare().with_crds(&skep_api::crds())
    }

    /// A server with the built-in kinds and the four initial namespaces.
    pub fn bare() -> Self {
        Self { shared: Shared::new(World::new()) }
    }

    /// Serves the kinds of these CRDs (without storing the CRDs themselves).
    #[must_use]
    pub fn with_crds(self, crds: &[CustomResourceDefinition]) -> Self {
        for crd in crds {
            if let Ok(crd) = serde_json::to_value(crd) {
                self.shared.with(|world| world.serve_crd(&crd));
            }
        }
        self
    }

    /// Leaves dependents of deleted owners alone, as an API server without its controllers does.
    #[must_use]
    pub fn without_garbage_collection(self) -> Self {
        self.shared.with(|world| world.collect_garbage = false);
        self
    }

    /// Sets the status of every written object of a kind at once, as its controller would.
    ///
    /// `resource` is the qualified plural (`deployments.apps`); `None` leaves the object alone.
    #[must_use]
    pub fn with_reflex(
        self,
        resource: &str,
        answer: impl Fn(&Value) -> Option<Value> + Send + Sync + 'static,
    ) -> Self {
        let reflex = Reflex { resource: resource.to_owned(), answer: Arc::new(answer) };
        self.shared.with(|world| world.reflexes.push(reflex));
        self
    }

    /// Makes Deployments and StatefulSets ready the moment they are written.
    #[must_use]
    pub fn with_ready_workloads(self) -> Self {
        self.with_reflex("deployments.apps", reflex::workload_ready)
            .with_reflex("statefulsets.apps", reflex::workload_ready)
    }

    /// The service, to put layers around.
    pub fn service(&self) -> FakeService {
        FakeService { shared: self.shared.clone() }
    }

    /// A client of this server. Must be called inside a Tokio runtime.
    pub fn client(&self) -> Client {
        Client::new(self.service(), "default")
    }

    /// Every object there is, as sent, ordered by resource, namespace and name.
    pub fn dump(&self) -> Vec<Value> {
        self.shared.with(|world| world.all().map(|(_, stored)| stored.value.clone()).collect())
    }

    /// The objects of one resource (qualified plural), in all namespaces.
    pub fn objects(&self, resource: &str) -> Vec<Value> {
        let all = Selection::default();
        self.shared
            .with(|world| world.list(resource, "", &all).into_iter().map(|(_, s)| s.value.clone()).collect())
    }

    /// Changes an object behind everybody's back: no rule applies, watches are told.
    ///
    /// `false` if it does not exist. For states that no client can bring about
    /// (an object of another version of the program) and for other controllers' writes.
    pub fn edit(&self, resource: &str, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) -> bool {
        self.shared.with(|world| {
            let slot =
                world::Slot { resource: resource.into(), namespace: namespace.into(), name: name.into() };
            let (Some(kind), Some(live)) = (world.kind(resource), world.get(&slot)) else { return false };
            let mut value = live.value.clone();
            change(&mut value);
            world.put(&kind, value, live.managers.clone(), Some(live));
            true
        })
    }

    /// Puts an object in as it is: only uid, version and creation time are filled in if absent.
    pub fn plant(&self, mut object: Value) -> bool {
        self.shared.with(|world| {
            let Some(kind) = world.kind_of(&object) else { return false };
            if object["metadata"]["uid"].is_null() {
                world.identify(&mut object);
            }
            world.put(&kind, object, Vec::new(), None);
            true
        })
    }

    /// Forgets all past changes: watches that resume from before get `410 Gone` and must list again.
    pub fn compact(&self) {
        self.shared.with(World::compact);
    }
}
