//! One GET request, by hand: only the status matters, and a client library would cost more than the answer.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::HTTPGetAction;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Outcome, Sessions, connect};

/// Longest head of an answer.
const HEAD: usize = 64 * 1024;
/// Bytes of the body that are read so that the server is not cut off in the middle (`maxRespBodyLength` upstream).
const BODY: usize = 10 * 1024;
/// Redirects that are followed (Go's default).
const REDIRECTS: usize = 10;
/// What servers know the kubelet's probes by.
const USER_AGENT: &str = "kube-probe/1.36";

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Get {
    tls: bool,
    host: String,
    port: u16,
    path: String,
    headers: Vec<(String, String)>,
}

/// The part of an answer that matters.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    location: Option<String>,
}

impl Get {
    pub(super) fn new(action: &HTTPGetAction, host: String, port: u16) -> Result<Self, String> {
        let mut headers = Vec::new();
        for header in action.http_headers.iter().flatten() {
            if header.name.contains(|c: char| c.is_control() || c == ':' || c == ' ')
                || header.value.contains(['\r', '\n', '\0'])
            {
                return Err(format!("invalid HTTP header {:?}", header.name));
            }
            headers.push((header.name.clone(), header.value.clone()));
        }
        let tls = action.scheme.as_deref().is_some_and(|s| s.eq_ignore_ascii_case("https"));
        let path = clean_path(action.path.as_deref().unwrap_or_default());
        Ok(Self { tls, host, port, path, headers })
    }

