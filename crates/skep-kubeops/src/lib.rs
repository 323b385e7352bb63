//! Everything Skep needs from the Kubernetes API beyond plain requests.
//!
//! This is the only crate that builds a [`kube::Client`]: its retry policy,
//! deadlines and user agent are the product's. On top of it sit the parts every
//! reconciler shares: server-side apply with orphan sweep, status patches that
//! ignore clocks, finalizers, guarded watches, the controller runner, leader
//! election, events, metrics and the health endpoint.
//!
//! What it refuses: it never caches objects nobody asked for, never polls where
//! a watch exists, and never lets one undecodable object stop a watch.

pub mod apply;
pub mod backoff;
pub mod cache;
pub mod client;
pub mod controller;
pub mod error;
pub mod events;
pub mod finalizer;
pub mod health;
pub mod key;
pub mod lease;
pub mod list;
pub mod metrics;
pub mod reconcile;
pub mod status;
pub mod watch;

pub use apply::{Applier, Deleted, Force, Observed, Outcome, path_of};
pub use cache::Cache;
pub use client::ClientConfig;
pub use controller::{Controller, Targets, Trigger};
pub use error::{Error, Result};
pub use events::Recorder;
pub use key::Key;
pub use list::list_all;
pub use metrics::Metrics;
pub use reconcile::{Classify, ErrorClass, Next, Reconciler};

/// A Kubernetes type known at compile time, as every function of this crate takes it.
///
/// Implemented for everything that fits; nobody implements it by hand.
pub trait Object:
    kube::Resource<DynamicType = ()>
    + Clone
    + std::fmt::Debug
    + serde::de::DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Object for K where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static
{
}
