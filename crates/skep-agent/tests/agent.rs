//! The agent as the first process of machines made of namespaces: with programs that only pretend, and with real ones.
//!
//! Skipped, with a line that says so, without root or without the programs a node needs.

// Helpers of tests may fail loudly; the lint only exempts the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "agent/again.rs"]
mod again;
#[path = "agent/image.rs"]
mod image;
#[path = "agent/machine.rs"]
mod machine;
#[path = "agent/pretend.rs"]
mod pretend;
#[path = "agent/real.rs"]
mod real;
#[path = "agent/server.rs"]
mod server;

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// For anything that happens on its own.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at what has no event for a test.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Looks until there is something.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Whether machines can be made here; says what is missing otherwise.
pub fn possible(test: &str) -> bool {
    let found = |name: &str| {
        ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            .iter()
            .any(|place| std::path::Path::new(place).join(name).exists())
    };
    let needed = ["runc", "nft", "conntrack", "ip", "nsenter", "unshare", "mount", "busybox"];
    let missing: Vec<_> = needed.into_iter().filter(|name| !found(name)).collect();
    let root = nix::unistd::geteuid().is_root();
    if root && missing.is_empty() {
        return true;
    }
    eprintln!(
        "SKIPPED {test}: it needs root{}",
        if missing.is_empty() { String::new() } else { format!(" and {}", missing.join(", ")) }
    );
    false
}
