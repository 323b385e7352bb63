//! The life of pools and machines against an API server in memory, which is hub and tenant at once: single steps, and every
//! call failing in every way.

// Helpers of tests may fail loudly; the lint only exempts the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "reconcile/certificates.rs"]
mod certificates;
#[path = "reconcile/faults.rs"]
mod faults;
#[path = "reconcile/joining.rs"]
mod joining;
#[path = "reconcile/kubelets.rs"]
mod kubelets;
#[path = "reconcile/leaving.rs"]
mod leaving;
#[path = "reconcile/named.rs"]
mod named;
#[path = "reconcile/pauses.rs"]
mod pauses;
#[path = "reconcile/pools.rs"]
mod pools;
#[path = "reconcile/provider.rs"]
mod provider;
#[path = "reconcile/real.rs"]
mod real;
#[path = "reconcile/repair_faults.rs"]
mod repair_faults;
#[path = "reconcile/repairs.rs"]
mod repairs;
#[path = "reconcile/tenant.rs"]
mod tenant;
#[path = "reconcile/tenants.rs"]
mod tenants;
#[path = "reconcile/trials.rs"]
mod trials;
#[path = "reconcile/updates.rs"]
mod updates;
#[path = "reconcile/wakes.rs"]
mod wakes;
#[path = "reconcile/world.rs"]
mod world;
