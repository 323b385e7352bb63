//! The handshake message inside the records, as a machine of numbers, gaps and one name.
//!
//! Every length is checked against what encloses it the moment it is read ([`Message::reserve`]), so nothing can run
//! past its enclosing list. Layout: RFC 8446 section 4.1.2; server name: RFC 6066 section 3.

use super::{HelloError, MAX_MESSAGE, ServerName, Verdict};

/// Handshake type `client_hello`.
const CLIENT_HELLO: u32 = 1;
/// Extension type `server_name`.
const SERVER_NAME: u32 = 0;
/// Extension type `application_layer_protocol_negotiation`, RFC 7301.
const PROTOCOLS: u32 = 16;
/// Name type `host_name`.
const HOST_NAME: u32 = 0;
/// Version and random, which say nothing about the destination.
const VERSION_AND_RANDOM: u32 = 2 + 32;
/// Longest session id.
const MAX_SESSION_ID: u32 = 32;

/// The number that is being read.
#[derive(Clone, Copy, Debug)]
enum Field {
    MessageType,
    MessageLength,
    SessionIdLength,
    CipherSuitesLength,
    CompressionLength,
    ExtensionsLength,
    ExtensionType,
    ExtensionLength { server_name: bool },
    NameListLength,
    NameType,
    NameLength,
}

impl Field {
    /// Bytes of this number.
    fn width(self) -> u8 {
        match self {
            Self::MessageLength => 3,
            Self::MessageType | Self::SessionIdLength | Self::CompressionLength | Self::NameType => 1,
            _ => 2,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Reading a number: bytes still missing, value so far.
    Number(Field, u8, u32),
    /// Passing over bytes, then reading this number.
    Skip(u32, Field),
    /// Copying the name: bytes still missing.
    Name(u32),
}

#[derive(Debug)]
pub(super) struct Message {
    step: Step,
    /// Bytes of the innermost open list that nothing has claimed yet.
    scope: u32,
    /// What of the server name has arrived.
    name: ServerName,
    /// Application protocols are offered, as far as it has been read.
    protocols: bool,
}

impl Default for Message {
    fn default() -> Self {
        // The header is outside of every list: its own four bytes are granted here.
        Self {
            step: Step::Number(Field::MessageType, 1, 0),
            scope: 4,
            name: ServerName::EMPTY,
            protocols: false,
        }
    }
}

impl Message {
    /// Whether no byte of the message has arrived.
    pub(super) fn is_untouched(&self) -> bool {
        matches!(self.step, Step::Number(Field::MessageType, 1, _))
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<Option<Verdict>, HelloError> {
        loop {
            match self.step {
                Step::Skip(0, next) => match self.after_gap(next)? {
                    Some(verdict) => return Ok(Some(verdict)),
                    None => continue,
                },
                Step::Name(0) => return Ok(Some(Verdict::Name(self.name.clone()))),
                _ => {}
            }
            let Some((&byte, rest)) = bytes.split_first() else { return Ok(None) };
            match &mut self.step {
                Step::Skip(left, _) => {
                    let n = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= u32::try_from(n).unwrap_or(*left);
                    bytes = bytes.get(n..).unwrap_or_default();
                }
                Step::Name(left) => {
                    *left -= 1;
                    bytes = rest;
                    self.name.push(byte).ok_or(HelloError::BadName)?;
                }
                Step::Number(field, missing, value) => {
                    *value = *value << 8 | u32::from(byte);
                    *missing -= 1;
                    bytes = rest;
                    let (field, missing, value) = (*field, *missing, *value);
                    if missing == 0 {
                        self.number(field, value)?;
                    }
                }
            }
        }
    }

    /// Claims bytes of the innermost list.
    fn reserve(&mut self, bytes: u32) -> Result<(), HelloError> {
        self.scope = self.scope.checked_sub(bytes).ok_or(HelloError::Malformed)?;
        Ok(())
    }

    /// After a gap the list may be over, which ends the message where that is allowed.
    fn after_gap(&mut self, next: Field) -> Result<Option<Verdict>, HelloError> {
        if self.scope == 0 && matches!(next, Field::ExtensionsLength | Field::ExtensionType) {
            return Ok(Some(Verdict::NoName { protocols: self.protocols }));
        }
        self.reserve(next.width().into())?;
        self.step = Step::Number(next, next.width(), 0);
        Ok(None)
    }

    /// A gap of this length, which must fit, then the next number.
    fn skip(&mut self, bytes: u32, next: Field) -> Result<(), HelloError> {
        self.reserve(bytes)?;
        self.step = Step::Skip(bytes, next);
        Ok(())
    }

    fn number(&mut self, field: Field, value: u32) -> Result<(), HelloError> {
        let ensure = |ok: bool| if ok { Ok(()) } else { Err(HelloError::Malformed) };
        match field {
            Field::MessageType => {
                ensure(value == CLIENT_HELLO)?;
                self.skip(0, Field::MessageLength)
            }
            Field::MessageLength if value > MAX_MESSAGE => Err(HelloError::TooLarge),
            Field::MessageLength => {
                self.scope = value;
                self.skip(VERSION_AND_RANDOM, Field::SessionIdLength)
            }
            Field::SessionIdLength => {
                ensure(value <= MAX_SESSION_ID)?;
                self.skip(value, Field::CipherSuitesLength)
            }
            Field::CipherSuitesLength => {
                ensure(value >= 2 && value.is_multiple_of(2))?;
                self.skip(value, Field::CompressionLength)
            }
            Field::CompressionLength => {
                ensure(value >= 1)?;
                self.skip(value, Field::ExtensionsLength)
            }
            Field::ExtensionsLength => {
                // The extensions are the last part: anything else behind them is not a ClientHello.
                ensure(value == self.scope)?;
                self.skip(0, Field::ExtensionType)
            }
            Field::ExtensionType => {
                self.protocols |= value == PROTOCOLS;
                self.skip(0, Field::ExtensionLength { server_name: value == SERVER_NAME })
            }
            Field::ExtensionLength { server_name: false } => self.skip(value, Field::ExtensionType),
            Field::ExtensionLength { server_name: true } => {
                self.reserve(value)?;
                // From here to the answer only this extension counts.
                self.scope = value;
                self.skip(0, Field::NameListLength)
            }
            Field::NameListLength => {
                ensure(value == self.scope)?;
                self.skip(0, Field::NameType)
            }
            // Other name types were never defined, so their length is unknown: there is no name for us.
            Field::NameType if value != HOST_NAME => Err(HelloError::BadName),
            Field::NameType => self.skip(0, Field::NameLength),
            Field::NameLength => {
                self.reserve(value)?;
                if value == 0 {
                    return Err(HelloError::BadName);
                }
                self.step = Step::Name(value);
                Ok(())
            }
        }
    }
}
