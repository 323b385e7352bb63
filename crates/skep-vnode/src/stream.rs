//! Multiplexed streams between the API server and a container: `kubectl exec` and `kubectl port-forward`.
//!
//! The API server speaks two languages to a kubelet. 1.35 always opens SPDY/3.1; 1.36 passes the client's WebSocket
//! through to nodes that declare `ExtendWebSocketsToKubelet` in `status.declaredFeatures` and speaks SPDY to the
//! others (`pkg/registry/core/pod/rest/subresources.go`). Both end in the same [`Session`] here.
//!
//! Guarantees: every buffer and the number of streams of one connection are bounded; a peer that stops reading stops
//! the container's output by back-pressure and nothing else. Refuses: protocol versions before v4, with a text that
//! names the ones that work.

pub mod exec;
pub mod portforward;
pub mod session;
pub mod spdy;
pub mod websocket;

pub use session::{Outcome, Session, Sink, Wanted};

/// How many chunks one direction of one stream may hold before its reader is waited for.
pub const QUEUE: usize = 16;
/// Bytes read at once from a container or from the network: the size Go's `io.Copy` uses on the other side.
pub const CHUNK: usize = 32 * 1024;
