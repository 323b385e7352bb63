//! A small etcd client: the calls a datastore needs, no more.
//!
//! It is written on the gRPC library directly because the published client generates its code with a protobuf
//! compiler at build time, which a machine with only Rust, Go and make does not have.
//!
//! Guarantees: every call has a deadline; a lost connection is opened again by the next call; answers that mean
//! "already so" are successes. Refuses: passwords and tokens. The client certificate says who calls.

mod auth;
mod compaction;
mod connection;
mod failure;
mod health;
mod keys;
#[cfg(test)]
pub(crate) mod stage;
#[cfg(test)]
pub(crate) mod wire;
#[cfg(not(test))]
mod wire;

pub use auth::ROOT;
pub use connection::{Connection, Credentials};
pub use failure::Failure;
pub use health::{Alarm, Health};
