//! Remote commands over one WebSocket: the first byte of every message is its channel
//! (`v4.channel.k8s.io` and `v5.channel.k8s.io`, binary).
//!
//! v5 adds message `[255, channel]`, by which a client closes its input; with v4 input never ends before the session.

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::session::{Resizes, Session, Sink, Source, Wanted};
use super::{CHUNK, QUEUE};

/// Sub-protocols served, the preferred first.
pub const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// Largest message from a client: client-go sends 32 KiB, others may send more at once.
pub const MAX_MESSAGE: usize = 1024 * 1024;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE_SIGNAL: u8 = 255;

/// Without any message (clients ping every few seconds) for this long the peer is gone.
const IDLE: Duration = Duration::from_secs(4 * 3600);
/// Time for what is queued, the closing handshake included, after the session is over.
const LINGER: Duration = Duration::from_secs(5);

/// Sends on one channel.
pub struct ChannelWriter {
    channel: u8,
    messages: mpsc::Sender<Bytes>,
    closed: CancellationToken,
}

impl ChannelWriter {
    /// Sends `data`, waiting while the client does not read; `false` when the client is gone.
    pub async fn send(&self, data: Bytes) -> bool {
        let mut message = BytesMut::with_capacity(data.len() + 1);
        message.put_u8(self.channel);
        message.put(data);
        tokio::select! {
            sent = self.messages.send(message.freeze()) => sent.is_ok(),
            () = self.closed.cancelled() => false,
        }
    }
}

/// Makes a session of an upgraded connection. The task behind it ends when the session's sinks are dropped.
pub async fn open(socket: WebSocket, wanted: Wanted) -> Session {
    let closed = CancellationToken::new();
    let (messages, outgoing) = mpsc::channel(QUEUE);
    let (stdin, stdin_chunks) = mpsc::channel(QUEUE);
    let (resize, resize_chunks) = mpsc::channel(QUEUE);
    let inputs = Inputs { stdin: wanted.stdin.then_some(stdin), resize: wanted.tty.then_some(resize) };
    tokio::spawn(drive(socket, outgoing, inputs, closed.clone()));
    let sink = |channel| {
        Sink::WebSocket(ChannelWriter { channel, messages: messages.clone(), closed: closed.clone() })
    };
    let session = Session {
        stdin: wanted.stdin.then(|| Source::new(stdin_chunks, None)),
        stdout: wanted.stdout.then(|| sink(STDOUT)),
        stderr: wanted.stderr.then(|| sink(STDERR)),
        resize: wanted.tty.then(|| Resizes::new(Source::new(resize_chunks, None))),
        status: sink(STATUS),
        closed: closed.clone(),
    };
    // Clients wait for one empty message that says that the connection stands.
    let first = session.stdout.as_ref().or(session.stderr.as_ref()).unwrap_or(&session.status);
    first.send(Bytes::new()).await;
    session
}

struct Inputs {
    stdin: Option<mpsc::Sender<Bytes>>,
    resize: Option<mpsc::Sender<Bytes>>,
}

impl Inputs {
    /// Hands a message to its channel; `false` when the message breaks the protocol.
    async fn take(&mut self, mut message: Bytes) -> bool {
        if message.is_empty() {
            return true;
        }
        let channel = message[0];
        let data = message.split_off(1);
        let input = match channel {
            STDIN => &self.stdin,
            RESIZE => &self.resize,
            CLOSE_SIGNAL => {
                match data.first() {
                    Some(&STDIN) if data.len() == 1 => self.stdin = None,
                    Some(1..=RESIZE) if data.len() == 1 => {}
                    _ => return false,
                }
                return true;
            }
            // Messages for channels that are not the client's to write are dropped, as upstream does.
            _ => return true,
        };
        if let Some(input) = input
            && !data.is_empty()
        {
            let _ = input.send(data).await;
        }
        true
    }
}

async fn drive(
    socket: WebSocket,
    mut outgoing: mpsc::Receiver<Bytes>,
    mut inputs: Inputs,
    closed: CancellationToken,
) {
    let _guard = closed.clone().drop_guard();
    let (mut sender, mut receiver) = socket.split();
    // The halves run side by side: a command that does not read its input must not stop its output.
    let incoming = async {
        while let Ok(Some(Ok(message))) = tokio::time::timeout(IDLE, receiver.next()).await {
            let go_on = match message {
                Message::Binary(data) => inputs.take(data).await,
                Message::Close(_) | Message::Text(_) => false,
                // Pings are answered by the library as part of reading and flushed by the next write.
                Message::Ping(_) | Message::Pong(_) => true,
            };
            if !go_on {
                break;
            }
        }
        closed.cancel();
        receiver
    };
    let writing = async {
        loop {
            let message = tokio::select! {
                biased;
                message = outgoing.recv() => message,
                () = closed.cancelled() => None,
            };
            let Some(message) = message else { break };
            if sender.send(Message::Binary(message)).await.is_err() {
                break;
            }
        }
        let bye = CloseFrame { code: close_code::NORMAL, reason: "".into() };
        let _ = tokio::time::timeout(LINGER, sender.send(Message::Close(Some(bye)))).await;
    };
    tokio::pin!(incoming, writing);
    tokio::select! {
        _ = &mut incoming => {}
        () = &mut writing => {
            // The peer answers the close; leaving first would reset what it has not read yet.
            let _ = tokio::time::timeout(LINGER, incoming).await;
        }
    }
}

/// Bytes in flight in each direction of a tunnel.
const TUNNEL_BUFFER: usize = 64 * 1024;

/// A WebSocket whose binary messages are one byte stream.
pub fn tunnel(socket: WebSocket) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(TUNNEL_BUFFER);
    let (mut sender, mut receiver) = socket.split();
    let (mut from_peer, mut to_peer) = tokio::io::split(theirs);
    tokio::spawn(async move {
        let incoming = async {
            while let Ok(Some(Ok(message))) = tokio::time::timeout(IDLE, receiver.next()).await {
                let written = match message {
                    Message::Binary(data) => to_peer.write_all(&data).await.is_ok(),
                    Message::Ping(_) | Message::Pong(_) => true,
                    Message::Text(_) | Message::Close(_) => false,
                };
                if !written {
                    break;
                }
            }
            let _ = to_peer.shutdown().await;
        };
        let outgoing = async {
            loop {
                let mut buffer = BytesMut::with_capacity(CHUNK);
                match from_peer.read_buf(&mut buffer).await {
                    Ok(1..) if sender.send(Message::Binary(buffer.freeze())).await.is_ok() => {}
                    _ => break,
                }
            }
            let bye = CloseFrame { code: close_code::NORMAL, reason: "".into() };
            let _ = tokio::time::timeout(LINGER, sender.send(Message::Close(Some(bye)))).await;
        };
        tokio::join!(incoming, outgoing);
    });
    ours
}
