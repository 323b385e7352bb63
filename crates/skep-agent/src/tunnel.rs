//! The node's end of the tunnel: the agent dials out, the API server dials in.
//!
//! Guarantees
//! * Nothing listens on the node for it: the agent connects to the gateway's one port, shows the kubelet's own client
//!   certificate (so it needs no further secret, and rotates with the kubelet) and believes nobody but the cluster's
//!   authority.
//! * Over that connection HTTP/2 runs with reversed roles: the gateway asks, the agent answers. Each `CONNECT host:port`
//!   becomes a TCP connection from the agent's network namespace; bytes go both ways with half-close, a reset arrives as
//!   a reset, and nothing is read that the other side has no room for, beyond one [`wire::CHUNK`].
//! * A lost connection is made again after a bounded, growing pause; one that is silently dead is noticed within
//!   [`Timing::keepalive`] and [`Timing::pong`]. With several gateways the agent is connected to each of them.
//! * A gateway that stops says so: the agent goes elsewhere while what is open goes on.
//!
//! Refuses: targets that only the node itself should reach (loopback, link-local, multicast), see [`FromHere`].
//!
//! ```text
//! serve ─ slot per gateway: connect (TLS) → greet → session: CONNECT → Dial → relay
//! ```

mod backoff;
mod connect;
mod credentials;
mod dial;
mod error;
mod keepalive;
mod meeting;
pub mod relay;
mod session;
mod settings;
mod slots;
mod target;
pub mod wire;

pub use dial::{Dial, FromHere, Outcome};
pub use error::TunnelError;
pub use keepalive::silent;
pub use settings::{Settings, Status, Timing};
pub use target::{Host, NotATarget, Target};

use tokio_util::sync::CancellationToken;

/// Keeps the node connected to its gateways until `shutdown`, then lets open streams go on for
/// [`Timing::drain`].
///
/// Never ends by itself: whatever is wrong (no certificate yet, no gateway, a foreign one) is logged with its code, shown
/// in [`Settings::status`] and tried again.
pub async fn serve(settings: Settings, shutdown: CancellationToken) {
    slots::run(settings, shutdown).await;
}
