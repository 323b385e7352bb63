//! `/portForward/…`: SPDY, bare or inside a WebSocket.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;

use super::exec::{is_upgrade, permit, spdy_upgrade, switching};
use super::routes::{Path3, PodPath, Refusal, find};
use super::state::ServerState;
use crate::stream::portforward::{self, PROTOCOL, TUNNEL_PREFIX};
use crate::stream::spdy::{self, Connection};
use crate::stream::websocket;

pub async fn by_name(
    State(state): State<Arc<ServerState>>,
    Path((namespace, pod)): PodPath,
    request: Request,
) -> Result<Response, Refusal> {
    serve(&state, &namespace, &pod, None, request).await
}

pub async fn by_uid(
    State(state): State<Arc<ServerState>>,
    Path((namespace, pod, uid)): Path3,
    request: Request,
) -> Result<Response, Refusal> {
    serve(&state, &namespace, &pod, Some(&uid), request).await
}

async fn serve(
    state: &ServerState,
    namespace: &str,
    pod: &str,
    uid: Option<&str>,
    request: Request,
) -> Result<Response, Refusal> {
    let row = find(state, namespace, pod, uid)?;
    // The address this node gave the pod, never one from the pod's status, which others can write.
    let no_address = || (StatusCode::BAD_REQUEST, format!("pod {namespace}/{pod} has no address yet"));
    let address: IpAddr = row.ip.ok_or_else(no_address)?;
    let name = format!("{namespace}/{pod}");
    let permit = permit(state)?;
    if is_upgrade(request.headers(), "websocket") {
        let (mut parts, _) = request.into_parts();
        let tunnel = format!("{TUNNEL_PREFIX}{PROTOCOL}");
        let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
            Ok(upgrade) => upgrade.protocols([tunnel.clone()]).max_message_size(websocket::MAX_MESSAGE),
            Err(rejection) => return Ok(rejection.into_response()),
        };
        if upgrade.selected_protocol().is_none() {
            let text = format!("unable to upgrade: this node speaks {tunnel} over WebSockets");
            return Err((StatusCode::BAD_REQUEST, text));
        }
        return Ok(upgrade.on_upgrade(move |socket| async move {
            let connection = Connection::serve(websocket::tunnel(socket), portforward::admit);
            portforward::serve(connection, &name, address).await;
            drop(permit);
        }));
    }
    let (on_upgrade, protocol) = spdy_upgrade(request, &[PROTOCOL])?;
    tokio::spawn(async move {
        if let Ok(io) = on_upgrade.await {
            let connection = Connection::serve(TokioIo::new(io), portforward::admit);
            portforward::serve(connection, &name, address).await;
        }
        drop(permit);
    });
    Ok(switching(spdy::UPGRADE, &protocol))
}
