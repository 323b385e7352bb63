//! Closes a connection that is not served, so that the client can read why.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Client;
use crate::directory::Tenant;
use crate::rejection::Rejection;
use crate::scratch;
use crate::shared::Shared;
use crate::socket;

/// How long what a refused client still sends is read: closing with unread bytes would be a reset, and a reset can
/// overtake the alert.
const LINGER: Duration = Duration::from_millis(500);
/// And how many reads of it.
const LINGER_READS: usize = 16;

/// Counts, tells the client, closes.
pub(crate) async fn refuse(
    shared: &Shared,
    tenant: Option<&Tenant>,
    client: Option<Client>,
    source: SocketAddr,
    reason: Rejection,
) {
    shared.count_rejected(reason);
    if let Some(tenant) = tenant {
        tenant.stats().count_rejected(reason);
    }
    let tenant = tenant.map(Tenant::id);
    tracing::debug!(%source, tenant, reason = reason.label(), code = reason.code(), "connection refused");
    let (Some(client), Some(alert)) = (client, reason.alert()) else { return };
    if socket::send(&client, &alert).is_err() {
        return;
    }
    socket::close_write(&client);
    // Only what was cut off in the middle of a greeting has more to say.
    if matches!(reason, Rejection::Malformed | Rejection::HelloTooLarge | Rejection::NotTls)
        && let Ok(stream) = client.registered()
    {
        let _ = timeout(LINGER, drain(&stream)).await;
    }
}

async fn drain(stream: &TcpStream) {
    for _ in 0..LINGER_READS {
        if stream.readable().await.is_err()
            || scratch::with(|buffer| matches!(stream.try_read(buffer), Ok(0)))
        {
            return;
        }
    }
}
