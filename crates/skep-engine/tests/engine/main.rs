//! The engine from outside: a fake `go`, a release server on loopback, real processes, and real builds.

#![allow(clippy::unwrap_used, reason = "helpers of tests, not only the tests themselves")]

mod builds;
mod cache;
mod child;
mod fake_go;
mod locks;
mod node;
mod real_go;
mod releases;
mod server;
mod support;
mod tls;
