//! The one TLS port of a cell: connections of all tenants come in here and go on, untouched, to a ready kube-apiserver
//! of the tenant that the server name (SNI) of their ClientHello asks for.
//!
//! Guarantees
//! * The TLS of a tenant's API is never terminated: the gateway has no key for it, sees no request and adds nothing to the
//!   stream. The way from API servers to nodes has names and keys of its own ([`node_tunnel`]).
//! * A pod that is not ready or is being deleted gets no new connections and keeps those it has; a connection is only
//!   closed for it a bounded time after the pod is gone.
//! * A pod that says when it closes its connections (`skep.dev/closes-after-ms`) is replaced without a lost request:
//!   around that moment its answers are held back, for less than three seconds, and arrive with the end of the connection.
//! * A tenant without a ready API server is no error at once: its connections wait, bounded in number and time, and go on
//!   the moment one is ready.
//! * Whatever a client sends costs bounded memory and time before it is known which tenant it is for, and one tenant's
//!   connections are bounded apart from the others'.
//! * An idle connection has no buffer.
//!
//! Refuses: unknown and missing server names (TLS alert `unrecognized_name`), what is not TLS, and, where load
//! balancers must say who the client is, everybody who comes around them.
//!
//! ```text
//!   watch ── facts ──► RouteTable ── touched hosts ──► Directory (snapshots)          one writer
//!                                                          │
//!   worker thread: accept → greet → find tenant → hold? → dial → tunnel              many readers
//! ```

mod clock;
mod closing;
pub mod config;
mod connection;
pub mod directory;
mod error;
mod gateway;
mod greeting;
pub mod hello;
pub mod limits;
mod metrics;
pub mod node_tunnel;
pub mod proxy_protocol;
pub mod rate;
mod rejection;
pub mod routes;
mod scratch;
mod shared;
mod socket;
mod tunnel;
mod watch;
mod worker;

pub use closing::Closing;
pub use config::Config;
pub use error::GatewayError;
pub use gateway::{Gateway, Source};
pub use metrics::{CurrentMetrics, Metrics};
pub use rejection::Rejection;
pub use socket::listen_anyway;
