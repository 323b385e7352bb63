//! The life of a `Cluster` against an API server in memory: single steps, and every call failing in every way.

// Helpers of tests may fail loudly; the lint only exempts the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "reconcile/faults.rs"]
mod faults;
#[path = "reconcile/hub.rs"]
mod hub;
#[path = "reconcile/life.rs"]
mod life;
#[path = "reconcile/wakes.rs"]
mod wakes;
