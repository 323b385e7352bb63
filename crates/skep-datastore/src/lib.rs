//! Datastores: the etcd clusters of a cell, and the tenants in them.
//!
//! Guarantees: a tenant's certificate opens the keys under `/skep/<tenant>/` and no others; every step is idempotent
//! and may be cut off anywhere; a `Datastore` that still holds tenants is never deleted.
//!
//! Refuses: to know what a tenant stores. Keys are counted and deleted here, never read.
//!
//! Two entries: [`TenantStore`], which control planes use (etcd behind it is [`EtcdTenants`]), and [`controller`],
//! which brings `Datastore` objects to their goal.

mod config;
mod controller;
mod datastores;
mod error;
pub mod etcd;
mod etcd_tenants;
#[cfg(any(test, feature = "testing"))]
pub mod fake;
mod opened;
mod reconcile;
mod secrets;
mod tenant;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use controller::{Context, controller, run};
pub use datastores::Datastores;
pub use error::{Error, Result};
pub use etcd_tenants::EtcdTenants;
pub use reconcile::DatastoreReconciler;
pub use tenant::{Removal, TenantAccess, TenantStore, Usage};
