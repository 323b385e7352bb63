//! Where a greeting wants to go.

use std::sync::Arc;

use skep_plan::egress::tunnel;

use super::{Client, hold};
use crate::directory::Tenant;
use crate::greeting::Greeting;
use crate::hello::ServerName;
use crate::node_tunnel::Whose;
use crate::rejection::Rejection;
use crate::shared::Shared;

/// Where a connection goes.
pub(super) enum Destination {
    /// To an API server of this tenant, untouched.
    ApiServers(Arc<Tenant>),
    /// To the tunnels.
    Tunnel(Whose),
}

/// The destination of a greeting. While not all tenants are known it may take a while.
pub(super) async fn find(
    shared: &Shared,
    client: &Client,
    greeting: &Greeting,
) -> Result<Destination, Rejection> {
    match lookup(shared, greeting) {
        Some(destination) => Ok(destination),
        None if shared.directory.is_complete() => Err(unknown(greeting)),
        // Just started: a tenant that is not known yet is not an unknown one.
        None => Box::pin(hold::until_known(shared, client, greeting)).await,
    }
}

/// A tenant's own name always leads to its API servers, whatever it looks like; what a proxy says counts only where the
/// server name says nothing.
pub(super) fn lookup(shared: &Shared, greeting: &Greeting) -> Option<Destination> {
    let name = greeting.server_name.as_ref();
    if let Some(tenant) = name.and_then(|name| shared.directory.by_host(name)) {
        return Some(Destination::ApiServers(tenant));
    }
    if let Some(authority) = &greeting.authority
        && let Some(tenant) = shared.directory.by_authority(authority)
    {
        return Some(Destination::ApiServers(tenant));
    }
    if !shared.tunnels.is_open() {
        return None;
    }
    match name {
        None => greeting.bare.then_some(Destination::Tunnel(Whose::Door)),
        Some(name) => {
            let asked =
                tunnel::tenant_of(name.as_str()).and_then(|tenant| ServerName::parse(tenant.as_bytes()));
            let tenant = asked.and_then(|tenant| shared.directory.by_authority(&tenant));
            let door = || shared.tunnels.is_door(name).then_some(Whose::Door);
            tenant.map(Whose::Tenant).or_else(door).map(Destination::Tunnel)
        }
    }
}

pub(super) fn unknown(greeting: &Greeting) -> Rejection {
    if greeting.server_name.is_some() { Rejection::UnknownServerName } else { Rejection::NoServerName }
}
