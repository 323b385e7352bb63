//! Hollow nodes against API servers: the fake one for everything that can go wrong, a real one for whether it is right.

// Helpers of tests may fail loudly; the lint only exempts the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "hollow/fake.rs"]
mod fake;
#[path = "hollow/harness.rs"]
mod harness;
#[path = "hollow/real.rs"]
mod real;
