//! Keeps a connection while its tenant has no API server, and wakes it the moment there is one.

use std::io;
use std::os::fd::AsFd;
use std::pin::pin;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::Client;
use super::destination::{Destination, lookup, unknown};
use super::relay::Search;
use crate::directory::Tenant;
use crate::greeting::Greeting;
use crate::rejection::Rejection;
use crate::shared::Shared;

/// Waits until there is reason to look for an API server again.
pub(super) async fn hold(
    shared: &Shared,
    tenant: &Tenant,
    client: &TcpStream,
    search: &mut Search,
) -> Result<(), Rejection> {
    let _held = shared.held.enter().ok_or(Rejection::Held)?;
    let _of_tenant = tenant.held().enter().ok_or(Rejection::TenantHeld)?;
    let now = Instant::now();
    let deadline = *search.deadline.get_or_insert(now + shared.config.timeouts.hold);
    let retry = search.next_round().map(|pause| now + pause);
    let handle = second_handle(client)?;
    let mut gone = pin!(closed(&handle));
    loop {
        let mut changed = pin!(tenant.changed().notified());
        // Registered before the look, so that a change in between is not missed.
        changed.as_mut().enable();
        if tenant.is_retired() {
            return Err(Rejection::UnknownServerName);
        }
        if retry.is_none() && !tenant.ready().is_empty() {
            return Ok(());
        }
        tokio::select! {
            () = changed => if retry.is_some() { return Ok(()) },
            () = &mut gone => return Err(Rejection::HoldAborted),
            () = sleep_until(retry.unwrap_or(deadline).min(deadline)) => {
                return if Instant::now() < deadline { Ok(()) } else { Err(Rejection::HoldTimeout) };
            }
        }
    }
}

/// Waits until the destination of a greeting is known, or all tenants are and it is not among them.
pub(super) async fn until_known(
    shared: &Shared,
    client: &Client,
    greeting: &Greeting,
) -> Result<Destination, Rejection> {
    let _held = shared.held.enter().ok_or(Rejection::Held)?;
    let handle = second_handle(client)?;
    let mut gone = pin!(closed(&handle));
    let deadline = Instant::now() + shared.config.timeouts.hold;
    loop {
        let mut changed = pin!(shared.directory.changed().notified());
        changed.as_mut().enable();
        if let Some(destination) = lookup(shared, greeting) {
            return Ok(destination);
        }
        if shared.directory.is_complete() {
            return Err(unknown(greeting));
        }
        tokio::select! {
            () = changed => {}
            () = &mut gone => return Err(Rejection::HoldAborted),
            () = sleep_until(deadline) => return Err(Rejection::HoldTimeout),
        }
    }
}

/// A second handle to the same socket, only to hear when it is closed: what [`closed`] takes as heard is still news for
/// the first one.
fn second_handle(client: impl AsFd) -> Result<TcpStream, Rejection> {
    let handle = client.as_fd().try_clone_to_owned().and_then(|socket| TcpStream::from_std(socket.into()));
    handle.map_err(|_| Rejection::HoldAborted)
}

/// Ends when the client has closed. What it says meanwhile stays in its socket, which bounds it.
async fn closed(client: &TcpStream) {
    loop {
        match client.ready(Interest::READABLE).await {
            Ok(ready) if !ready.is_read_closed() => {}
            _ => return,
        }
        // Clears the readiness without reading, so that the next wait is for something new.
        let _ = client.try_io(Interest::READABLE, || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into()));
    }
}
