//! `/exec/…`: over a WebSocket or over SPDY, whichever the caller upgrades to.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;

use super::query::pairs;
use super::routes::{Path3, Path4, Refusal, find_container};
use super::state::ServerState;
use crate::backend::{ExecRequest, PodUid};
use crate::stream::exec::{self, SPDY_PROTOCOL};
use crate::stream::session::Wanted;
use crate::stream::spdy::{self, Connection};
use crate::stream::websocket;

pub async fn by_name(
    State(state): State<Arc<ServerState>>,
    Path((namespace, pod, container)): Path3,
    request: Request,
) -> Result<Response, Refusal> {
    serve(state, &namespace, &pod, None, container, request).await
}

pub async fn by_uid(
    State(state): State<Arc<ServerState>>,
    Path((namespace, pod, uid, container)): Path4,
    request: Request,
) -> Result<Response, Refusal> {
    serve(state, &namespace, &pod, Some(&uid), container, request).await
}

/// A command that is about to be run.
struct Job {
    state: Arc<ServerState>,
    uid: PodUid,
    container: String,
    request: ExecRequest,
    _permit: OwnedSemaphorePermit,
}

impl Job {
    async fn run(self, session: crate::stream::Session) {
        let command = self.state.backend.exec(&self.uid, &self.container, self.request.clone()).await;
        exec::run(session, command).await;
    }
}

async fn serve(
    state: Arc<ServerState>,
    namespace: &str,
    pod: &str,
    uid: Option<&str>,
    container: String,
    request: Request,
) -> Result<Response, Refusal> {
    let query = pairs(request.uri().query());
    let command: Vec<String> =
        query.iter().filter(|(name, _)| name == "command").map(|(_, value)| value.clone()).collect();
    if command.is_empty() {
        return Err((StatusCode::BAD_REQUEST, "you must specify at least 1 command".to_owned()));
    }
    let named = query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let wanted = Wanted::from_query(named).map_err(|text| (StatusCode::BAD_REQUEST, text.to_owned()))?;
    let row = find_container(&state, namespace, pod, uid, &container)?;
    let permit = permit(&state)?;
    let job =
        Job { uid: row.uid, container, request: exec::request(command, wanted), state, _permit: permit };
    if is_upgrade(request.headers(), "websocket") {
        return over_websocket(job, wanted, request).await;
    }
    let (on_upgrade, protocol) = spdy_upgrade(request, &[SPDY_PROTOCOL])?;
    tokio::spawn(async move {
        let Ok(io) = on_upgrade.await else { return };
        let mut connection = Connection::serve(TokioIo::new(io), exec::admit);
        if let Some(session) = exec::collect(&mut connection, wanted).await {
            job.run(session).await;
        }
        connection.close().await;
    });
    Ok(switching(spdy::UPGRADE, &protocol))
}

async fn over_websocket(job: Job, wanted: Wanted, request: Request) -> Result<Response, Refusal> {
    let (mut parts, _) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade.protocols(websocket::PROTOCOLS).max_message_size(websocket::MAX_MESSAGE),
        Err(rejection) => return Ok(rejection.into_response()),
    };
    if upgrade.selected_protocol().is_none() {
        let text = format!(
            "unable to upgrade: this node speaks {} over WebSockets; use a client of Kubernetes 1.10 or newer",
            websocket::PROTOCOLS.join(" and ")
        );
        return Err((StatusCode::BAD_REQUEST, text));
    }
    Ok(upgrade.on_upgrade(move |socket| async move {
        let session = websocket::open(socket, wanted).await;
        job.run(session).await;
    }))
}

/// A place among the node's streams.
pub fn permit(state: &ServerState) -> Result<OwnedSemaphorePermit, Refusal> {
    let busy = || (StatusCode::TOO_MANY_REQUESTS, format!("node {} has too many open streams", state.name));
    state.streams.clone().try_acquire_owned().map_err(|_| busy())
}

/// Whether the request wants to become `protocol`.
pub fn is_upgrade(headers: &HeaderMap, protocol: &str) -> bool {
    let has = |name, wanted: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(wanted))
    };
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, protocol)
}

/// The connection behind a SPDY request, and what its streams will carry: the first protocol the client names that
/// is served.
pub fn spdy_upgrade(mut request: Request, served: &[&str]) -> Result<(OnUpgrade, String), Refusal> {
    if !is_upgrade(request.headers(), spdy::UPGRADE) {
        let text = "unable to upgrade: missing upgrade headers: this path needs a WebSocket or SPDY/3.1";
        return Err((StatusCode::BAD_REQUEST, text.to_owned()));
    }
    let offered: Vec<String> = request
        .headers()
        .get_all(spdy::PROTOCOL_HEADER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|value| value.trim().to_owned())
        .collect();
    let Some(protocol) = offered.iter().find(|offered| served.contains(&offered.as_str())).cloned() else {
        let text = format!(
            "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {served:?}"
        );
        return Err((StatusCode::FORBIDDEN, text));
    };
    let Some(on_upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return Err((StatusCode::INTERNAL_SERVER_ERROR, "this connection cannot be upgraded".to_owned()));
    };
    Ok((on_upgrade, protocol))
}

/// The answer that hands the connection over.
pub fn switching(upgrade: &'static str, protocol: &str) -> Response {
    let headers = [
        (header::CONNECTION.as_str(), "Upgrade"),
        (header::UPGRADE.as_str(), upgrade),
        (spdy::PROTOCOL_HEADER, protocol),
    ];
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) =
            (name.parse::<header::HeaderName>(), value.parse::<header::HeaderValue>())
        {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request {
        let mut builder = Request::builder().uri("/exec/n/p/c");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(Body::empty()).unwrap()
    }

    #[test]
    fn upgrades_are_recognised_in_any_spelling() {
        let one = request(&[("connection", "keep-alive, Upgrade"), ("upgrade", "SPDY/3.1")]);
        assert!(is_upgrade(one.headers(), spdy::UPGRADE) && !is_upgrade(one.headers(), "websocket"));
        assert!(!is_upgrade(request(&[("upgrade", "websocket")]).headers(), "websocket"));
    }

    #[test]
    fn an_old_protocol_is_answered_with_what_would_work() {
        let old = request(&[
            ("connection", "upgrade"),
            ("upgrade", "SPDY/3.1"),
            (spdy::PROTOCOL_HEADER, "v3.channel.k8s.io"),
        ]);
        let (status, text) = spdy_upgrade(old, &[SPDY_PROTOCOL]).unwrap_err();
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert!(text.contains(SPDY_PROTOCOL), "{text}");
    }
}
