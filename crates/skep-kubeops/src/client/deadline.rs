//! A deadline for every request: for the whole answer of ordinary calls, for its head where it is a stream.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header::UPGRADE};
use http_body_util::{BodyExt, Full};
use kube::client::Body;
use tower::{BoxError, Layer, Service};

use super::ResponseBody;

/// Puts a deadline on each request that passes.
#[derive(Clone, Debug)]
pub struct DeadlineLayer {
    deadline: Duration,
}

impl DeadlineLayer {
    /// A layer with this deadline per attempt.
    pub fn new(deadline: Duration) -> Self {
        Self { deadline }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner, deadline: self.deadline }
    }
}

/// The service made by [`DeadlineLayer`].
#[derive(Clone, Debug)]
pub struct Deadline<S> {
    inner: S,
    deadline: Duration,
}

/// The API server did not answer in time. What it did with the request is unknown.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {} s", .0.as_secs())]
pub struct DeadlineExceeded(pub Duration);

impl<S, B> Service<Request<Body>> for Deadline<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let streams = is_stream(&request);
        let deadline = self.deadline;
        let call = self.inner.call(request);
        let answer = async move {
            let (head, body) = call.await.map_err(Into::into)?.into_parts();
            let body = body.map_err(Into::into);
            let body = if streams {
                body.boxed_unsync()
            } else {
                // The client reads such a body to its end anyway; here it is covered by the deadline.
                Full::new(body.collect().await?.to_bytes()).map_err(|never| match never {}).boxed_unsync()
            };
            Ok(Response::from_parts(head, body))
        };
        Box::pin(async move {
            match tokio::time::timeout(deadline, answer).await {
                Ok(answer) => answer,
                Err(_) => Err(DeadlineExceeded(deadline).into()),
            }
        })
    }
}

/// Requests whose answer has no natural end: watches, followed logs, upgrades.
fn is_stream(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    request.headers().contains_key(UPGRADE)
        || query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1" | "follow=true"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower::{ServiceExt, service_fn};

    fn request(uri: &str) -> Request<Body> {
        Request::get(uri).body(Body::empty()).unwrap()
    }

    #[test]
    fn streams_are_recognised() {
        for uri in ["/api/v1/pods?&watch=true&timeoutSeconds=290", "/api/v1/p/log?follow=true"] {
            assert!(is_stream(&request(uri)), "{uri}");
        }
        for uri in ["/api/v1/pods", "/api/v1/pods?labelSelector=watch%3Dtrue", "/x?unwatch=true"] {
            assert!(!is_stream(&request(uri)), "{uri}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_never_answers_ends_at_the_deadline() {
        let stuck = service_fn(|_: Request<Body>| async {
            std::future::pending::<()>().await;
            Ok::<_, BoxError>(Response::new(Full::new(Bytes::new())))
        });
        for uri in ["/api/v1/pods", "/api/v1/pods?watch=true"] {
            let service = DeadlineLayer::new(Duration::from_secs(7)).layer(stuck);
            let error = service.oneshot(request(uri)).await.unwrap_err();
            assert_eq!(error.to_string(), "no answer within 7 s", "{uri}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_cut_unless_it_is_a_stream() {
        let trickle = service_fn(|_: Request<Body>| async {
            let frames = futures::stream::pending::<Result<hyper::body::Frame<Bytes>, BoxError>>();
            Ok::<_, BoxError>(Response::new(http_body_util::StreamBody::new(frames)))
        });
        let layer = DeadlineLayer::new(Duration::from_secs(7));
        assert!(layer.layer(trickle).oneshot(request("/api/v1/pods")).await.is_err());
        assert!(layer.layer(trickle).oneshot(request("/api/v1/pods?watch=true")).await.is_ok());
    }
}
