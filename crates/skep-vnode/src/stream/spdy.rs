//! SPDY/3.1 as Kubernetes uses it: the server half, streams opened by the client only.
//!
//! What is served: `SYN_STREAM`, `DATA`, `RST_STREAM`, `PING`, `GOAWAY`; headers are inflated with the protocol's
//! dictionary. `SETTINGS` and `WINDOW_UPDATE` are read and ignored: no Kubernetes client counts windows, TCP is the
//! flow control. Guarantees: a bounded number of streams, of headers and of bytes in flight per connection, whatever
//! the peer sends; a protocol error ends the connection, never the process.

mod connection;
mod dictionary;
mod frame;
mod headers;

pub use connection::{Connection, Stream, StreamWriter};
pub use frame::FrameError;
pub use headers::{HeaderError, Headers};

/// Value of the `Upgrade` header.
pub const UPGRADE: &str = "SPDY/3.1";
/// Header in which client and server agree on what the streams carry.
pub const PROTOCOL_HEADER: &str = "X-Stream-Protocol-Version";
/// Header in which a server that agrees to nothing lists what it would take.
pub const ACCEPTED_HEADER: &str = "X-Accepted-Stream-Protocol-Versions";
