//! The node's HTTPS endpoint, as the API server expects it of a kubelet.
//!
//! Guarantees: no byte is answered to a caller without a certificate of the configured authority, and nothing but 403
//! to one whose name is not on the list; connections, handshakes, headers, request bodies and streams are bounded.
//! Refuses: `/run` and `/attach`, and commands for anything but this node's own pods.

mod access;
mod exec;
mod forward;
mod listen;
mod logs;
mod metrics;
mod query;
mod resource;
mod routes;
mod state;
mod summary;
mod text;
mod tls;

pub use access::Access;
pub use listen::serve;
pub use metrics::NodeMetrics;
pub use state::ServerState;
pub use tls::{KubeletTls, TlsError};
