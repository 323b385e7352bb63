//! Header blocks: name/value lists inside one zlib stream per direction.
//!
//! Reading inflates with a hard limit on what comes out (a few bytes can inflate to megabytes). Writing uses stored
//! blocks: what this side sends is nearly always empty, and stored blocks need no compressor state.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::dictionary;

/// Inflated size of one header block: Kubernetes' clients send three short headers.
const MAX_BLOCK: usize = 16 * 1024;
/// Headers in one block.
const MAX_HEADERS: u32 = 64;
/// History deflate may refer to (RFC 1951).
const WINDOW: usize = 32 * 1024;
/// An empty stored block: Go's reader hands out what came before only when it meets one, and otherwise takes the end of
/// the frame for the end of the stream.
const SYNC: [u8; 5] = [0, 0, 0, 0xff, 0xff];
/// Largest stored block (RFC 1951, section 3.2.4).
const MAX_STORED: usize = 0xffff;

/// Why a header block was refused; the connection cannot go on, because the shared compression state is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The zlib stream does not start with a header that names SPDY's dictionary.
    #[error("header compression does not start with the SPDY dictionary")]
    NotOurDictionary,
    /// The compressed data are damaged or end the stream.
    #[error("damaged header compression")]
    Damaged,
    /// More inflated bytes or more headers than allowed.
    #[error("a header block may hold {MAX_HEADERS} headers and {MAX_BLOCK} bytes")]
    TooLarge,
    /// The name/value list does not have the shape it announces.
    #[error("malformed header list")]
    Malformed,
}

/// Headers of one stream; names are lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// First value of `name`, compared without case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.split('\0').next().unwrap_or_default())
    }

    fn parse(block: &[u8]) -> Result<Self, HeaderError> {
        let mut rest = block;
        let count = take_u32(&mut rest)?;
        if count > MAX_HEADERS {
            return Err(HeaderError::TooLarge);
        }
        let mut headers = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let name = take_text(&mut rest)?.to_ascii_lowercase();
            let value = take_text(&mut rest)?;
            if name.is_empty() || headers.iter().any(|(known, _)| *known == name) {
                return Err(HeaderError::Malformed);
            }
            headers.push((name, value));
        }
        if rest.is_empty() { Ok(Self(headers)) } else { Err(HeaderError::Malformed) }
    }
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, HeaderError> {
    let (head, tail) = rest.split_first_chunk::<4>().ok_or(HeaderError::Malformed)?;
    *rest = tail;
    Ok(u32::from_be_bytes(*head))
}

fn take_text(rest: &mut &[u8]) -> Result<String, HeaderError> {
    let length = take_u32(rest)? as usize;
    let (head, tail) = rest.split_at_checked(length).ok_or(HeaderError::Malformed)?;
    *rest = tail;
    String::from_utf8(head.to_vec()).map_err(|_| HeaderError::Malformed)
}

/// The reading side of header compression; one per connection, fed every header block in order.
pub struct Inflater {
    state: Box<DecompressorOxide>,
    window: Vec<u8>,
    position: usize,
    started: bool,
}

impl Inflater {
    /// A reader that has seen nothing yet.
    pub fn new() -> Self {
        let mut window = vec![0; WINDOW];
        let dictionary = dictionary::bytes();
        window[..dictionary.len()].copy_from_slice(dictionary);
        Self { state: Box::default(), window, position: dictionary.len(), started: false }
    }

    /// The headers in `block`, which is the whole compressed part of one frame.
    pub fn read(&mut self, block: &[u8]) -> Result<Headers, HeaderError> {
        let mut input = block;
        if !self.started {
            // The zlib header is read here because the inflater has no notion of a preset dictionary: CMF, FLG with
            // FDICT, DICTID (RFC 1950). The dictionary is then simply the history before the first byte.
            let (head, tail) = input.split_first_chunk::<6>().ok_or(HeaderError::NotOurDictionary)?;
            let [cmf, flags, id @ ..] = *head;
            let checked = u16::from_be_bytes([cmf, flags]) % 31 == 0;
            if cmf & 0x0f != 8 || flags & 0x20 == 0 || !checked || u32::from_be_bytes(id) != dictionary::ID {
                return Err(HeaderError::NotOurDictionary);
            }
            input = tail;
            self.started = true;
        }
        let mut inflated = Vec::new();
        loop {
            let (status, consumed, produced) = decompress(
                &mut self.state,
                input,
                &mut self.window,
                self.position,
                TINFL_FLAG_HAS_MORE_INPUT,
            );
            let written =
                self.window.get(self.position..self.position + produced).ok_or(HeaderError::Damaged)?;
            if inflated.len() + written.len() > MAX_BLOCK {
                return Err(HeaderError::TooLarge);
            }
            inflated.extend_from_slice(written);
            self.position = (self.position + produced) % WINDOW;
            input = input.get(consumed..).ok_or(HeaderError::Damaged)?;
            match status {
                TINFLStatus::HasMoreOutput => {}
                TINFLStatus::NeedsMoreInput if input.is_empty() => break,
                _ => return Err(HeaderError::Damaged),
            }
        }
        Headers::parse(&inflated)
    }
}

