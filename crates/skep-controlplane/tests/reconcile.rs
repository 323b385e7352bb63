//! The reconciler against an API server in memory: whole lives, single steps, and every call failing in every way.

// Helpers of tests may fail loudly; the lint only exempts the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "reconcile/cell.rs"]
mod cell;
#[path = "reconcile/door.rs"]
mod door;
#[path = "reconcile/faults.rs"]
mod faults;
#[path = "reconcile/life.rs"]
mod life;
#[path = "reconcile/real.rs"]
mod real;
#[path = "reconcile/rollout.rs"]
mod rollout;
