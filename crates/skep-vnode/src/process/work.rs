//! Work on the directory of one pod: never forgotten half done, and none once the directory is to go.
//!
//! A blocking call cannot be given up. Whoever waits for it may be, and then it goes on by itself: it could meet the same
//! work of a next attempt, or put a file into a directory that is being deleted. So all of it is done through here.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::task::TaskTracker;

/// See the module.
#[derive(Debug)]
pub(super) struct DirectoryWork {
    under_way: TaskTracker,
    ended: Mutex<bool>,
}

impl Default for DirectoryWork {
    fn default() -> Self {
        let under_way = TaskTracker::new();
        // Closed means that it can be waited for, not that it takes nothing any more.
        under_way.close();
        Self { under_way, ended: Mutex::new(false) }
    }
}

impl DirectoryWork {
    /// Does blocking work. When the caller is dropped the work goes on, and [`idle`](Self::idle) waits for it.
    ///
    /// # Errors
    /// What went wrong, a panic included; [`io::ErrorKind::NotFound`] after [`end`](Self::end), and nothing was done.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let task = {
            let ended = self.ended();
            if *ended {
                return Err(io::Error::new(io::ErrorKind::NotFound, "the pod is being removed"));
            }
            self.under_way.spawn_blocking(work)
        };
        task.await?
    }

    /// Waits until nothing is under way.
    pub(super) async fn idle(&self) {
        self.under_way.wait().await;
    }

    /// Takes nothing from now on, and waits until nothing is under way.
    pub(super) async fn end(&self) {
        *self.ended() = true;
        self.idle().await;
    }

    /// The last work: deletes the directory. Only one such call is at work at any time.
    pub(super) async fn remove(
        &self,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        self.end().await;
        self.under_way.spawn_blocking(work).await?
    }

    fn ended(&self) -> MutexGuard<'_, bool> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_waited_for() {
        let work = Arc::new(DirectoryWork::default());
        let (go, wait) = mpsc::channel::<()>();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let caller = tokio::spawn({
            let work = work.clone();
            async move {
                work.run(move || {
                    begun.send(()).unwrap();
                    wait.recv().map_err(io::Error::other)
                })
                .await
            }
        });
        begins.await.unwrap();
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        assert!(work.idle().now_or_never().is_none(), "it is still at work");
        let mut end = std::pin::pin!(work.end());
        assert!(end.as_mut().now_or_never().is_none());
        go.send(()).unwrap();
        end.await;
    }

    #[tokio::test]
    async fn nothing_begins_after_the_end() {
        let work = DirectoryWork::default();
        assert_eq!(work.run(|| Ok(1)).await.unwrap(), 1);
        work.end().await;
        let error = work.run(|| -> io::Result<()> { panic!("it began") }).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        work.remove(|| Ok(())).await.unwrap();
        work.remove(|| Ok(())).await.unwrap();
    }
}
