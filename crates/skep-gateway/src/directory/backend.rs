//! One API server that connections can go to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::clock;
use crate::closing::Window;
use crate::routes::RoutePod;

/// How long a backend that refused a connection is tried last; doubled with every refusal in a row.
const SUSPECT: Duration = Duration::from_millis(500);
/// At most this many doublings: 8 seconds.
const SUSPECT_DOUBLINGS: u32 = 4;

/// A pod of kube-apiserver with an address.
#[derive(Debug)]
pub struct Backend {
    name: Box<str>,
    uid: Box<str>,
    address: SocketAddr,
    open: AtomicUsize,
    /// Refusals since the last success.
    failures: AtomicU32,
    /// A moment of [`clock`].
    suspect_until: AtomicU64,
    gone: AtomicBool,
    gone_signal: Notify,
    /// Set when its deletion is first seen.
    closing: OnceLock<Option<Window>>,
}

impl Backend {
    pub(super) fn new(pod: &RoutePod) -> Arc<Self> {
        Arc::new(Self {
            name: pod.name.as_str().into(),
            uid: pod.uid.as_str().into(),
            address: pod.address,
            open: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            suspect_until: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            gone_signal: Notify::new(),
            closing: OnceLock::new(),
        })
    }

    /// Whether this is that pod at that address.
    pub(super) fn is(&self, pod: &RoutePod) -> bool {
        *self.uid == *pod.uid && self.address == pod.address
    }

    /// Name of the pod, for logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that lead to it now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether it refused its last connection a short time ago.
    pub(super) fn is_suspect(&self) -> bool {
        clock::is_ahead(self.suspect_until.load(Ordering::Relaxed))
    }

    /// It refused a connection: others are asked first for a while.
    pub(crate) fn refused(&self) {
        let doublings = self.failures.fetch_add(1, Ordering::Relaxed).min(SUSPECT_DOUBLINGS);
        self.suspect_until.store(clock::after(SUSPECT * (1 << doublings)), Ordering::Relaxed);
    }

    /// It answered a connection.
    pub(crate) fn answered(&self) {
        // Read first: nearly always there is nothing to write, and the cache line stays shared.
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.suspect_until.store(0, Ordering::Relaxed);
        }
    }

    /// Its deletion was seen, and answers are to be held in this time, if any. The first sight counts.
    pub(crate) fn set_closing(&self, window: impl FnOnce() -> Option<Window>) {
        self.closing.get_or_init(window);
    }

    /// Until when its answers are held back, if they are at this moment.
    ///
    /// Nobody is told when that begins: holding is about bytes that arrive, and whoever moves bytes looks here first.
    pub(crate) fn holds(&self) -> Option<Instant> {
        let window = self.closing.get()?.as_ref()?;
        window.holds(Instant::now()).then_some(window.until)
    }

    /// The pod no longer exists.
    pub(super) fn set_gone(&self) {
        self.gone.store(true, Ordering::Release);
        self.gone_signal.notify_waiters();
    }

    /// Whether the pod no longer exists.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Told once, when the pod stops to exist. Look at [`is_gone`](Self::is_gone) after registering.
    pub(crate) fn gone_signal(&self) -> &Notify {
        &self.gone_signal
    }

    /// Counts a connection until the lease is dropped.
    pub(crate) fn lease(self: &Arc<Self>) -> Lease {
        self.open.fetch_add(1, Ordering::Relaxed);
        Lease(self.clone())
    }
}

/// A connection that counts for its backend.
#[derive(Debug)]
pub struct Lease(Arc<Backend>);

impl std::ops::Deref for Lease {
    type Target = Arc<Backend>;

    fn deref(&self) -> &Arc<Backend> {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
