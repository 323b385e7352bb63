//! A tenant's keys: counting them, deleting them. Values are never read.

use skep_api::TenantId;
use tokio::time::Instant;

use super::wire::{DeleteRange, Deleted, Range, Ranged};
use super::{Connection, Failure};

pub(super) const RANGE: &str = "/etcdserverpb.KV/Range";
const DELETE: &str = "/etcdserverpb.KV/DeleteRange";
/// Keys deleted by one call. etcd applies a call as a whole while everybody else waits: a thousand keys take it a few
/// milliseconds.
const CHUNK: i64 = 1000;

/// The range of a tenant's keys: its prefix, and the first key behind all that begin with it.
pub(super) fn range(tenant: &TenantId) -> (Vec<u8>, Vec<u8>) {
    let start = tenant.key_prefix().into_bytes();
    let mut end = start.clone();
    // The prefix ends with a slash, so the last byte can always be raised by one.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    (start, end)
}

impl Connection {
    /// How many keys the tenant has.
    ///
    /// # Errors
    /// etcd does not answer or refuses.
    pub async fn count(&self, tenant: &TenantId) -> Result<u64, Failure> {
        let (key, range_end) = range(tenant);
        let request = Range { key, range_end, count_only: true, ..Range::default() };
        let answer = self.call::<_, Ranged>(RANGE, request).await?;
        Ok(answer.count.max(0).unsigned_abs())
    }

    /// Deletes the tenant's keys in chunks until none is left or `deadline` comes. Gives how many were deleted and
    /// whether none is left.
    ///
    /// # Errors
    /// etcd does not answer or refuses; what was deleted stays deleted.
    pub async fn clear(&self, tenant: &TenantId, deadline: Instant) -> Result<(u64, bool), Failure> {
        let (start, end) = range(tenant);
        let mut deleted = 0;
        loop {
            let request = Range {
                key: start.clone(),
                range_end: end.clone(),
                limit: CHUNK,
                keys_only: true,
                ..Range::default()
            };
            // Ranges come in the order of their keys.
            let Some(last) = self.call::<_, Ranged>(RANGE, request).await?.kvs.pop() else {
                return Ok((deleted, true));
            };
            if Instant::now() >= deadline {
                return Ok((deleted, false));
            }
            let mut chunk_end = last.key;
            chunk_end.push(0);
            let request = DeleteRange { key: start.clone(), range_end: chunk_end };
            deleted += self.call::<_, Deleted>(DELETE, request).await?.deleted.max(0).unsigned_abs();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Of two tenants none has a key in the other's range, whatever their names.
        #[test]
        fn ranges_of_two_tenants_are_apart(a in "[a-z0-9]([a-z0-9-]{0,37}[a-z0-9])?", b in "[a-z0-9]([a-z0-9-]{0,37}[a-z0-9])?", key in ".{0,20}") {
            prop_assume!(a != b);
            let (a, b): (TenantId, TenantId) = (a.parse().unwrap(), b.parse().unwrap());
            let (start, end) = range(&a);
            let other = format!("{}{key}", b.key_prefix()).into_bytes();
            prop_assert!(!(start <= other && other < end));
            let own = format!("{}{key}", a.key_prefix()).into_bytes();
            prop_assert!(start <= own && own < end);
        }
    }
}