    pub(super) fn url(&self) -> String {
        format!("{}://{}{}", if self.tls { "https" } else { "http" }, self.authority(), self.path)
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    pub(super) async fn run(&self, sessions: &Sessions) -> Outcome {
        let mut get = self.clone();
        for _ in 0..=REDIRECTS {
            let answer = match get.once(sessions).await {
                Ok(answer) => answer,
                Err(why) => return Outcome::Failure(format!("Get {:?}: {why}", get.url())),
            };
            match answer {
                Answer { status: 301 | 302 | 303 | 307 | 308, location: Some(location) } => {
                    match get.redirected(&location) {
                        Some(next) => get = next,
                        // To another host: the container has answered, that is enough.
                        None => return Outcome::Success,
                    }
                }
                Answer { status: 200..400, .. } => return Outcome::Success,
                Answer { status, .. } => {
                    return Outcome::Failure(format!("HTTP probe failed with statuscode: {status}"));
                }
            }
        }
        Outcome::Failure(format!("Get {:?}: stopped after {REDIRECTS} redirects", get.url()))
    }

    async fn once(&self, sessions: &Sessions) -> Result<Answer, String> {
        let stream = connect(&self.host, self.port).await?;
        if self.tls {
            let stream = sessions.0.connect(&self.host, stream).await?;
            self.exchange(stream).await
        } else {
            self.exchange(stream).await
        }
    }

    async fn exchange(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<Answer, String> {
        let say = |error: std::io::Error| error.to_string();
        stream.write_all(self.request().as_bytes()).await.map_err(say)?;
        stream.flush().await.map_err(say)?;
        let mut head = Vec::new();
        let mut body = 0;
        let mut answer = None;
        let mut chunk = [0; 2048];
        loop {
            let got = match stream.read(&mut chunk).await {
                Ok(0) => break,
                Ok(got) => got,
                // The answer is there; how the connection ends does not matter.
                Err(_) if answer.is_some() => break,
                Err(error) => return Err(say(error)),
            };
            if answer.is_some() {
                body += got;
                if body > BODY {
                    break;
                }
                continue;
            }
            head.extend_from_slice(chunk.get(..got).unwrap_or_default());
            answer = parse(&mut head)?;
            if answer.is_none() && head.len() > HEAD {
                return Err(
                    "net/http: HTTP/1.x transport connection broken: the head of the answer is too long"
                        .into(),
                );
            }
        }
        answer.ok_or_else(|| "EOF".into())
    }

    fn request(&self) -> String {
        let given = |name: &str| self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let mut text = format!("GET {} HTTP/1.1\r\n", self.path);
        if !given("Host") {
            let _ = write!(text, "Host: {}\r\n", self.authority());
        }
        for (name, value) in [("User-Agent", USER_AGENT), ("Accept", "*/*")] {
            if !given(name) {
                let _ = write!(text, "{name}: {value}\r\n");
            }
        }
        for (name, value) in
            self.headers.iter().filter(|(n, v)| !(n.eq_ignore_ascii_case("Accept") && v.is_empty()))
        {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        text.push_str("Connection: close\r\n\r\n");
        text
    }

    /// The request a redirect asks for; `None` when it leads to another host or makes no sense.
    fn redirected(&self, location: &str) -> Option<Self> {
        let mut next = self.clone();
        let (scheme, rest) = match location.split_once("://") {
            Some((scheme, rest)) => (scheme, rest),
            None => {
                let base = self.path.split('?').next().unwrap_or_default();
                let directory = base.rsplit_once('/').map_or("", |(directory, _)| directory);
                next.path = if location.starts_with('/') {
                    clean_path(location)
                } else {
                    clean_path(&format!("{directory}/{location}"))
                };
                return Some(next);
            }
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        next.tls = scheme.eq_ignore_ascii_case("https");
        let (host, port) =
            match authority.rsplit_once(':').filter(|(_, p)| p.bytes().all(|b| b.is_ascii_digit())) {
                Some((host, port)) => (host, port.parse().ok()?),
                None => (authority, if next.tls { 443 } else { 80 }),
            };
        if host.trim_matches(['[', ']']) != self.host {
            return None;
        }
        next.port = port;
        next.path = clean_path(path);
        Some(next)
    }
}

/// A path fit for a request line: absolute, without fragment, odd bytes escaped.
fn clean_path(path: &str) -> String {
    let path = path.split('#').next().unwrap_or_default();
    let mut out = String::from(if path.starts_with('/') { "" } else { "/" });
    for byte in path.bytes() {
        if byte <= b' ' || byte >= 0x7f {
            let _ = write!(out, "%{byte:02X}");
        } else {
            out.push(char::from(byte));
        }
    }
    out
}

/// Reads the head of an answer when it is complete. Interim answers (1xx) are skipped.
fn parse(head: &mut Vec<u8>) -> Result<Option<Answer>, String> {
    loop {
        let Some(end) = head.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
        let text = String::from_utf8_lossy(head.get(..end).unwrap_or_default()).into_owned();
        let mut lines = text.split("\r\n");
        let mut first = lines.next().unwrap_or_default().split(' ');
        let status = match (first.next(), first.next().map(str::parse::<u16>)) {
            (Some(version), Some(Ok(status))) if version.starts_with("HTTP/1.") => status,
            _ => return Err("net/http: HTTP/1.x transport connection broken: malformed HTTP response".into()),
        };
        if (100..200).contains(&status) {
            head.drain(..end + 4);
            continue;
        }
        let location =
            lines.filter_map(|l| l.split_once(':')).find(|(n, _)| n.eq_ignore_ascii_case("location"));
        return Ok(Some(Answer { status, location: location.map(|(_, v)| v.trim().to_owned()) }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Get {
        Get { tls: true, host: "127.64.0.1".into(), port: 6443, path: clean_path(path), headers: Vec::new() }
    }

    #[test]
    fn requests_look_like_the_kubelets() {
        let mut request = get("readyz?verbose=1#x");
        assert_eq!(
            request.request(),
            "GET /readyz?verbose=1 HTTP/1.1\r\nHost: 127.64.0.1:6443\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        request.headers =
            vec![("host".into(), "me".into()), ("ACCEPT".into(), String::new()), ("X".into(), "1".into())];
        assert_eq!(
            request.request(),
            "GET /readyz?verbose=1 HTTP/1.1\r\nUser-Agent: kube-probe/1.36\r\nhost: me\r\nX: 1\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(get("/a b\u{e4}").path, "/a%20b%C3%A4");
        assert_eq!(request.url(), "https://127.64.0.1:6443/readyz?verbose=1");
    }

    #[test]
    fn redirects_stay_on_the_host() {
        let from = get("/a/b?x");
        let to = |location: &str| from.redirected(location).map(|g| g.url());
        assert_eq!(to("/c").as_deref(), Some("https://127.64.0.1:6443/c"));
        assert_eq!(to("c?y").as_deref(), Some("https://127.64.0.1:6443/a/c?y"));
        assert_eq!(to("http://127.64.0.1/z").as_deref(), Some("http://127.64.0.1:80/z"));
        assert_eq!(to("http://127.64.0.1:99").as_deref(), Some("http://127.64.0.1:99/"));
        assert_eq!(to("http://elsewhere/"), None);
    }

    #[test]
    fn answers_are_read_piece_by_piece() {
        let mut head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 302 Found\r\nLOCATION:  /x \r\n".to_vec();
        assert_eq!(parse(&mut head), Ok(None));
        head.extend(b"\r\nbody");
        assert_eq!(parse(&mut head), Ok(Some(Answer { status: 302, location: Some("/x".into()) })));
        for bad in [&b"SSH-2.0\r\n\r\n"[..], b"HTTP/1.1 abc\r\n\r\n", b"\r\n\r\n", b"HTTP/1.1\r\n\r\n"] {
            assert!(parse(&mut bad.to_vec()).is_err());
        }
    }
}
