//! Dropping old history, and telling every tenant how far it was dropped.
//!
//! API servers that own their etcd agree on this among themselves, through one key (`pkg/storage/etcd3/compact.go` of
//! k8s.io/apiserver). Tenants share an etcd, so the operator does it for all of them, with the same key and the same
//! order: the key first, then the compaction. Tenants only read the key: it tells their watch caches which snapshots
//! are too old to continue a list from.

use std::time::Duration;

use tokio::time::Instant;

use super::keys::RANGE;
use super::wire::{
    Compact, Compare, CompareResult, CompareTarget, Empty, Operation, Put, Range, Ranged, Transacted,
    Transaction,
};
use super::{Connection, Failure};

const TXN: &str = "/etcdserverpb.KV/Txn";
const COMPACT: &str = "/etcdserverpb.KV/Compact";

/// The key, with the name upstream gives it. It holds the revision up to which history was dropped, in decimal.
pub(super) const KEY: &[u8] = b"compact_rev_key";
/// History kept at least; twice as much is there just before it is dropped. Upstream's `DefaultCompactInterval`.
const INTERVAL: Duration = Duration::from_secs(300);

/// The key as it was last seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    /// The revision of its last write: the history before it is dropped next. 0: there is no such key.
    revision: i64,
    at: Instant,
}

impl Mark {
    fn now(revision: i64) -> Self {
        Self { revision, at: Instant::now() }
    }

    fn due(self) -> Duration {
        INTERVAL.saturating_sub(self.at.elapsed())
    }
}

impl Connection {
    /// Drops the history from before the key was last written, if that is [`INTERVAL`] ago as seen from here, and
    /// writes the key. Gives the time until there is something to do again.
    ///
    /// Two operators that do this at once drop no more than one would: the key is only written when it is as it was
    /// seen. When an answer is lost, the history goes an interval later.
    ///
    /// # Errors
    /// etcd does not answer or refuses.
    pub async fn drop_history(&self) -> Result<Duration, Failure> {
        let mut mark = self.mark.lock().await;
        if let Some(seen) = *mark
            && !seen.due().is_zero()
        {
            return Ok(seen.due());
        }
        let found: Ranged =
            self.call(RANGE, Range { key: KEY.to_vec(), limit: 1, ..Range::default() }).await?;
        let revision = found.kvs.first().map_or(0, |key| key.mod_revision);
        // The first look ever writes the key, so that there is a revision to go back to.
        let ours = mark.is_some_and(|seen| seen.revision == revision) || revision == 0;
        let written = if ours { self.write_mark(revision).await? } else { None };
        let next = Mark::now(written.unwrap_or(revision));
        *mark = Some(next);
        if written.is_some() && revision > 0 {
            compacted_is_fine(self.call(COMPACT, Compact { revision }).await)?;
        }
        Ok(next.due())
    }

    /// As if the key had been seen an interval ago.
    #[cfg(test)]
    pub(crate) async fn an_interval_passes(&self) {
        if let Some(mark) = self.mark.lock().await.as_mut() {
            mark.at = Instant::now() - INTERVAL;
        }
    }

    /// Writes the key if nobody did since it was seen; gives the revision of the write.
    async fn write_mark(&self, seen: i64) -> Result<Option<i64>, Failure> {
        let unchanged = Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: KEY.to_vec(),
            mod_revision: Some(seen),
        };
        let put = Put { key: KEY.to_vec(), value: seen.to_string().into_bytes() };
        let request = Transaction { compare: vec![unchanged], success: vec![Operation { put: Some(put) }] };
        let answer: Transacted = self.call(TXN, request).await?;
        Ok(answer.succeeded.then(|| answer.header.map(|header| header.revision)).flatten())
    }
}

/// Somebody else went further: etcd itself, or another operator.
fn compacted_is_fine(answer: Result<Empty, Failure>) -> Result<(), Failure> {
    match answer {
        Ok(_) | Err(Failure::Compacted) => Ok(()),
        Err(failure) => Err(failure),
    }
}
