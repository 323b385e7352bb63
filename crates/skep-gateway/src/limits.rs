//! Counted permits: how many of something may exist at once.
//!
//! A [`Permit`] gives back its place when it is dropped, whatever way a connection ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// A number of places.
#[derive(Debug)]
pub struct Gate {
    used: AtomicUsize,
    places: usize,
    /// Told when the last place is given back.
    empty: Notify,
}

impl Gate {
    /// A gate with this many places.
    pub fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), places, empty: Notify::new() })
    }

    /// Takes a place, or nothing if all are taken.
    pub fn enter(self: &Arc<Self>) -> Option<Permit> {
        self.used
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |used| (used < self.places).then_some(used + 1))
            .ok()?;
        Some(Permit(self.clone()))
    }

    /// Places taken.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Waits until no place is taken.
    pub async fn emptied(&self) {
        loop {
            let mut empty = std::pin::pin!(self.empty.notified());
            // Registered before the look, so that the last one out cannot be missed.
            empty.as_mut().enable();
            if self.used.load(Ordering::Acquire) == 0 {
                return;
            }
            empty.await;
        }
    }
}

/// A place in a [`Gate`].
#[derive(Debug)]
pub struct Permit(Arc<Gate>);

impl Drop for Permit {
    fn drop(&mut self) {
        if self.0.used.fetch_sub(1, Ordering::Release) == 1 {
            self.0.empty.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let gate = Gate::new(2);
        let (one, two) = (gate.enter(), gate.enter());
        assert!(one.is_some() && two.is_some() && gate.enter().is_none());
        drop(one);
        assert_eq!(gate.used(), 1);
        assert!(gate.enter().is_some());
    }

    #[tokio::test]
    async fn emptied_ends_with_the_last_one() {
        let gate = Gate::new(2);
        gate.emptied().await;
        let permit = gate.enter();
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.emptied().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(permit);
        waiting.await.unwrap();
    }
}
