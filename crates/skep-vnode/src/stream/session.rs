//! What a remote command needs from its transport, whichever that is.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::spdy;
use super::websocket;
use crate::backend::TerminalSize;

/// Largest text that is not yet a whole resize event: `{"Width":65535,"Height":65535}` and room to spare.
const MAX_RESIZE: usize = 1024;
/// The status of a command that ran is worth waiting for, a peer that reads nothing is not.
const STATUS_DEADLINE: Duration = Duration::from_secs(10);

/// Size of the client's terminal, as clients send it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireSize {
    width: u16,
    height: u16,
}

/// Which streams the caller asked for (query parameters of `/exec`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The client sends input.
    pub stdin: bool,
    /// The client wants output.
    pub stdout: bool,
    /// The client wants error output; never together with `tty`.
    pub stderr: bool,
    /// The command gets a terminal, whose only output is `stdout`.
    pub tty: bool,
}

impl Wanted {
    /// From the query of a request; the names are upstream's
    /// (`k8s.io/cri-streaming/pkg/streaming/remotecommand/constants.go`).
    ///
    /// # Errors
    /// A text for the caller when the combination makes no sense.
    pub fn from_query<'a>(query: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, &'static str> {
        let mut wanted = Self::default();
        for (name, value) in query {
            let on = matches!(value, "1" | "true");
            match name {
                "input" => wanted.stdin = on,
                "output" => wanted.stdout = on,
                "error" => wanted.stderr = on,
                "tty" => wanted.tty = on,
                _ => {}
            }
        }
        // A terminal has one output; upstream drops the second stream instead of refusing the request.
        wanted.stderr &= !wanted.tty;
        if wanted.stdin || wanted.stdout || wanted.stderr {
            Ok(wanted)
        } else {
            Err("you must specify at least 1 of stdin, stdout, stderr")
        }
    }
}

/// The sending end of one stream of a session.
pub enum Sink {
    /// A stream of its own.
    Spdy(spdy::StreamWriter),
    /// A channel of the one WebSocket.
    WebSocket(websocket::ChannelWriter),
}

impl Sink {
    /// Sends `data`, waiting while the client does not read; `false` when the client is gone.
    pub async fn send(&self, data: Bytes) -> bool {
        match self {
            Self::Spdy(stream) => stream.send(data).await,
            Self::WebSocket(channel) => channel.send(data).await,
        }
    }

    /// The client has everything there is.
    pub async fn finish(self) {
        match self {
            Self::Spdy(stream) => stream.finish().await,
            // The WebSocket protocol has no end of a single output channel; the session's end is everybody's.
            Self::WebSocket(_) => {}
        }
    }
}

/// Input from the client; holds its stream open while it is read.
pub struct Source {
    chunks: mpsc::Receiver<Bytes>,
    _open: Option<spdy::StreamWriter>,
}

impl Source {
    /// A source over chunks; `open` is dropped together with it.
    #[must_use]
    pub fn new(chunks: mpsc::Receiver<Bytes>, open: Option<spdy::StreamWriter>) -> Self {
        Self { chunks, _open: open }
    }

    /// The next bytes; `None` when the client closed its input.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.chunks.recv().await
    }
}

/// A client connected to a command that is about to run.
pub struct Session {
    /// Input, when the client sends any.
    pub stdin: Option<Source>,
    /// Output, when the client wants it.
    pub stdout: Option<Sink>,
    /// Error output, when the client wants it apart.
    pub stderr: Option<Sink>,
    /// Terminal sizes, for a command with a terminal.
    pub resize: Option<Resizes>,
    /// Where the result goes.
    pub status: Sink,
    /// Cancelled when the client is gone.
    pub closed: CancellationToken,
}

impl Session {
    /// Tells the client how the command ended.
    pub async fn finish(self, outcome: &Outcome) {
        let report = async {
            for sink in [self.stdout, self.stderr].into_iter().flatten() {
                sink.finish().await;
            }
            self.status.send(outcome.to_json()).await;
            self.status.finish().await;
        };
        let _ = tokio::time::timeout(STATUS_DEADLINE, report).await;
    }
}

/// How a remote command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It ran and ended with this code.
    Exited(i32),
    /// It never ran, or nobody knows how it ended; the text is for the client.
    Failed(String),
}

impl Outcome {
    /// The `metav1.Status` that v4 and later clients parse
    /// (`k8s.io/cri-streaming/pkg/streaming/remotecommand/exec.go`).
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        let status = match self {
            Self::Exited(0) => json!({"status": "Success"}),
            Self::Exited(code) => json!({
                "status": "Failure",
                "reason": "NonZeroExitCode",
                "message": format!("command terminated with non-zero exit code: {code}"),
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
            Self::Failed(message) => json!({
                "status": "Failure",
                "reason": "InternalError",
                "message": format!("Internal error occurred: {message}"),
                "code": 500,
            }),
        };
        Bytes::from(status.to_string())
    }
}

/// Terminal sizes out of a byte stream of JSON objects.
pub struct Resizes {
    source: Source,
    pending: Vec<u8>,
}

impl Resizes {
    /// Reads sizes from `source`.
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self { source, pending: Vec::new() }
    }

    /// The next size; `None` when there will be none (also after garbage: a size is not worth ending a command).
    pub async fn next(&mut self) -> Option<TerminalSize> {
        loop {
            let mut sizes = serde_json::Deserializer::from_slice(&self.pending).into_iter::<WireSize>();
            match sizes.next() {
                Some(Ok(WireSize { width, height })) => {
                    let used = sizes.byte_offset();
                    self.pending.drain(..used);
                    return Some(TerminalSize { width, height });
                }
                Some(Err(error)) if !error.is_eof() => return None,
                _ => {}
            }
            let more = self.source.next().await?;
            if self.pending.len() + more.len() > MAX_RESIZE {
                return None;
            }
            self.pending.extend_from_slice(&more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sizes(chunks: &[&str]) -> Vec<TerminalSize> {
        let (sender, receiver) = mpsc::channel(chunks.len().max(1));
        for chunk in chunks {
            sender.send(Bytes::copy_from_slice(chunk.as_bytes())).await.unwrap();
        }
        drop(sender);
        let mut resizes = Resizes::new(Source::new(receiver, None));
        let mut found = Vec::new();
        while let Some(size) = resizes.next().await {
            found.push(size);
        }
        found
    }

    #[tokio::test]
    async fn sizes_may_be_split_and_joined() {
        let found = sizes(&["{\"Width\":80,\"Hei", "ght\":24}\n{\"Width\":100,\"Height\":30}\n"]).await;
        let expected = [TerminalSize { width: 80, height: 24 }, TerminalSize { width: 100, height: 30 }];
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn garbage_and_floods_end_resizing_only() {
        assert!(sizes(&["hello"]).await.is_empty());
        assert!(sizes(&["{\"Width\":", &" ".repeat(MAX_RESIZE)]).await.is_empty());
    }

    #[test]
    fn a_terminal_has_no_error_stream() {
        let wanted = Wanted::from_query([("output", "1"), ("error", "1"), ("tty", "1")].into_iter()).unwrap();
        assert_eq!(wanted, Wanted { stdout: true, tty: true, ..Wanted::default() });
        assert!(Wanted::from_query([("tty", "1")].into_iter()).is_err());
    }

    #[test]
    fn an_exit_code_is_a_cause() {
        let text = Outcome::Exited(7).to_json();
        let status: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(status["details"]["causes"][0]["message"], "7");
        assert_eq!(status["reason"], "NonZeroExitCode");
    }
}
