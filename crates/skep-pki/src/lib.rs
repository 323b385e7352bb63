//! Certificates, keys and kubeconfigs.
//!
//! Guarantees: every key is ECDSA P-256, every serial number is random, every leaf carries the key usages of its
//! one purpose, never outlives its authority and is backdated by [`BACKDATE`] so that clocks may differ a little.
//! Private material is held in [`Pem`], whose `Debug` shows nothing.
//!
//! Refuses: RSA, files, clients and clocks. Whatever depends on time takes `now`, so that rotation can be tested
//! at any moment of a certificate's life.
//!
//! The usual way is [`Authority::ensure`]: give it what is stored and what is wanted, and it keeps the pair or
//! issues a new one and says why.

mod authority;
mod encryption;
mod ensure;
mod error;
mod generations;
mod inspect;
pub mod kubeconfig;
mod leaf;
mod pem;
pub mod rotation;
mod service_account;
mod validity;

pub use authority::{Authority, KeyPair};
pub use encryption::{encryption_config, random_key};
pub use ensure::{Ensured, Reason, judge};
pub use error::Error;
pub use generations::{AuthorityPlan, Generations};
pub use inspect::{Inspected, bundle, issued_by, names_match, needs_renewal, validity};
pub use kubeconfig::{CaData, Credentials, Kubeconfig, Names};
pub use leaf::{Leaf, Usage};
pub use pem::Pem;
pub use service_account::ServiceAccountKey;
pub use validity::{BACKDATE, Validity};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
