//! What an API server asks for: the head of an HTTP/1.1 `CONNECT`. Pure.
//!
//! Upstream writes `CONNECT <host:port> HTTP/1.1`, `Host: 127.0.0.1` and an empty line, and sends nothing more before it
//! has an answer (`tunnelHTTPConnect` in `k8s.io/apiserver/pkg/server/egressselector`). It takes exactly status 200, and
//! no byte behind the answer's head.

use skep_agent::tunnel::Target;

/// Longest head. Upstream's has about 70 bytes and a name.
pub(super) const MAX_HEAD: usize = 4096;

/// What the bytes so far are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// More is needed.
    Incomplete,
    /// A request, and how many bytes its head took.
    Connect(Target, usize),
}

/// Why bytes are not such a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoRequest {
    /// The head is longer than [`MAX_HEAD`].
    #[error("its head has more than {MAX_HEAD} bytes")]
    TooLong,
    /// Another method, or not HTTP/1.
    #[error("only CONNECT of HTTP/1.1 is answered here")]
    NotConnect,
    /// The target is not `host:port`.
    #[error("its target is not a host and a port")]
    Target,
}

/// Reads a request from the first bytes of a connection.
pub(super) fn parse(bytes: &[u8]) -> Result<Head, NoRequest> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if bytes.len() < MAX_HEAD { Ok(Head::Incomplete) } else { Err(NoRequest::TooLong) };
    };
    let length = end + 4;
    if length > MAX_HEAD {
        return Err(NoRequest::TooLong);
    }
    let head = bytes.get(..end).unwrap_or_default();
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| NoRequest::NotConnect)?;
    let mut words = line.split(' ');
    let (Some("CONNECT"), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(NoRequest::NotConnect);
    };
    Ok(Head::Connect(target.parse().map_err(|_| NoRequest::Target)?, length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    #[test]
    fn what_upstream_writes() {
        let head = b"CONNECT 198.51.100.1:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
        assert_eq!(parse(head), Ok(Head::Connect(target("198.51.100.1:10250"), head.len())));
        for cut in 0..head.len() {
            assert_eq!(parse(&head[..cut]), Ok(Head::Incomplete), "{cut}");
        }
        let early = [head.as_slice(), b"\x16\x03\x01"].concat();
        assert_eq!(parse(&early), Ok(Head::Connect(target("198.51.100.1:10250"), head.len())));
    }

    #[test]
    fn what_is_none() {
        for (bytes, error) in [
            ("GET / HTTP/1.1\r\n\r\n", NoRequest::NotConnect),
            ("CONNECT a:1\r\n\r\n", NoRequest::NotConnect),
            ("CONNECT a:1 HTTP/2\r\n\r\n", NoRequest::NotConnect),
            ("CONNECT  a:1 HTTP/1.1\r\n\r\n", NoRequest::NotConnect),
            ("CONNECT a:1 HTTP/1.1 x\r\n\r\n", NoRequest::NotConnect),
            ("connect a:1 HTTP/1.1\r\n\r\n", NoRequest::NotConnect),
            ("\r\n\r\n", NoRequest::NotConnect),
            ("CONNECT a HTTP/1.1\r\n\r\n", NoRequest::Target),
            ("CONNECT http://a:1/ HTTP/1.1\r\n\r\n", NoRequest::Target),
            ("CONNECT a:0 HTTP/1.1\r\n\r\n", NoRequest::Target),
        ] {
            assert_eq!(parse(bytes.as_bytes()), Err(error), "{bytes:?}");
        }
        assert_eq!(parse(&[b'a'; MAX_HEAD]), Err(NoRequest::TooLong));
        assert_eq!(parse(&[b'a'; MAX_HEAD - 1]), Ok(Head::Incomplete));
        let long = format!("CONNECT a:1 HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(MAX_HEAD));
        assert_eq!(parse(long.as_bytes()), Err(NoRequest::TooLong));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let _ = parse(&[b"CONNECT ", bytes.as_slice(), b" HTTP/1.1\r\n\r\n"].concat());
        }

        #[test]
        fn the_head_ends_where_it_ends(name in "[a-z]{1,20}", port in 1u16.., rest in prop::collection::vec(any::<u8>(), 0..50)) {
            let head = format!("CONNECT {name}:{port} HTTP/1.1\r\nHost: x\r\nUser-Agent: y\r\n\r\n");
            let bytes = [head.as_bytes(), &rest].concat();
            prop_assert_eq!(parse(&bytes), Ok(Head::Connect(target(&format!("{name}:{port}")), head.len())));
        }
    }
}
