//! Servers for upstream's cluster-autoscaler: its cloud provider `externalgrpc` over the node pools of one cluster, and its
//! gRPC expander; and cluster-autoscaler itself as a component of clusters.
//!
//! Guarantees: every call may be repeated, and a process may die at any line of it; machines are named and the pool is made
//! smaller in one write, so that exactly the named ones go and none comes in their place; a pool is never brought out of its
//! bounds; the provider answers nobody without a certificate of its authority.
//!
//! Refuses: to delete nodes of another group, to lower a pool's size below the nodes it has, and messages larger than any real
//! client sends.

mod accept;
mod address;
pub mod component;
mod error;
mod expander;
mod hub;
mod metrics;
pub mod proto;
mod provider;
mod relay;
mod rpc;
mod server;
mod tls;

pub use error::Error;
pub use expander::{Expander, StockFile};
pub use hub::Hub;
pub use metrics::Figures;
pub use provider::Provider;
pub use relay::Relay;
pub use rpc::Rpc;
pub use server::{Server, Settings};
pub use tls::{Pems, Tls, TlsFiles};

/// User agent, field manager and event reporter.
pub const NAME: &str = "skep-autoscaler";
