//! Control planes: from a resolved `ControlPlane` to running programs and back to its status.
//!
//! Guarantees: a control plane is created in one pass; a change never stops an old API server before a new one serves;
//! controllers follow API servers; whatever state a creation or deletion was cut off in, the next pass completes it.
//!
//! Refuses: to make new authorities for a tenant that has some, to write below another tenant's name, and to work on a
//! paused control plane (its deletion excepted).

pub mod build;
pub mod cell_authority;
pub mod controller;
mod error;
#[cfg(test)]
mod fixtures;
pub mod names;
pub mod observe;
pub mod pki;
mod starts;
pub mod status;
pub mod termination;

pub use build::CellSettings;
pub use controller::{Config, ControlPlaneReconciler, run};
pub use error::Error;
