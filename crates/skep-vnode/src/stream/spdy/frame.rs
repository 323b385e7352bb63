//! Frames on the wire (SPDY draft 3.1, section 2.2): eight bytes of head, then the payload.
//!
//! Control frames are read whole and are small; a data frame may announce 16 MiB, so its payload is handed on in
//! chunks and never held as a whole.

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::headers::{Deflater, HeaderError, Headers, Inflater};
use crate::stream::CHUNK;

/// Largest control frame: compressed headers are well below this.
const MAX_CONTROL: u32 = 16 * 1024;
const VERSION: u16 = 3;
const CONTROL: u8 = 0x80;
const FIN: u8 = 0x01;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// Status of `RST_STREAM` (draft 3.1, section 2.6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetStatus {
    /// The stream id or its headers break the protocol.
    Protocol = 1,
    /// The stream is understood and not wanted.
    Refused = 3,
    /// The stream is of no more interest.
    Cancel = 5,
}

/// Why a connection cannot be read further.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The transport failed.
    #[error("reading a frame: {0}")]
    Io(#[from] std::io::Error),
    /// The header compression is lost.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The frame breaks the protocol.
    #[error("{0}")]
    Malformed(&'static str),
}

/// What was read. Data come in as many [`Event::Data`] as needed; `fin` is on the last.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer opens stream `id`; `fin`: it will send nothing on it.
    Open { id: u32, fin: bool, headers: Headers },
    /// Bytes on stream `id`.
    Data { id: u32, fin: bool, data: Bytes },
    /// The peer gives up stream `id`.
    Reset { id: u32 },
    /// To be answered with the same id when the peer started it (odd).
    Ping { id: u32 },
    /// The peer opens no more streams.
    GoAway,
    /// A frame without meaning here.
    Ignored,
}

/// Reads frames; keeps the header compression of this direction.
pub struct FrameReader<R> {
    from: R,
    inflater: Inflater,
    /// Rest of the data frame being handed on: stream, whether its end closes the stream, bytes left.
    data: Option<(u32, bool, usize)>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(from: R) -> Self {
        Self { from, inflater: Inflater::new(), data: None }
    }

    /// The next event; `None` when the peer closed between two frames.
    pub async fn next(&mut self) -> Result<Option<Event>, FrameError> {
        if let Some((id, fin, left)) = self.data.take() {
            return self.data_chunk(id, fin, left).await.map(Some);
        }
        let mut head = [0_u8; 8];
        if self.from.read(&mut head[..1]).await? == 0 {
            return Ok(None);
        }
        self.from.read_exact(&mut head[1..]).await?;
        let [a, b, c, d, flags, length @ ..] = head;
        let length = u32::from_be_bytes([0, length[0], length[1], length[2]]);
        if a & CONTROL == 0 {
            let id = u32::from_be_bytes([a, b, c, d]);
            if id == 0 {
                return Err(FrameError::Malformed("data on stream 0"));
            }
            return self.data_chunk(id, flags & FIN != 0, length as usize).await.map(Some);
        }
        if u16::from_be_bytes([a & !CONTROL, b]) != VERSION {
            return Err(FrameError::Malformed("not a SPDY/3 frame"));
        }
        if length > MAX_CONTROL {
            return Err(FrameError::Malformed("control frame too large"));
        }
        let mut payload = vec![0; length as usize];
        self.from.read_exact(&mut payload).await?;
        self.control(u16::from_be_bytes([c, d]), flags, &payload).map(Some)
    }

    async fn data_chunk(&mut self, id: u32, fin: bool, left: usize) -> Result<Event, FrameError> {
        let mut data = BytesMut::zeroed(left.min(CHUNK));
        self.from.read_exact(&mut data).await?;
        let left = left - data.len();
        if left > 0 {
            self.data = Some((id, fin, left));
        }
        Ok(Event::Data { id, fin: fin && left == 0, data: data.freeze() })
    }

    fn control(&mut self, kind: u16, flags: u8, payload: &[u8]) -> Result<Event, FrameError> {
        let word = |at: usize| {
            payload
                .get(at..)
                .and_then(<[u8]>::first_chunk::<4>)
                .map(|bytes| u32::from_be_bytes(*bytes) & 0x7fff_ffff)
                .ok_or(FrameError::Malformed("control frame too short"))
        };
        // Header blocks have to be inflated even when nobody reads them: the compression state goes on.
        let mut headers = |at: usize| -> Result<Headers, FrameError> {
            let block = payload.get(at..).ok_or(FrameError::Malformed("control frame too short"))?;
            Ok(self.inflater.read(block)?)
        };
        Ok(match kind {
            SYN_STREAM => Event::Open { id: word(0)?, fin: flags & FIN != 0, headers: headers(10)? },
            SYN_REPLY | HEADERS => {
                headers(4)?;
                Event::Ignored
            }
            RST_STREAM => Event::Reset { id: word(0)? },
            PING => Event::Ping { id: word(0)? },
            GOAWAY => Event::GoAway,
            SETTINGS | WINDOW_UPDATE => Event::Ignored,
            _ => return Err(FrameError::Malformed("unknown control frame")),
        })
    }
}

