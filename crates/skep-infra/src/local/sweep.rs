//! Removing what is left without a record: of processes that were killed, of records that somebody took away by hand.
//!
//! Only what carries this installation's name is looked at. What is found is listed before the records are read: a machine
//! that is being made has its record before anything else, so it is never taken for a remainder.

use std::{collections::BTreeSet, sync::Arc};

use super::{Inner, Local, cable, files, names, names::Names, remove};
use crate::{Deleted, Provider, Result};

impl Local {
    /// Goes on with deletions that were begun and removes what has no record. Gives the number of machines it concerned.
    ///
    /// # Errors
    /// The first one; the rest is swept all the same.
    pub async fn sweep(&self) -> Result<usize> {
        let inner = &self.inner;
        let mut errors = Vec::new();
        let mut swept = 0;
        let mut note = |result: Result<bool>| match result {
            Ok(done) => swept += usize::from(done),
            Err(error) => errors.push(error),
        };
        note(unborn(inner).await.map(|()| false));
        let found = shorts(inner)?;
        let records = inner.book.all()?;
        let known: BTreeSet<_> = records.iter().map(|record| record.short.as_str()).collect();
        for short in found.iter().filter(|short| !known.contains(short.as_str())) {
            tracing::warn!(installation = inner.installation, short, "a machine without a record is removed");
            let names = Names::of(&inner.installation, &inner.settings.cgroup, short);
            // Without a record there is no directory either, and nobody who could hold a lock.
            let nowhere = inner.book.gone(short);
            note(remove::clear(inner, short, &nowhere, &names).await.map(|()| true));
        }
        let deleting = records.into_iter().filter(|record| record.deleting).map(|record| record.uid);
        for uid in deleting.chain(inner.book.all_gone()?) {
            note(self.delete(&uid).await.map(|deleted| deleted == Deleted::Gone));
        }
        note(remove::last_one_out(inner).await.map(|()| false));
        errors.into_iter().next().map_or(Ok(swept), Err)
    }
}

/// Removes directories of machines that were never made.
async fn unborn(inner: &Arc<Inner>) -> Result<()> {
    let _nobody_makes_one = inner.common.lock().await;
    for dir in inner.book.all_unborn()? {
        inner.hands.step("remove what was never made")?;
        files::remove_all(&dir)?;
    }
    Ok(())
}

/// Short names of machines of which there is anything on the host.
fn shorts(inner: &Inner) -> Result<BTreeSet<String>> {
    let mut found: BTreeSet<_> = cable::all(&inner.installation)?.into_iter().collect();
    found.extend(inner.hierarchies.named(&inner.settings.cgroup, &names::cgroup_prefix(&inner.installation)));
    // They become parts of names again.
    found.retain(|short| short.len() == 8 && short.bytes().all(|b| b.is_ascii_hexdigit()));
    Ok(found)
}
