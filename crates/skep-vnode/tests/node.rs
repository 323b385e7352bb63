//! Virtual nodes against a real API server, controller manager and scheduler, through real kubectl, with real
//! processes as containers.
//!
//! `SKEP_TEST_KUBERNETES=v1.35.4` runs the same against the older minor, whose API server speaks SPDY to nodes.

// Helpers of tests may fail loudly; the lint only exempts the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "node/endpoint.rs"]
mod endpoint;
#[path = "node/exec.rs"]
mod exec;
#[path = "node/forward.rs"]
mod forward;
#[path = "node/harness.rs"]
mod harness;
#[path = "node/life.rs"]
mod life;
#[path = "node/logs.rs"]
mod logs;
#[path = "node/objects.rs"]
mod objects;
#[path = "node/registration.rs"]
mod registration;
#[path = "node/resize.rs"]
mod resize;
#[path = "node/restart.rs"]
mod restart;
#[path = "node/volumes.rs"]
mod volumes;
