//! The fake as a tower service, and the bodies of its watches.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::stream;
use http::{Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};
use tower::{BoxError, Service};

use super::{
    failure::Failure,
    request::{Answer, Call, Watch, bookmark, shown},
    world::{Entry, World},
};
use crate::ResponseBody;

/// The world, and a bell that rings whenever its version moves.
#[derive(Clone)]
pub(crate) struct Shared {
    world: Arc<Mutex<World>>,
    bell: watch::Sender<u64>,
}

impl Shared {
    pub(crate) fn new(world: World) -> Self {
        let bell = watch::Sender::new(world.version);
        Self { world: Arc::new(Mutex::new(world)), bell }
    }

    /// Runs under the lock, then rings if the version moved.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut world);
        let version = world.version;
        // Only a change rings: a watch that looks must not wake the others, or itself.
        self.bell.send_if_modified(|rung| std::mem::replace(rung, version) != version);
        result
    }
}

/// The HTTP side of a `FakeApiServer`. Cheap to clone.
#[derive(Clone)]
pub struct FakeService {
    pub(crate) shared: Shared,
}

impl<B> Service<Request<B>> for FakeService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = self.shared.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(Into::into)?.to_bytes();
            let request = Request::from_parts(head, ());
            if request.uri().path() == "/version" {
                return Ok(answer(200, VERSION.to_owned()));
            }
            let performed =
                shared.with(|world| Call::parse(world, &request, body).and_then(|call| call.perform(world)));
            Ok(match performed {
                Ok(Answer::Json(code, value)) => answer(code, value.to_string()),
                Ok(Answer::Watch(watch)) => stream_watch(shared, watch),
                Err(failure) => answer(failure.code, failure.body()),
            })
        })
    }
}

/// What `/version` says.
const VERSION: &str = r#"{"major":"1","minor":"36","gitVersion":"v1.36.3","platform":"fake"}"#;

fn answer(code: u16, text: String) -> Response<ResponseBody> {
    let body = Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {});
    respond(code, body.boxed_unsync())
}

fn respond(code: u16, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() =
        http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

struct Stream {
    shared: Shared,
    bell: watch::Receiver<u64>,
    watch: Watch,
    ready: VecDeque<Value>,
    ends: Instant,
    ended: bool,
}

fn stream_watch(shared: Shared, mut watch: Watch) -> Response<ResponseBody> {
    let state = Stream {
        bell: shared.bell.subscribe(),
        shared,
        ready: std::mem::take(&mut watch.initial).into(),
        ends: Instant::now() + Duration::from_secs(watch.seconds),
        watch,
        ended: false,
    };
    let frames = stream::unfold(state, |mut state| async move {
        let event = state.next().await?;
        let line = Bytes::from(format!("{event}\n"));
        Some((Ok::<_, BoxError>(http_body::Frame::data(line)), state))
    });
    respond(200, StreamBody::new(frames).boxed_unsync())
}

impl Stream {
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            self.bell.borrow_and_update();
            let (entries, version) = self.shared.with(|world| (world.since(self.watch.after), world.version));
            let Some(entries) = entries else {
                self.ended = true;
                return Some(json!({"type": "ERROR", "object": Failure::expired().status()}));
            };
            self.watch.after = version;
            let events: Vec<_> = entries.iter().filter_map(|entry| self.event(entry)).collect();
            self.ready.extend(events);
            if !self.ready.is_empty() {
                continue;
            }
            tokio::select! {
                _ = self.bell.changed() => {}
                () = tokio::time::sleep_until(self.ends) => {
                    self.ended = true;
                    if self.watch.bookmarks {
                        self.ready.push_back(bookmark(&self.watch.kind, self.watch.after, false));
                    }
                }
            }
        }
    }

    /// The change as this watch sees it: an object that stops matching is gone for it.
    fn event(&self, entry: &Entry) -> Option<Value> {
        let watch = &self.watch;
        let ours = entry.slot.resource == watch.kind.qualified()
            && (watch.namespace.is_empty() || watch.namespace == entry.slot.namespace);
        if !ours {
            return None;
        }
        let seen = |stored: &Option<Arc<super::world::Stored>>| {
            stored.as_ref().is_some_and(|stored| watch.selection.matches(&stored.value))
        };
        let (kind, value) = match (seen(&entry.before), seen(&entry.after)) {
            (false, true) => ("ADDED", entry.after.as_ref()?.value.clone()),
            (true, true) => ("MODIFIED", entry.after.as_ref()?.value.clone()),
            (true, false) => {
                // As it was when it last matched, under the version of the change.
                let mut last = entry.before.as_ref()?.value.clone();
                last["metadata"]["resourceVersion"] = json!(entry.version.to_string());
                ("DELETED", last)
            }
            (false, false) => return None,
        };
        Some(json!({"type": kind, "object": shown(&value, watch.metadata_only)}))
    }
}
