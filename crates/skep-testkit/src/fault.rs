//! A layer under the client that makes the k-th call fail.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use kube::client::Body;
use serde_json::json;
use tokio::sync::Notify;
use tower::{BoxError, Layer, Service};

use crate::ResponseBody;

/// How a call can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 409: somebody else was faster (`AlreadyExists` for a creation). Only writes can.
    Conflict,
    /// 429 with `Retry-After: 1`.
    TooManyRequests,
    /// 503.
    Unavailable,
    /// No answer in time, and the server never saw the request.
    TimeoutBefore,
    /// No answer in time, but the server did it.
    TimeoutAfter,
    /// The process ends before the server sees the request.
    CrashBefore,
    /// The process ends when the server has done it.
    CrashAfter,
}

impl Fault {
    /// Every way.
    pub const ALL: [Self; 7] = [
        Self::Conflict,
        Self::TooManyRequests,
        Self::Unavailable,
        Self::TimeoutBefore,
        Self::TimeoutAfter,
        Self::CrashBefore,
        Self::CrashAfter,
    ];

    /// Whether a call by this method can fail so, and differently from another way.
    pub fn applies_to(self, method: &Method) -> bool {
        let read = method == Method::GET;
        // A read that was performed and a read that was not are the same to the world.
        !(read && matches!(self, Self::Conflict | Self::TimeoutAfter | Self::CrashAfter))
    }

    fn is_crash(self) -> bool {
        matches!(self, Self::CrashBefore | Self::CrashAfter)
    }
}

/// One call as it was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub target: String,
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.target)
    }
}

/// Counts calls, and fails one of them. Cheap to clone; clones share the count.
///
/// Watches are neither counted nor failed. After a crash no call is answered any more:
/// drop what was running when [`FaultLayer::crashed`] resolves.
#[derive(Clone, Debug)]
pub struct FaultLayer {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    fail: Option<(usize, Fault)>,
    count: AtomicUsize,
    calls: Mutex<Vec<Counted>>,
    dead: AtomicBool,
    died: Notify,
}

impl FaultLayer {
    /// Only counts.
    pub fn counting() -> Self {
        Self::with(None)
    }

    /// Makes call number `call` (the first is 1) fail.
    pub fn failing(call: usize, fault: Fault) -> Self {
        Self::with(Some((call, fault)))
    }

    fn with(fail: Option<(usize, Fault)>) -> Self {
        let state = State {
            fail,
            count: AtomicUsize::new(0),
            calls: Mutex::default(),
            dead: AtomicBool::new(false),
            died: Notify::new(),
        };
        Self { state: Arc::new(state) }
    }

    /// The calls so far, in order.
    pub fn calls(&self) -> Vec<Counted> {
        self.state.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Resolves when the crash has happened.
    pub async fn crashed(&self) {
        let died = self.state.died.notified();
        tokio::pin!(died);
        died.as_mut().enable();
        if !self.state.dead.load(Ordering::Acquire) {
            died.await;
        }
    }
}

impl<S> Layer<S> for FaultLayer {
    type Service = FaultService<S>;

    fn layer(&self, inner: S) -> FaultService<S> {
        FaultService { inner, state: Arc::clone(&self.state) }
    }
}

/// The service made by [`FaultLayer`].
#[derive(Clone, Debug)]
pub struct FaultService<S> {
    inner: S,
    state: Arc<State>,
}

impl<S> Service<Request<Body>> for FaultService<S>
where
    S: Service<Request<Body>, Response = Response<ResponseBody>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let state = Arc::clone(&self.state);
        if state.dead.load(Ordering::Acquire) {
            return Box::pin(std::future::pending());
        }
        if request.uri().query().unwrap_or_default().contains("watch=true") {
            let answer = self.inner.call(request);
            return Box::pin(async move { answer.await.map_err(Into::into) });
        }
        let number = state.count.fetch_add(1, Ordering::AcqRel) + 1;
        let method = request.method().clone();
        let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        state
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Counted { method: method.clone(), target });
        let fault = state.fail.filter(|(failing, fault)| *failing == number && fault.applies_to(&method));
        let Some((_, fault)) = fault else {
            let answer = self.inner.call(request);
            return Box::pin(async move { answer.await.map_err(Into::into) });
        };
        let performed =
            matches!(fault, Fault::TimeoutAfter | Fault::CrashAfter).then(|| self.inner.call(request));
        Box::pin(async move {
            if let Some(performed) = performed {
                // Read to its end: a server may still be at work while it answers.
                let answer = performed.await.map_err(Into::into)?;
                answer.into_body().collect().await?;
            }
            if fault.is_crash() {
                state.dead.store(true, Ordering::Release);
                state.died.notify_waiters();
                return std::future::pending().await;
            }
            refusal(fault, &method)
        })
    }
}

fn refusal(fault: Fault, method: &Method) -> Result<Response<ResponseBody>, BoxError> {
    let (code, reason, message) = match fault {
        Fault::Conflict if method == Method::POST => {
            (409, "AlreadyExists", "injected: the object already exists")
        }
        Fault::Conflict => (409, "Conflict", "injected: the object has been modified"),
        Fault::TooManyRequests => {
            (429, "TooManyRequests", "injected: too many requests, please try again later")
        }
        Fault::Unavailable => {
            (503, "ServiceUnavailable", "injected: the server is currently unable to handle the request")
        }
        _ => return Err("injected: no answer in time".into()),
    };
    let mut status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    if code == 429 {
        status["details"] = json!({"retryAfterSeconds": 1});
    }
    let body = Full::new(Bytes::from(status.to_string())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code)?;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if code == 429 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Ok(response)
}
