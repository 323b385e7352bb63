//! Measurements with same-run ratios. Nothing here is a test: a slow machine makes figures, not failures.

pub mod bare;
pub mod create;
pub mod gateway;
pub mod hollow;
pub mod nodes;
mod report;
mod tenant;
