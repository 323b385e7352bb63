//! What gateway and agent say to each other: the same words for both sides.
//!
//! The connection is HTTP/2 inside TLS 1.3, chosen by ALPN, with the gateway as its client. The first request is a
//! greeting; all others are `CONNECT`s and, once, a farewell. Everything but the streams' bytes is in headers.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// Protocol in TLS (ALPN).
pub const ALPN: &[u8] = b"skep-tunnel/1";
/// The gateway's first request; the answer says who the agent is.
pub const GREETING: &str = "/skep-tunnel/v1/greeting";
/// The gateway is about to stop: what is open goes on, nothing new will come.
pub const FAREWELL: &str = "/skep-tunnel/v1/farewell";

/// In a greeting: which gateway this is. Every process of a gateway has another one.
pub const GATEWAY: HeaderName = HeaderName::from_static("skep-gateway");
/// In a greeting: how many gateways there are; an agent connects to each.
pub const GATEWAYS: HeaderName = HeaderName::from_static("skep-gateways");
/// In the answer: addresses at which the node's kubelet is dialled, separated by commas.
pub const ADDRESSES: HeaderName = HeaderName::from_static("skep-addresses");
/// In the answer: version of the agent, for people.
pub const VERSION: HeaderName = HeaderName::from_static("skep-version");
/// In a refusal: why, for people.
pub const REASON: HeaderName = HeaderName::from_static("skep-reason");

/// Most gateways an agent connects to.
pub const MAX_GATEWAYS: usize = 16;
/// Most addresses of one node.
pub const MAX_ADDRESSES: usize = 8;
/// Streams that an agent takes at a time on one connection.
pub const STREAMS: u32 = 128;
/// Bytes of one stream that may be on their way or wait for a slow reader, in each direction: the bound of what a stream
/// costs. It is also what a stream moves per round trip: 6 MB/s at 20 ms.
pub const STREAM_WINDOW: u32 = 128 * 1024;
/// The same for a connection: all streams at once, so that one that is not read never stops the others.
pub const CONNECTION_WINDOW: u32 = STREAMS * STREAM_WINDOW;
/// Bytes read from a socket at a time.
pub const CHUNK: usize = 16 * 1024;
/// Bytes of one stream that may wait to be written to the connection.
pub const SEND_BUFFER: usize = 4 * CHUNK;
/// Longest list of headers in either direction.
pub const MAX_HEADERS: u32 = 4 * 1024;
/// Longest reason.
const MAX_REASON: usize = 200;

/// Why an agent did not connect a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The request makes no sense.
    Malformed,
    /// The target is not one that may be reached through a node.
    Forbidden,
    /// This gateway is connected already: the agent looks for another one.
    Known,
    /// The target answered, with a refusal.
    Refused,
    /// The agent stops, or has as many streams as it takes: another one may do it.
    Busy,
    /// Nothing answered in time, there is no way to the target, or its name is unknown.
    Unreachable,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Malformed, Self::Forbidden, Self::Known, Self::Refused, Self::Busy, Self::Unreachable];

    /// As an HTTP status.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Known => StatusCode::CONFLICT,
            Self::Refused => StatusCode::BAD_GATEWAY,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unreachable => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The refusal with this status.
    #[must_use]
    pub fn of(status: StatusCode) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.status() == status)
    }
}

/// A reason as a header: printable ASCII of bounded length, whatever it is made from.
#[must_use]
pub fn reason(text: &str) -> HeaderValue {
    HeaderValue::from_str(&printable(text)).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// The reason in headers; whatever the other side wrote, it is printable and of bounded length.
#[must_use]
pub fn reason_in(headers: &HeaderMap) -> Option<String> {
    Some(printable(headers.get(REASON)?.to_str().ok()?))
}

/// Printable ASCII of bounded length: what may stand in a header, a status line and a log.
#[must_use]
pub fn printable(text: &str) -> String {
    let clean = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().take(MAX_REASON).map(clean).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_refusal_has_a_status_of_its_own() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::of(refusal.status()), Some(refusal));
        }
        assert_eq!(Refusal::of(StatusCode::OK), None);
        assert_eq!(Refusal::of(StatusCode::IM_A_TEAPOT), None);
    }

    proptest! {
        #[test]
        fn any_text_can_be_a_reason(text in "\\PC{0,400}|[\\x00-\\x20]{0,40}") {
            let headers = HeaderMap::from_iter([(REASON, reason(&text))]);
            let read = reason_in(&headers).unwrap();
            prop_assert_eq!(&read, &printable(&text));
            prop_assert!(read.len() <= MAX_REASON && !read.contains(['\r', '\n']));
        }
    }
}
