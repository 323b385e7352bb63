//! The node itself: its object, its lease, its conditions.

pub mod keeper;
pub mod machine;
pub mod object;
pub mod pressure;
