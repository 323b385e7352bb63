//! One stream: dial, answer, copy.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Request, Response};

use crate::tunnel::dial::Dial;
use crate::tunnel::relay::{Stream, relay};
use crate::tunnel::target::Target;
use crate::tunnel::wire::{self, Refusal};

/// Serves a `CONNECT`.
pub(super) async fn serve(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    dial: Arc<dyn Dial>,
    half_closed: Duration,
) {
    let target: Option<Target> = request.uri().authority().and_then(|target| target.as_str().parse().ok());
    let Some(target) = target else {
        return refuse(respond, Refusal::Malformed, "not a host and a port");
    };
    let dialled = tokio::select! {
        dialled = dial.dial(&target) => dialled,
        // Nobody waits for it any more.
        _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
    };
    let mut socket = match dialled {
        Ok(socket) => socket,
        Err((refusal, why)) => {
            tracing::debug!(%target, why, "tunnel: not connected");
            return refuse(respond, refusal, &why);
        }
    };
    let Ok(send) = respond.send_response(Response::new(()), false) else { return };
    let stream = Stream { send, receive: request.into_body() };
    if let Err(error) = relay(&mut socket, stream, half_closed, |_, _| ()).await {
        tracing::debug!(%target, %error, "tunnel: stream ended");
        // The target learns that this was no orderly end.
        let _ = socket.set_zero_linger();
    }
}

fn refuse(mut respond: SendResponse<Bytes>, refusal: Refusal, why: &str) {
    let mut response = Response::new(());
    *response.status_mut() = refusal.status();
    response.headers_mut().insert(wire::REASON, wire::reason(why));
    // Fails only when the gateway has gone or no longer wants to know.
    let _ = respond.send_response(response, true);
}
