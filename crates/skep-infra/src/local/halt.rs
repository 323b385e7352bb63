//! Ending all machines of an installation that is itself stopped.

use super::{Local, bridge, record::Record, remove};
use crate::Result;

impl Local {
    /// Ends every machine and what it has on the host. Directories stay: [`crate::Provider::ensure`] starts a machine again
    /// as it was.
    ///
    /// # Errors
    /// The first machine that could not be ended; the others are ended all the same.
    pub async fn halt(&self) -> Result<()> {
        let mut outcome = Ok(());
        for record in self.inner.book.all()? {
            outcome = outcome.and(self.end(&record).await);
        }
        let _one_at_a_time = self.inner.common.lock().await;
        outcome?;
        bridge::remove(&self.inner.hands, &self.inner.settings.network, &self.inner.installation).await
    }

    async fn end(&self, record: &Record) -> Result<()> {
        let _one_at_a_time = self.inner.machines.take(&record.uid).await?;
        let (dir, names) = (self.inner.book.dir(&record.uid), self.inner.names(record));
        remove::clear(&self.inner, &record.name, &dir, &names).await
    }
}
