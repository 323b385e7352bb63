//! Both servers as upstream's client meets them: over TLS, with a hub behind them.

// Helpers of tests may fail loudly; the lint only exempts the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "grpc/bed.rs"]
mod bed;
#[path = "grpc/component.rs"]
mod component;
#[path = "grpc/expander.rs"]
mod expander;
#[path = "grpc/provider.rs"]
mod provider;
#[path = "grpc/scaling.rs"]
mod scaling;
#[path = "grpc/tls.rs"]
mod tls;
#[path = "grpc/upstream.rs"]
mod upstream;
