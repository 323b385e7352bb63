//! From an HTTP/2 request to a call and back. The services are written by hand: two tables of methods are less than a
//! compiler of contracts in every build.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use hyper::body::Incoming;
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic::server::Grpc;
use tonic::{Code, Response, Status};
use tonic_prost::{ProstCodec, ProstEncoder};

use crate::{Error, Figures};

/// For one call; upstream's client waits 5 s if not told otherwise.
const DEADLINE: Duration = Duration::from_secs(20);

/// Body of an answer.
pub(crate) type Body = tonic::body::Body;

/// A gRPC service: package and name, as in the path of a call, and its methods.
pub type Service = (&'static str, &'static [&'static str]);

/// What answers calls.
pub trait Rpc: Clone + Send + Sync + 'static {
    /// Its services. No two of them have a method of the same name.
    const SERVICES: &'static [Service];

    /// Answers a call of one of their methods.
    fn call(
        &self,
        method: &str,
        request: http::Request<Incoming>,
    ) -> impl Future<Output = http::Response<Body>> + Send;
}

/// Answers one request, whatever it is.
pub(crate) async fn answer<R: Rpc>(
    rpc: &R,
    figures: &Figures,
    request: http::Request<Incoming>,
) -> http::Response<Body> {
    let began = Instant::now();
    let path = request.uri().path().to_owned();
    let asked = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    let method = match asked {
        Some((service, method)) => {
            let services = R::SERVICES.iter().filter(|(name, _)| *name == service);
            services.flat_map(|(_, methods)| *methods).find(|known| **known == method)
        }
        None => None,
    };
    let (label, response) = match method {
        Some(method) => {
            let response = tokio::time::timeout(DEADLINE, rpc.call(method, request)).await;
            (*method, response.unwrap_or_else(|_| Status::deadline_exceeded("it took too long").into_http()))
        }
        None => ("unknown", Status::unimplemented(format!("there is no {path}")).into_http()),
    };
    // Only an answer without a message says how it ended in its head.
    let code =
        response.headers().get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
    if code != Code::Ok {
        tracing::debug!(method = label, ?code, "a call was refused");
    }
    figures.answered(label, code, began.elapsed());
    response
}

/// One message in, one out.
pub(crate) async fn unary<M, A, F>(
    request: http::Request<Incoming>,
    handler: impl Fn(M) -> F,
) -> http::Response<Body>
where
    M: Message + Default + Send + 'static,
    A: Message + Send + 'static,
    F: Future<Output = Result<A, Error>>,
{
    respond(Grpc::new(ProstCodec::<A, M>::new()), request, handler).await
}

/// As [`unary`], with the bytes of a message of at most `limit` bytes: for what must be looked at before it is decoded.
pub(crate) async fn unary_bytes<A, F>(
    request: http::Request<Incoming>,
    limit: usize,
    handler: impl Fn(Bytes) -> F,
) -> http::Response<Body>
where
    A: Message + Send + 'static,
    F: Future<Output = Result<A, Error>>,
{
    let grpc = Grpc::new(Undecoded::<A>(PhantomData)).max_decoding_message_size(limit);
    respond(grpc, request, handler).await
}

async fn respond<C, F>(
    mut grpc: Grpc<C>,
    request: http::Request<Incoming>,
    handler: impl Fn(C::Decode) -> F,
) -> http::Response<Body>
where
    C: Codec,
    C::Encode: Sync,
    F: Future<Output = Result<C::Encode, Error>>,
{
    let handler = &handler;
    let service = tower::service_fn(|request: tonic::Request<C::Decode>| async move {
        handler(request.into_inner()).await.map(Response::new).map_err(Status::from)
    });
    grpc.unary(service, request).await
}

/// A codec that leaves what comes as it is.
struct Undecoded<A>(PhantomData<fn() -> A>);

impl<A: Message + Send + 'static> Codec for Undecoded<A> {
    type Encode = A;
    type Decode = Bytes;
    type Encoder = ProstEncoder<A>;
    type Decoder = Whole;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        Whole
    }
}

/// Takes a message whole.
struct Whole;

impl Decoder for Whole {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}

/// How often a message has a field. Nothing is kept, so a message of many small parts costs nothing but its own bytes.
pub(crate) fn count(mut message: &[u8], field: u32) -> Result<usize, prost::DecodeError> {
    let mut found = 0;
    while message.has_remaining() {
        let (tag, wire) = decode_key(&mut message)?;
        found += usize::from(tag == field);
        skip_field(wire, tag, &mut message, DecodeContext::default())?;
    }
    Ok(found)
}
