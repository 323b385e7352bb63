//! Keeps identities while they are used: read once for all that come at the same time, believed for a while, read again
//! when they do not fit.
//!
//! When the cell does not answer, what was read before goes on; authorities overlap by months.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout};

use super::identity::{Door, Identity, IdentityError, IdentityFiles};
use super::source::Identities;
use crate::directory::{Directory, Tenant};

/// Reads at a time.
const READS: usize = 16;
/// Longest read.
const PATIENCE: Duration = Duration::from_secs(5);
/// Shortest time between two reads of the same: a stranger who knocks does not make the cell work.
const SOONEST: Duration = Duration::from_secs(2);
/// An identity that nobody asked for in this time is dropped.
const UNUSED: Duration = Duration::from_secs(30 * 60);

/// What was last read of something, and when.
#[derive(Debug)]
pub(super) struct Held<T> {
    files: IdentityFiles,
    value: Result<Arc<T>, IdentityError>,
    read: Instant,
    used: Instant,
    doubted: bool,
}

/// A place for it; the lock makes those who come at the same time wait for one read.
pub(super) type Place<T> = Mutex<Option<Held<T>>>;

/// Reads identities.
pub(super) struct Keeper {
    source: Arc<dyn Identities>,
    reload: Duration,
    reads: Semaphore,
    door: Place<Option<Door>>,
}

impl Keeper {
    pub(super) fn new(source: Arc<dyn Identities>, reload: Duration) -> Self {
        Self { source, reload, reads: Semaphore::new(READS), door: Place::default() }
    }

    /// The identity of a tenant, which is kept in `place`.
    pub(super) async fn tenant(
        &self,
        tenant: &Tenant,
        place: &Place<Identity>,
    ) -> Result<Arc<Identity>, IdentityError> {
        let read = async { self.source.of_tenant(tenant.namespace()).await };
        let unread = |reason: &str| IdentityError::Unreadable {
            object: format!("{}/{}", tenant.namespace(), skep_plan::egress::tunnel::SECRET),
            reason: reason.to_owned(),
        };
        self.get(place, read, unread, Identity::new, |_| self.reload).await
    }

    /// The door, if there is one.
    pub(super) async fn door(&self) -> Option<Arc<Option<Door>>> {
        // No door is files without a key.
        let read = async { Ok(self.source.of_door().await?.unwrap_or_default()) };
        let unread = |reason: &str| IdentityError::Unreadable {
            object: format!("{}/{}", skep_api::SYSTEM_NAMESPACE, skep_plan::egress::tunnel::DOOR_SECRET),
            reason: reason.to_owned(),
        };
        let make = |files: &IdentityFiles| match files == &IdentityFiles::default() {
            true => Ok(None),
            false => Door::new(files).map(Some),
        };
        // Where there is none, there may be one soon.
        let believed = |door: &Option<Door>| if door.is_some() { self.reload } else { SOONEST };
        match self.get(&self.door, read, unread, make, believed).await {
            Ok(door) => Some(door),
            Err(error) => {
                tracing::debug!(%error, "the tunnel's door cannot be opened");
                None
            }
        }
    }

    /// Says that a certificate did not fit: perhaps the files are old.
    pub(super) async fn doubt<T>(&self, place: &Place<T>) {
        if let Some(held) = place.lock().await.as_mut() {
            held.doubted = true;
        }
    }

    /// Drops what nobody has asked for.
    pub(super) fn tidy(&self, directory: &Directory) {
        for tenant in directory.tenants() {
            let Some(tunnel) = tenant.tunnel() else { continue };
            // Somebody who holds the lock uses it.
            if let Ok(mut place) = tunnel.identity.try_lock()
                && place.as_ref().is_some_and(|held| held.used.elapsed() > UNUSED)
            {
                *place = None;
            }
        }
    }

    async fn get<T>(
        &self,
        place: &Place<T>,
        read: impl Future<Output = Result<IdentityFiles, IdentityError>>,
        unread: impl Fn(&str) -> IdentityError,
        make: impl Fn(&IdentityFiles) -> Result<T, IdentityError>,
        believed: impl Fn(&T) -> Duration,
    ) -> Result<Arc<T>, IdentityError> {
        let mut place = place.lock().await;
        let now = Instant::now();
        if let Some(held) = place.as_mut() {
            held.used = now;
            let good = held.value.as_ref().ok().filter(|_| !held.doubted);
            if held.read.elapsed() < good.map_or(SOONEST, |value| believed(value)) {
                return held.value.clone();
            }
        }
        let files = match self.reads.acquire().await {
            Ok(_permit) => timeout(PATIENCE, read).await.unwrap_or_else(|_| Err(unread("no answer in time"))),
            Err(_) => Err(unread("the gateway stops")),
        };
        let files = match (files, place.as_mut()) {
            (Ok(files), Some(held)) if held.files == files => {
                (held.read, held.doubted) = (now, false);
                return held.value.clone();
            }
            (Ok(files), _) => files,
            // The cell is away: what was good is good.
            (Err(IdentityError::Unreadable { .. }), Some(held)) if held.value.is_ok() => {
                held.read = now;
                return held.value.clone();
            }
            (Err(error), _) => {
                let held = Held {
                    files: IdentityFiles::default(),
                    value: Err(error.clone()),
                    read: now,
                    used: now,
                    doubted: false,
                };
                *place = Some(held);
                return Err(error);
            }
        };
        let value = make(&files).map(Arc::new);
        *place = Some(Held { files, value: value.clone(), read: now, used: now, doubted: false });
        value
    }
}

#[cfg(test)]
mod tests;
