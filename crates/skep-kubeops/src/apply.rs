//! Server-side apply, deletion, and the sweep of what is no longer wanted.
//!
//! One field manager per controller, always forced, always the complete set of
//! owned fields: what a manifest no longer says disappears from the object.

use std::{collections::HashSet, sync::Arc};

use kube::{
    Client,
    api::{DeleteParams, GetParams, ListParams, Patch, PatchParams, Preconditions},
    core::{ObjectList, PartialObjectMeta, Request},
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Key, Object, Result,
    error::{Error, is_conflict, is_not_found},
};

mod manifest;
mod memory;
mod observed;
mod recent;

pub use manifest::{Force, path_of};
use memory::Memory;
pub use observed::Observed;

/// Conflicts answered by trying again before they are given to the caller.
const ATTEMPTS: usize = 3;

/// Applies manifests in the name of one field manager. Cheap to clone.
#[derive(Clone)]
pub struct Applier {
    client: Client,
    manager: &'static str,
    observed: Observed,
    memory: Arc<Memory>,
}

/// What [`Applier::ensure`] did.
#[derive(Clone, Debug)]
pub enum Outcome<K> {
    /// The API server was asked; the object as it is now.
    Applied(Box<K>),
    /// The object was applied by us with the same manifest before and has not changed since.
    Unchanged,
}

/// What a deletion met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It does not exist (any more).
    Gone,
    /// It is being deleted: finalizers or a grace period are still running.
    Going,
}

impl Applier {
    /// An applier with this field manager: one fixed name per controller.
    pub fn new(client: Client, manager: &'static str) -> Self {
        Self { client, manager, observed: Observed::default(), memory: Arc::default() }
    }

    /// Uses what a controller's metadata watches see, so that [`Applier::ensure`] and
    /// [`Applier::sweep`] need no call for what is already as it should be.
    #[must_use]
    pub fn observing(mut self, observed: Observed) -> Self {
        self.observed = observed;
        self
    }

