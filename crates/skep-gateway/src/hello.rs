//! Reads the server name out of a TLS ClientHello without terminating TLS.
//!
//! Guarantees: total (no input makes it panic), incremental (each byte is looked at once, whatever the segments), no
//! allocation (its state is a few hundred bytes), and monotone (once it has an answer, more bytes cannot change it).
//! It refuses what is not TLS, what is malformed up to the server name, and messages above [`MAX_MESSAGE`].
//! It does not judge what follows the server name: that is the API server's work.

mod message;
mod name;

pub use name::ServerName;

use message::Message;

/// Longest ClientHello that is read, without record headers. RFC 8446 allows 2^24-1; the largest in use, with
/// post-quantum key shares and ECH, are below 4 KiB.
pub const MAX_MESSAGE: u32 = 16 * 1024;
/// Longest plaintext record, RFC 8446 section 5.1.
const MAX_RECORD: u16 = 1 << 14;
/// Content type `handshake`, RFC 8446 section 5.1.
const HANDSHAKE: u8 = 22;
/// Length of a record header: type, two bytes of version, two bytes of length.
const RECORD_HEADER: usize = 5;

/// What a complete ClientHello says about its destination.
#[derive(Clone, Debug, PartialEq, Eq)]
// The name is copied out of a buffer that is reused; a box would be an allocation for each connection.
#[allow(clippy::large_enum_variant)]
pub enum Verdict {
    /// It asks for this host.
    Name(ServerName),
    /// It has no server name.
    NoName {
        /// Whether it offers application protocols (ALPN): every browser, kubectl and curl does.
        protocols: bool,
    },
}

/// Why bytes are not a ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// The first byte is not that of a TLS handshake record: plain HTTP, SSH, SSLv2, noise.
    #[error("not a TLS handshake")]
    NotTls,
    /// A record or a length inside the message is impossible.
    #[error("malformed ClientHello")]
    Malformed,
    /// The message is longer than [`MAX_MESSAGE`].
    #[error("ClientHello above {MAX_MESSAGE} bytes")]
    TooLarge,
    /// The server name is empty, longer than a DNS name or has characters that no host name has.
    #[error("server name that is not a host name")]
    BadName,
}

/// The reader: [`feed`](Self::feed) it every byte that arrives, once.
#[derive(Debug, Default)]
pub struct Scanner {
    header: [u8; RECORD_HEADER],
    /// Bytes of `header` that have arrived.
    have: usize,
    /// Bytes of the current record's body that have not.
    left: usize,
    message: Message,
    /// The first answer is the only one: no later byte can change where a connection goes.
    answer: Option<Result<Verdict, HelloError>>,
}

impl Scanner {
    /// Takes the next bytes of the stream. `Ok(None)` means: more is needed.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Verdict>, HelloError> {
        if self.answer.is_none() {
            self.answer = self.read(bytes).transpose();
        }
        self.answer.clone().transpose()
    }

    fn read(&mut self, mut bytes: &[u8]) -> Result<Option<Verdict>, HelloError> {
        while !bytes.is_empty() {
            if self.left == 0 {
                bytes = self.read_header(bytes)?;
            } else {
                let (body, rest) = bytes.split_at(self.left.min(bytes.len()));
                self.left -= body.len();
                bytes = rest;
                if let Some(verdict) = self.message.push(body)? {
                    return Ok(Some(verdict));
                }
            }
        }
        Ok(None)
    }

    /// Takes one byte of a record header and returns the rest. Errors show at the first byte that makes them certain.
    fn read_header<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], HelloError> {
        let Some((&byte, rest)) = bytes.split_first() else { return Ok(bytes) };
        match self.have {
            0 if byte != HANDSHAKE && self.message.is_untouched() => return Err(HelloError::NotTls),
            0 if byte != HANDSHAKE => return Err(HelloError::Malformed),
            1 if byte != 3 => return Err(HelloError::Malformed),
            _ => {}
        }
        if let Some(slot) = self.header.get_mut(self.have) {
            *slot = byte;
        }
        self.have += 1;
        if self.have == RECORD_HEADER {
            let [_, _, _, high, low] = self.header;
            let length = u16::from_be_bytes([high, low]);
            // Empty handshake records are forbidden (RFC 8446, 5.1): they would be bytes without progress.
            if length == 0 || length > MAX_RECORD {
                return Err(HelloError::Malformed);
            }
            (self.left, self.have) = (usize::from(length), 0);
        }
        Ok(rest)
    }
}

#[cfg(test)]
mod tests;
