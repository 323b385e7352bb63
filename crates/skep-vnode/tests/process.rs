//! The process backend with real processes: shell scripts that play containers.

// Helpers of tests may fail loudly; the lint only exempts the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "process/adoption.rs"]
mod adoption;
#[path = "process/defects.rs"]
mod defects;
#[path = "process/exec.rs"]
mod exec;
#[path = "process/harness.rs"]
mod harness;
#[path = "process/init.rs"]
mod init;
#[path = "process/life.rs"]
mod life;
#[path = "process/logs.rs"]
mod logs;
#[path = "process/lower.rs"]
mod lower;
#[path = "process/probes.rs"]
mod probes;
#[path = "process/refusals.rs"]
mod refusals;
#[path = "process/stopping.rs"]
mod stopping;
#[path = "process/volumes.rs"]
mod volumes;
