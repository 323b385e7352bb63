//! A remote command: the client's streams on one side, a process on the other.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::CHUNK;
use super::session::{Outcome, Resizes, Session, Sink, Source, Wanted};
use super::spdy::{Connection, Headers};
use crate::backend::{ExecRequest, ExecSession};

/// Value of `X-Stream-Protocol-Version` that is served over SPDY; v5 differs only on WebSockets.
pub const SPDY_PROTOCOL: &str = "v4.channel.k8s.io";

const TYPE: &str = "streamtype";
/// A client has this long to open the streams it announced (upstream's `DefaultStreamCreationTimeout`).
const CREATION: Duration = Duration::from_secs(30);
/// A command that ended may have left a child that holds its output open: without a byte for this long, the output
/// is taken to be complete.
const DRAIN: Duration = Duration::from_secs(1);

/// What to ask of the backend for a request of these streams.
#[must_use]
pub fn request(command: Vec<String>, wanted: Wanted) -> ExecRequest {
    let Wanted { stdin, stdout, stderr, tty } = wanted;
    ExecRequest { command, stdin, stdout, stderr, tty, size: None }
}

/// Whether a stream is one of a remote command's.
#[must_use]
pub fn admit(headers: &Headers) -> bool {
    matches!(headers.get(TYPE), Some("stdin" | "stdout" | "stderr" | "error" | "resize"))
}

/// Collects the streams the client announced. `None` when it does not open them in time.
pub async fn collect(connection: &mut Connection, wanted: Wanted) -> Option<Session> {
    tokio::time::timeout(CREATION, collect_all(connection, wanted)).await.ok().flatten()
}

async fn collect_all(connection: &mut Connection, wanted: Wanted) -> Option<Session> {
    let closed = connection.closed();
    let (mut stdin, mut stdout, mut stderr, mut resize, mut status) = (None, None, None, None, None);
    let complete = |stdin: bool, stdout: bool, stderr: bool, resize: bool, status: bool| {
        (stdin || !wanted.stdin)
            && (stdout || !wanted.stdout)
            && (stderr || !wanted.stderr)
            && (resize || !wanted.tty)
            && status
    };
    while !complete(stdin.is_some(), stdout.is_some(), stderr.is_some(), resize.is_some(), status.is_some()) {
        let stream = connection.accept().await?;
        let kind = stream.headers.get(TYPE).unwrap_or_default().to_owned();
        match kind.as_str() {
            "stdin" => stdin = Some(Source::new(stream.chunks, Some(stream.writer))),
            "resize" => resize = Some(Resizes::new(Source::new(stream.chunks, Some(stream.writer)))),
            "stdout" => stdout = Some(Sink::Spdy(stream.writer)),
            "stderr" => stderr = Some(Sink::Spdy(stream.writer)),
            _ => status = Some(Sink::Spdy(stream.writer)),
        }
    }
    Some(Session { stdin, stdout, stderr, resize, status: status?, closed })
}

/// Joins client and command until the command has ended (its exit code comes back) or the client is gone (`None`;
/// the command is killed).
pub async fn join(session: &mut Session, command: ExecSession) -> Option<i32> {
    let closed = session.closed.clone();
    let ended = CancellationToken::new();
    let ExecSession { stdin, stdout, stderr, control, exit } = command;
    let input = feed(session.stdin.as_mut(), stdin);
    let sizes = async {
        while let Some(sizes) = session.resize.as_mut() {
            match sizes.next().await {
                Some(size) => control.resize(size),
                None => break,
            }
        }
        std::future::pending::<()>().await
    };
    let outputs = async {
        let out = drain(stdout, session.stdout.as_ref(), &ended);
        let err = drain(stderr, session.stderr.as_ref(), &ended);
        tokio::join!(out, err);
    };
    let exit = async {
        let code = exit.await;
        ended.cancel();
        code
    };
    tokio::select! {
        (code, ()) = async { tokio::join!(exit, outputs) } => Some(code),
        () = input => None,
        () = sizes => None,
        () = closed.cancelled() => None,
    }
}

/// Feeds input for as long as there is some; never returns, because the end of input ends nothing.
async fn feed(source: Option<&mut Source>, mut stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>) {
    if let (Some(source), Some(to)) = (source, stdin.as_mut()) {
        while let Some(chunk) = source.next().await {
            // A command that closed its input wants no more of it; what it outputs is still wanted.
            if to.write_all(&chunk).await.is_err() || to.flush().await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    }
    drop(stdin);
    std::future::pending::<()>().await;
}

async fn drain(
    from: Option<Box<dyn AsyncRead + Send + Unpin>>,
    sink: Option<&Sink>,
    ended: &CancellationToken,
) {
    let (Some(mut from), Some(sink)) = (from, sink) else { return };
    loop {
        let mut buffer = BytesMut::with_capacity(CHUNK);
        let read = {
            let mut reading = std::pin::pin!(from.read_buf(&mut buffer));
            tokio::select! {
                read = &mut reading => read,
                () = ended.cancelled() => match tokio::time::timeout(DRAIN, reading).await {
                    Ok(read) => read,
                    Err(_) => return,
                },
            }
        };
        match read {
            Ok(1..) if sink.send(buffer.freeze()).await => {}
            _ => return,
        }
    }
}

/// Runs a command for a client and tells the client how it ended.
pub async fn run(mut session: Session, command: Result<ExecSession, crate::backend::BackendError>) {
    let outcome = match command {
        Ok(command) => match join(&mut session, command).await {
            Some(code) => Outcome::Exited(code),
            None => return,
        },
        Err(error) => Outcome::Failed(error.to_string()),
    };
    session.finish(&outcome).await;
}
