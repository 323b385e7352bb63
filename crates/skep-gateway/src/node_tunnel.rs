//! The gateway's end of the tunnel between API servers and nodes: the only TLS it terminates.
//!
//! Guarantees
//! * TLS ends here only for the names `tunnel.<host>` and `tunnel.<tenant id>`, with a certificate of that tenant, and at
//!   the *door* (below); never for a name of a tenant's API.
//! * Who comes is told from the verified certificate alone: API servers have one from the tenant's tunnel authority, node
//!   agents one of the cluster's authority for `system:node:<name>`. What an agent says of itself can change which of a
//!   tenant's agents is asked first, and nothing else. A connection of one tenant can only ever be handed to an agent of
//!   the same tenant: there is no list of agents but the tenant's own.
//! * Bounds: handshakes at a time (in all and per tenant), agents and connections per tenant, bytes per stream, every wait.
//! * Everything runs on one thread of its own: cryptography never delays the bytes of the tenants that pass through.
//! * A tenant's Secret is read when the first connection for it comes, believed for a while, and read again at once when a
//!   certificate does not fit it.
//!
//! The door is for API servers before 1.36, which cannot be told a server name: they say none (or the gateway's own).
//! There the tenant that a client's certificate names is only a hint where to look for the authority that must have
//! signed it.
//!
//! ```text
//! worker ──Arrival──► hall (one thread): handshake ─► role ─┬─ agent: HTTP/2, greeting ─► the tenant's Agents
//!                                                           └─ API server: CONNECT ─► Agents ─► stream ─► relay
//! ```

mod agent;
mod agents;
mod api_server;
mod dial;
#[cfg(test)]
mod fixtures;
mod hall;
mod handshake;
mod identity;
mod keeper;
mod replay;
mod request;
mod source;
mod tenant;

pub use identity::{IdentityError, IdentityFiles};
pub use source::{Identities, KubernetesIdentities};
pub use tenant::{DialResult, TunnelStats};

pub(crate) use hall::{Arrival, Entrance, Hall, Whose};
pub(crate) use tenant::TenantTunnel;
