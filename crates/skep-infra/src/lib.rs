//! Machines, wherever they come from: one provider trait, and the providers.
//!
//! Guarantees: every call is idempotent and may be repeated after any crash; a machine is found again by its uid; after
//! [`Provider::delete`] has said that it is gone, nothing of it is left.
//!
//! Refuses: to touch what it has not made.

mod error;
pub mod hollow;
pub mod local;
pub mod provider;
pub mod static_machines;

pub use error::{Error, Result};
pub use provider::{Deleted, Machine, Order, Provider, State};