/// The writing side of header compression.
pub struct Deflater {
    started: bool,
}

impl Deflater {
    /// A writer that has written nothing yet.
    pub fn new() -> Self {
        Self { started: false }
    }

    /// Appends a block with `headers` to `out`.
    pub fn write(&mut self, headers: &[(&str, &str)], out: &mut Vec<u8>) {
        let mut block = (headers.len() as u32).to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            block.extend_from_slice(&(text.len() as u32).to_be_bytes());
            block.extend_from_slice(text.as_bytes());
        }
        if !self.started {
            self.started = true;
            // Deflate with a 32 KiB window, FDICT; 0x7820 already is a multiple of 31, so no check bits.
            out.extend_from_slice(&[0x78, 0x20]);
            out.extend_from_slice(&dictionary::ID.to_be_bytes());
        }
        for piece in block.chunks(MAX_STORED) {
            let length = piece.len() as u16;
            out.push(0);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&(!length).to_le_bytes());
            out.extend_from_slice(piece);
        }
        out.extend_from_slice(&SYNC);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What Go's client sends first: `streamtype: error` deflated with the dictionary at best compression and flushed
    /// (bytes taken from a run of `compress/zlib`).
    fn go_error_stream() -> Vec<u8> {
        include_bytes!("testdata/syn_stream_error.zlib").to_vec()
    }

    #[test]
    fn blocks_of_the_real_client_are_read_in_order() {
        let mut inflater = Inflater::new();
        let headers = inflater.read(&go_error_stream()).unwrap();
        assert_eq!(headers.get("streamType"), Some("error"));
        let second = include_bytes!("testdata/syn_stream_data.zlib");
        let headers = inflater.read(second).unwrap();
        assert_eq!(headers.get("streamtype"), Some("data"));
        assert_eq!(headers.get("port"), Some("8080"));
        assert_eq!(headers.get("requestid"), Some("7"));
    }

    #[test]
    fn a_block_is_what_go_reads() {
        let mut out = Vec::new();
        Deflater::new().write(&[], &mut out);
        assert_eq!(u16::from_be_bytes([out[0], out[1]]) % 31, 0);
        assert!(out.ends_with(&SYNC));
    }

    #[test]
    fn another_dictionary_is_refused() {
        let mut block = go_error_stream();
        block[3] ^= 1;
        assert_eq!(Inflater::new().read(&block), Err(HeaderError::NotOurDictionary));
        assert_eq!(Inflater::new().read(&[]), Err(HeaderError::NotOurDictionary));
    }

    #[test]
    fn a_block_that_inflates_too_far_is_refused() {
        let mut out = Vec::new();
        let huge = "x".repeat(MAX_BLOCK + 1);
        Deflater::new().write(&[("a", &huge)], &mut out);
        assert_eq!(Inflater::new().read(&out), Err(HeaderError::TooLarge));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(blocks in prop::collection::vec(
            prop::collection::btree_map("[a-z][a-z-]{0,20}", "[ -~]{0,60}", 0..8), 1..40)) {
            let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new());
            for block in blocks {
                let pairs: Vec<_> = block.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                let mut out = Vec::new();
                deflater.write(&pairs, &mut out);
                let read = inflater.read(&out).unwrap();
                for (name, value) in &block {
                    prop_assert_eq!(read.get(name), Some(value.as_str()));
                }
            }
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut inflater = Inflater::new();
            let mut block = go_error_stream();
            block.truncate(6);
            block.extend(noise);
            let _ = inflater.read(&block);
        }
    }
}
