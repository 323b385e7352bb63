//! The contracts, as messages that are the same on the wire as the published ones.
//!
//! A field's comment is upstream's to give; here stand only number and type. What of a message nobody reads is left out and
//! skipped when it comes.

#![allow(missing_docs, reason = "the fields are upstream's and documented there")]

pub mod core;
pub mod expander;
pub mod provider;

#[cfg(test)]
mod tests;