/// What is written.
#[derive(Debug)]
pub enum Command {
    /// Accepts stream `id`.
    Accept { id: u32 },
    /// Bytes for stream `id`; `fin` closes this direction.
    Data { id: u32, fin: bool, data: Bytes },
    /// Gives up stream `id`.
    Reset { id: u32, status: ResetStatus },
    /// Answers a ping.
    Pong { id: u32 },
    /// No stream after `last` was or will be served; the writer ends after it.
    GoAway { last: u32 },
}

/// Turns commands into bytes; keeps the header compression of this direction.
pub struct FrameWriter {
    deflater: Deflater,
}

impl FrameWriter {
    pub fn new() -> Self {
        Self { deflater: Deflater::new() }
    }

    /// The frame's head and, for data, the payload to write after it.
    pub fn encode(&mut self, command: Command) -> (Vec<u8>, Option<Bytes>) {
        let mut out = Vec::with_capacity(24);
        match command {
            Command::Data { id, fin, data } => {
                out.put_u32(id & 0x7fff_ffff);
                out.put_u8(if fin { FIN } else { 0 });
                // Chunks are at most CHUNK, far below the 24 bits there are.
                out.put_uint(data.len() as u64, 3);
                return (out, Some(data));
            }
            Command::Accept { id } => {
                let mut payload = id.to_be_bytes().to_vec();
                self.deflater.write(&[], &mut payload);
                control(&mut out, SYN_REPLY, &payload);
            }
            Command::Reset { id, status } => {
                let mut payload = id.to_be_bytes().to_vec();
                payload.put_u32(status as u32);
                control(&mut out, RST_STREAM, &payload);
            }
            Command::Pong { id } => control(&mut out, PING, &id.to_be_bytes()),
            Command::GoAway { last } => {
                let mut payload = last.to_be_bytes().to_vec();
                payload.put_u32(0);
                control(&mut out, GOAWAY, &payload);
            }
        }
        (out, None)
    }
}

fn control(out: &mut Vec<u8>, kind: u16, payload: &[u8]) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    out.put_u8(0);
    out.put_uint(payload.len() as u64, 3);
    out.put_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    async fn read_all(bytes: &[u8]) -> (Vec<Event>, Result<(), FrameError>) {
        let mut reader = FrameReader::new(bytes);
        let mut events = Vec::new();
        loop {
            match reader.next().await {
                Ok(Some(event)) => events.push(event),
                Ok(None) => return (events, Ok(())),
                Err(error) => return (events, Err(error)),
            }
        }
    }

    fn syn_stream(id: u32) -> Vec<u8> {
        let block = include_bytes!("testdata/syn_stream_error.zlib");
        let mut payload = id.to_be_bytes().to_vec();
        payload.extend([0, 0, 0, 0, 0, 0]);
        payload.extend(block);
        let mut out = Vec::new();
        control(&mut out, SYN_STREAM, &payload);
        out
    }

    #[tokio::test]
    async fn a_large_data_frame_comes_in_chunks_with_fin_on_the_last() {
        let mut bytes = syn_stream(1);
        let (head, data) = FrameWriter::new().encode(Command::Data {
            id: 1,
            fin: true,
            data: Bytes::from(vec![7; CHUNK * 2 + 5]),
        });
        bytes.extend(head);
        bytes.extend(data.unwrap());
        let (events, end) = read_all(&bytes).await;
        end.unwrap();
        assert!(
            matches!(&events[0], Event::Open { id: 1, fin: false, headers } if headers.get("streamtype") == Some("error"))
        );
        let sizes: Vec<_> = events[1..]
            .iter()
            .map(|event| match event {
                Event::Data { id: 1, fin, data } => (data.len(), *fin),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(sizes, [(CHUNK, false), (CHUNK, false), (5, true)]);
    }

    #[tokio::test]
    async fn control_frames_round_trip() {
        let mut writer = FrameWriter::new();
        let mut bytes = Vec::new();
        for command in [
            Command::Pong { id: 9 },
            Command::Reset { id: 3, status: ResetStatus::Cancel },
            Command::GoAway { last: 5 },
            Command::Accept { id: 1 },
        ] {
            bytes.extend(writer.encode(command).0);
        }
        let (events, end) = read_all(&bytes).await;
        end.unwrap();
        assert_eq!(events, [Event::Ping { id: 9 }, Event::Reset { id: 3 }, Event::GoAway, Event::Ignored]);
    }

    #[tokio::test]
    async fn frames_that_break_the_protocol_end_the_connection() {
        for bytes in [
            &[0x80, 2, 0, 6, 0, 0, 0, 4][..],
            &[0, 0, 0, 0, 0, 0, 0, 1, 1],
            &[0x80, 3, 0, 77, 0, 0, 0, 0],
            &[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff],
            &[0x80, 3, 0, 6, 0, 0, 0, 2, 0, 0],
            &[0x80, 3, 0],
        ] {
            assert!(read_all(bytes).await.1.is_err(), "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..300)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut bytes = syn_stream(1);
            bytes.extend(noise);
            let _ = runtime.block_on(read_all(&bytes));
        }
    }
}
