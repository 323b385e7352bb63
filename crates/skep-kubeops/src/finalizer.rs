//! Finalizers, for what lives outside the cluster only; everything inside has owner references.
//!
//! Both operations carry the `resourceVersion` they were decided on, so that a
//! finalizer of somebody else, added or removed meanwhile, is never lost; on a
//! conflict the object is read again.

use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    Object, Result,
    error::{Error, is_conflict, is_not_found},
};

/// How often a conflict is answered by reading again before it is given back to the caller.
const ATTEMPTS: usize = 4;

/// Adds `finalizer` to the object unless it is there or the object is being deleted.
///
/// Gives the changed object, `None` if nothing had to be done.
///
/// # Errors
/// The API server refused or could not be reached; it is also an error if the object is gone.
pub async fn ensure<K: Object>(api: &Api<K>, object: &K, finalizer: &str) -> Result<Option<K>> {
    match add(api, object, finalizer).await? {
        Edit::Changed(changed) => Ok(Some(changed)),
        Edit::Needless(_) | Edit::Replaced => Ok(None),
    }
}

/// As [`ensure`], to be called, and waited for, before the first external effect: says whether the object is held.
/// When it is not, it is gone or being deleted, and nothing may be made for it any more.
///
/// # Errors
/// The API server refused or could not be reached.
pub async fn hold<K: Object>(api: &Api<K>, object: &K, finalizer: &str) -> Result<bool> {
    match add(api, object, finalizer).await {
        Ok(Edit::Changed(_)) => Ok(true),
        Ok(Edit::Needless(read)) => Ok(has(read.as_ref().unwrap_or(object), finalizer)),
        Ok(Edit::Replaced) => Ok(false),
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn add<K: Object>(api: &Api<K>, object: &K, finalizer: &str) -> Result<Edit<K>> {
    edit(api, object, "add the finalizer of", |current| {
        // The API server refuses new finalizers on an object that is being deleted.
        let wanted = current.meta().deletion_timestamp.is_none() && !has(current, finalizer);
        wanted.then(|| {
            let mut list = current.meta().finalizers.clone().unwrap_or_default();
            list.push(finalizer.to_owned());
            list
        })
    })
    .await
}

/// Removes `finalizer` from the object; it is fine if it, or the object, is gone.
///
/// # Errors
/// The API server refused or could not be reached.
pub async fn remove<K: Object>(api: &Api<K>, object: &K, finalizer: &str) -> Result<()> {
    let removed = edit(api, object, "remove the finalizer of", |current| {
        has(current, finalizer).then(|| {
            let list = current.meta().finalizers.iter().flatten();
            list.filter(|name| *name != finalizer).cloned().collect()
        })
    })
    .await;
    match removed {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

/// `true` if the object carries `finalizer`.
pub fn has<K: Object>(object: &K, finalizer: &str) -> bool {
    object.meta().finalizers.iter().flatten().any(|name| name == finalizer)
}

/// What became of an edit.
enum Edit<K> {
    Changed(K),
    /// Nothing had to be done to the object as given, or as read since.
    Needless(Option<K>),
    /// Another object has its name.
    Replaced,
}

async fn edit<K: Object>(
    api: &Api<K>,
    object: &K,
    verb: &'static str,
    change: impl Fn(&K) -> Option<Vec<String>>,
) -> Result<Edit<K>> {
    let name = object.meta().name.clone().unwrap_or_default();
    let key = crate::Key::of(object);
    let uid = object.meta().uid.clone();
    let mut fresh: Option<K> = None;
    let mut attempt = 1;
    loop {
        let current = fresh.as_ref().unwrap_or(object);
        let Some(finalizers) = change(current) else {
            return Ok(Edit::Needless(fresh));
        };
        let version = &current.meta().resource_version;
        let patch = json!({ "metadata": { "resourceVersion": version, "finalizers": finalizers } });
        match api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(changed) => return Ok(Edit::Changed(changed)),
            Err(error) if is_conflict(&error) && attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(Error::api::<K>(verb, &key, error)),
        }
        let read = api.get(&name).await.map_err(|error| Error::api::<K>("get", &key, error))?;
        if read.meta().uid != uid {
            return Ok(Edit::Replaced);
        }
        fresh = Some(read);
    }
}

/// `true` if an error of this module means that the object no longer exists.
pub fn is_gone(error: &Error) -> bool {
    error.kube().is_some_and(is_not_found)
}