    /// The client, for reads.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The field manager.
    pub fn manager(&self) -> &'static str {
        self.manager
    }

    /// Reads one object; `None` if it does not exist.
    ///
    /// # Errors
    /// The API server refused or could not be reached.
    pub async fn get<K: Object>(&self, key: &Key) -> Result<Option<K>> {
        let failed = |error| Error::api::<K>("get", key, error);
        let request = Request::new(K::url_path(&(), key.namespace.as_deref()))
            .get(&key.name, &GetParams::default())
            .map_err(|error| failed(kube::Error::BuildRequest(error)))?;
        match self.client.request(request).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Applies the manifest and gives the object as it is now. `status` in the manifest is not sent.
    ///
    /// # Errors
    /// The manifest has no name, or the API server refused it or could not be reached.
    pub async fn apply<K: Object + Serialize>(&self, desired: &K) -> Result<K> {
        let body = manifest(desired)?;
        let applied: K = self.send(desired, None, &body).await?;
        self.memory.remember(desired, memory::digest(&body), &applied);
        Ok(applied)
    }

    /// As [`Applier::apply`], but without a call if that would change nothing.
    ///
    /// "Nothing" is proven by what the metadata watches see (see
    /// [`Applier::observing`]): the same object, unchanged since this applier
    /// applied the same manifest. Kinds that are not observed are always applied.
    ///
    /// # Errors
    /// As [`Applier::apply`].
    pub async fn ensure<K: Object + Serialize>(&self, desired: &K) -> Result<Outcome<K>> {
        let body = manifest(desired)?;
        let digest = memory::digest(&body);
        if let Some(meta) = self.observed.get::<K>(&Key::of(desired))
            && self.memory.is_current(desired, digest, &meta)
        {
            return Ok(Outcome::Unchanged);
        }
        let applied: K = self.send(desired, None, &body).await?;
        self.memory.remember(desired, digest, &applied);
        Ok(Outcome::Applied(Box::new(applied)))
    }

    /// Writes the status of an object, completely, if it differs from `old` in more than times.
    ///
    /// Conditions keep their `lastTransitionTime` unless their status flips, so the caller may
    /// stamp every condition with "now". Gives the changed object, `None` if nothing was written:
    /// the status is so already, or the object was replaced by another one of its name.
    ///
    /// # Errors
    /// The API server refused or could not be reached; [`Error::is_not_found`] if the object is gone.
    pub async fn status<K: Object, S: Serialize>(
        &self,
        object: &K,
        old: Option<&S>,
        new: &S,
    ) -> Result<Option<K>> {
        let key = Key::of(object);
        let serialise =
            |source| Error::Serialise { kind: K::kind(&()).into_owned(), object: key.to_string(), source };
        let mut status = serde_json::to_value(new).map_err(serialise)?;
        if let Some(old) = old {
            let old = serde_json::to_value(old).map_err(serialise)?;
            crate::status::keep_times(&old, &mut status);
            // `old` may be from before a write of our own that the watch has not shown yet.
            if old == status && !self.memory.wrote_status_after(object) {
                return Ok(None);
            }
        }
        let body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            // The uid makes it this object, not a later one of the same name (for built-in kinds).
            "metadata": { "name": &*key.name, "namespace": key.namespace.as_deref(), "uid": object.meta().uid },
            "status": status,
        });
        match self.send(object, Some("status"), &body).await {
            Ok(written) => {
                self.memory.remember_status(&written);
                // The uid is not checked for custom resources: this went to a successor. Its own
                // reconcile comes after this one and, thanks to the memory, writes over it.
                let ours = object.meta().uid.is_none() || written.meta().uid == object.meta().uid;
                Ok(ours.then_some(written))
            }
            Err(error) if is_other_object(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether this applier has written the status of this object after it was as it is given.
    pub fn is_ahead_of<K: Object>(&self, object: &K) -> bool {
        self.memory.wrote_status_after(object)
    }

    /// Deletes an object if it exists; with `uid` only if it is that very object.
    ///
    /// Its dependents are collected in the background.
    ///
    /// # Errors
    /// The API server refused or could not be reached.
    pub async fn delete_if_exists<K: Object>(&self, key: &Key, uid: Option<&str>) -> Result<Deleted> {
        let request = Request::new(K::url_path(&(), key.namespace.as_deref()));
        let mut params = DeleteParams::background();
        if let Some(uid) = uid {
            params =
                params.preconditions(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
        }
        let failed = |error| Error::api::<K>("delete", key, error);
        let request = request.delete(&key.name, &params).map_err(|e| failed(kube::Error::BuildRequest(e)))?;
        match self.client.request_status::<PartialObjectMeta<K>>(request).await {
            Ok(answer) => Ok(match answer.left() {
                Some(object) if object.metadata.deletion_timestamp.is_some() => Deleted::Going,
                _ => Deleted::Gone,
            }),
            Err(error) if is_not_found(&error) => Ok(Deleted::Gone),
            // With a uid precondition a conflict says: that object is gone, another has its name.
            Err(error) if uid.is_some() && is_conflict(&error) => Ok(Deleted::Gone),
            Err(error) => Err(failed(error)),
        }
    }

    /// Deletes every object of a kind that matches the selector, is owned by `owner` (a uid) and
    /// is not named in `keep`. Gives the names of what was deleted.
    ///
    /// Without `owner` the labels alone decide: only for selectors that nobody else uses.
    ///
    /// # Errors
    /// The API server refused or could not be reached; what was deleted before stays deleted.
    pub async fn sweep<K: Object>(
        &self,
        namespace: Option<&str>,
        selector: &str,
        owner: Option<&str>,
        keep: &[&str],
    ) -> Result<Vec<String>> {
        let keep: HashSet<&str> = keep.iter().copied().collect();
        let mut swept = Vec::new();
        for meta in self.candidates::<K>(namespace, selector).await? {
            let name = meta.name.as_deref().unwrap_or_default();
            let owned = owner.is_none_or(|uid| {
                meta.owner_references.iter().flatten().any(|reference| reference.uid == uid)
            });
            if keep.contains(name) || !owned || meta.deletion_timestamp.is_some() {
                continue;
            }
            let key = Key { namespace: meta.namespace.as_deref().map(Into::into), name: name.into() };
            self.delete_if_exists::<K>(&key, meta.uid.as_deref()).await?;
            swept.push(key.name.into());
        }
        Ok(swept)
    }

    async fn candidates<K: Object>(
        &self,
        namespace: Option<&str>,
        selector: &str,
    ) -> Result<Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>> {
        if let Some(seen) = self.observed.select::<K>(namespace, selector) {
            return Ok(seen);
        }
        let failed = |error| Error::api::<K>("list", selector, error);
        let request = Request::new(K::url_path(&(), namespace))
            .list_metadata(&ListParams::default().labels(selector))
            .map_err(|error| failed(kube::Error::BuildRequest(error)))?;
        let list: ObjectList<PartialObjectMeta<K>> = self.client.request(request).await.map_err(failed)?;
        Ok(list.items.into_iter().map(|item| item.metadata).collect())
    }

    async fn send<K: Object>(&self, object: &K, subresource: Option<&str>, body: &Value) -> Result<K> {
        let key = Key::of(object);
        let verb = if subresource.is_some() { "update the status of" } else { "apply" };
        let failed = |error| Error::api::<K>(verb, &key, error);
        let base = Request::new(K::url_path(&(), key.namespace.as_deref()));
        let params = PatchParams::apply(self.manager).force();
        let mut attempt = 1;
        loop {
            let request = match subresource {
                Some(name) => base.patch_subresource(name, &key.name, &params, &Patch::Apply(body)),
                None => base.patch(&key.name, &params, &Patch::Apply(body)),
            };
            let request = request.map_err(|error| failed(kube::Error::BuildRequest(error)))?;
            match self.client.request(request).await {
                Ok(applied) => return Ok(applied),
                // Two creations at once, or a write between the server's own read and write.
                Err(error) if is_conflict(&error) && attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

/// The manifest as it is sent: with its type, without what only the server may say.
#[allow(clippy::result_large_err)] // Errors are rare here, and a box would be in the way of everyone who matches.
fn manifest<K: Object + Serialize>(desired: &K) -> Result<Value> {
    let incomplete = |field| Error::Incomplete { verb: "apply", kind: K::kind(&()).into_owned(), field };
    if desired.meta().name.as_deref().is_none_or(str::is_empty) {
        return Err(incomplete("metadata.name"));
    }
    let mut body = serde_json::to_value(desired).map_err(|source| Error::Serialise {
        kind: K::kind(&()).into_owned(),
        object: Key::of(desired).to_string(),
        source,
    })?;
    body["apiVersion"] = json!(K::api_version(&()));
    body["kind"] = json!(K::kind(&()));
    if let Some(fields) = body.as_object_mut() {
        fields.remove("status");
    }
    if let Some(meta) = body["metadata"].as_object_mut() {
        for server_side in ["managedFields", "resourceVersion", "creationTimestamp", "generation", "uid"] {
            meta.remove(server_side);
        }
    }
    Ok(body)
}

/// The server refused because the object of that name has another uid than the one given.
fn is_other_object(error: &Error) -> bool {
    let Some(kube::Error::Api(status)) = error.kube() else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.is_invalid()
        && (causes.into_iter().any(|cause| cause.field == "metadata.uid")
            || status.message.contains("metadata.uid"))
}
