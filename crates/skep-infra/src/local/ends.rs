//! Who wants to know that a machine has ended.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    time::{Instant, sleep_until},
};

use super::process::Handle;

/// Ends that nobody has asked for yet. Whoever brings one more waits.
const UNHEARD: usize = 64;
/// A machine that ends sooner than this is not told of before: it would be started again as fast as it ends.
const SOON: Duration = Duration::from_secs(10);

/// Tells of each machine that ends, however it ends and whoever has started it.
pub(super) struct Ends {
    /// Machines and their first processes that are waited for.
    watched: Arc<Mutex<HashSet<(String, i32)>>>,
    tell: Sender<String>,
    told: tokio::sync::Mutex<Receiver<String>>,
}

impl Default for Ends {
    fn default() -> Self {
        let (tell, told) = channel(UNHEARD);
        Self { watched: Arc::default(), tell, told: told.into() }
    }
}

impl Ends {
    /// Waits for the end of a machine that runs. Once is enough, more often does no harm.
    pub(super) fn watch(&self, uid: &str, first: Handle) {
        let key = (uid.to_owned(), first.pid());
        if !lock(&self.watched).insert(key.clone()) {
            return;
        }
        let (watched, tell, soon) = (Arc::clone(&self.watched), self.tell.clone(), Instant::now() + SOON);
        tokio::spawn(async move {
            let ended = first.end().await;
            lock(&watched).remove(&key);
            if ended.is_ok() {
                sleep_until(soon).await;
                // Nobody listens any more when this fails.
                let _ = tell.send(key.0).await;
            }
        });
    }

    /// The next one. Cancel safe.
    pub(super) async fn next(&self) -> String {
        match self.told.lock().await.recv().await {
            Some(uid) => uid,
            // We have a sender ourselves.
            None => std::future::pending().await,
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
