//! `/containerLogs/{namespace}/{pod}/{container}`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};

use super::query::{last, on, pairs};
use super::routes::{Path3, Refusal, find_container};
use super::state::ServerState;
use crate::backend::{BackendError, LogFilter, LogOptions};

pub async fn logs(
    State(state): State<Arc<ServerState>>,
    Path((namespace, pod, container)): Path3,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let options = options(&pairs(query.as_deref()), Timestamp::now())
        .map_err(|text| (StatusCode::UNPROCESSABLE_ENTITY, text))?;
    let row = find_container(&state, &namespace, &pod, None, &container)?;
    let busy = || (StatusCode::TOO_MANY_REQUESTS, format!("node {} has too many open streams", state.name));
    let permit = state.streams.clone().try_acquire_owned().map_err(|_| busy())?;
    let stream = state.backend.logs(&row.uid, &container, options).await.map_err(|error| {
        let status = match error {
            BackendError::UnknownPod(_) | BackendError::UnknownContainer { .. } => StatusCode::NOT_FOUND,
            BackendError::Io { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        (status, error.to_string())
    })?;
    // The permit lives as long as the answer does.
    let body = Body::from_stream(stream.map(move |chunk| {
        let _ = &permit;
        chunk
    }));
    Ok(([(header::CONTENT_TYPE, "text/plain")], body).into_response())
}

/// The parameters of `PodLogOptions`, and `tail`, which old clients send.
fn options(pairs: &[(String, String)], now: Timestamp) -> Result<LogOptions, String> {
    let number = |name: &str, least: i64| -> Result<Option<i64>, String> {
        let Some(text) = last(pairs, name) else { return Ok(None) };
        match text.parse::<i64>() {
            Ok(number) if number >= least => Ok(Some(number)),
            _ => Err(format!("{name}: {text:?} is not a number of at least {least}")),
        }
    };
    let tail = match last(pairs, "tail") {
        Some("all") => None,
        Some(_) => number("tail", 0)?,
        None => number("tailLines", 0)?,
    };
    let since = match (number("sinceSeconds", 1)?, last(pairs, "sinceTime").filter(|text| !text.is_empty())) {
        (Some(_), Some(_)) => return Err("only one of sinceSeconds and sinceTime may be given".to_owned()),
        (Some(seconds), None) => {
            now.checked_sub(SignedDuration::from_secs(seconds)).ok().or(Some(Timestamp::MIN))
        }
        (None, Some(text)) => {
            Some(text.parse().map_err(|_| format!("sinceTime: {text:?} is not an RFC 3339 time"))?)
        }
        (None, None) => None,
    };
    let filter = match last(pairs, "stream") {
        None | Some("" | "All") => LogFilter::All,
        Some("Stdout") => LogFilter::Stdout,
        Some("Stderr") => LogFilter::Stderr,
        Some(other) => return Err(format!("stream: {other:?} is none of All, Stdout, Stderr")),
    };
    if tail.is_some() && filter != LogFilter::All {
        return Err("tailLines and stream cannot be given together".to_owned());
    }
    Ok(LogOptions {
        follow: on(pairs, "follow"),
        previous: on(pairs, "previous"),
        timestamps: on(pairs, "timestamps"),
        tail_lines: tail.and_then(|lines| u64::try_from(lines).ok()),
        since,
        limit_bytes: number("limitBytes", 1)?.and_then(|bytes| u64::try_from(bytes).ok()),
        filter,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<LogOptions, String> {
        options(&pairs(Some(query)), "2026-01-01T00:01:00Z".parse().unwrap())
    }

    #[test]
    fn options_of_kubectl_logs() {
        let options = parse("follow=true&tailLines=5&timestamps=true&limitBytes=100&previous=true").unwrap();
        assert!(options.follow && options.timestamps && options.previous);
        assert_eq!((options.tail_lines, options.limit_bytes), (Some(5), Some(100)));
        assert_eq!(parse("sinceSeconds=60").unwrap().since, Some("2026-01-01T00:00:00Z".parse().unwrap()));
        let since = parse("sinceTime=2026-01-01T00%3A00%3A30Z").unwrap().since;
        assert_eq!(since, Some("2026-01-01T00:00:30Z".parse().unwrap()));
        assert_eq!(parse("stream=Stderr").unwrap().filter, LogFilter::Stderr);
        assert_eq!(parse("tail=all&tailLines=3").unwrap().tail_lines, None);
    }

    #[test]
    fn nonsense_is_refused() {
        for query in [
            "tailLines=-1",
            "sinceSeconds=0",
            "sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z",
            "limitBytes=0",
            "stream=x",
            "tailLines=1&stream=Stdout",
            "sinceTime=yesterday",
        ] {
            assert!(parse(query).is_err(), "{query}");
        }
        assert!(parse("sinceSeconds=9000000000000000000").is_ok());
    }
}
