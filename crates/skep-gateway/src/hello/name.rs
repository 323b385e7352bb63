//! A host name as it stands in SNI, without allocation.

use std::fmt;

/// Longest DNS name.
const MAX: usize = 255;

/// A host name in lower case, at most 255 bytes of letters, digits, `-`, `_` and `.`.
#[derive(Clone)]
pub struct ServerName {
    bytes: [u8; MAX],
    length: u8,
}

impl ServerName {
    pub(crate) const EMPTY: Self = Self { bytes: [0; MAX], length: 0 };

    /// Reads a name, or nothing if it is not a host name.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut name = Self::EMPTY;
        text.iter().try_for_each(|&byte| name.push(byte))?;
        (name.length > 0).then_some(name)
    }

    /// Adds one byte; nothing if it does not belong into a host name or there is no room.
    pub(crate) fn push(&mut self, byte: u8) -> Option<()> {
        if !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
            return None;
        }
        *self.bytes.get_mut(usize::from(self.length))? = byte.to_ascii_lowercase();
        self.length += 1;
        Some(())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
        // Only ASCII gets in through `push`.
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl PartialEq for ServerName {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for ServerName {}

impl fmt::Debug for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
