//! The gateway as its clients and API servers see it: real sockets on loopback, real TLS.

// Helpers of tests may fail loudly; the lint only exempts the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api_server;
mod bounds;
mod cell;
mod draining;
mod hello;
mod holding;
mod kubernetes;
mod passthrough;
mod proxy_protocol;
mod replacement;
mod retries;
mod tls;
mod tunnel;
mod tunnel_bed;
mod tunnel_ends;
mod tunnel_tenants;
mod upstream;
