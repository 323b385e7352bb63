//! The first bytes of a connection, PROXY header and ClientHello, until it is known where it wants to go. Pure.

use std::net::{IpAddr, SocketAddr};

use crate::config::{IpNet, ProxyAccept, ProxyProtocol};
use crate::hello::{Scanner, ServerName, Verdict};
use crate::proxy_protocol::{Header, MAX_HEADER, Parsed, SIGNATURE, parse};
use crate::rejection::Rejection;

/// What the source of a connection may say with a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderRule {
    /// Nobody sends headers here.
    Ignored,
    /// A header from this source closes the connection.
    Refused,
    /// A header is believed.
    Optional,
    /// A header is believed about the tenant it names, and about nothing else.
    Authority,
    /// There must be one.
    Required,
}

impl HeaderRule {
    /// The rule for a source.
    pub(crate) fn of(config: &ProxyProtocol, source: IpAddr) -> Self {
        let among = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&source.to_canonical()));
        match config.accept {
            ProxyAccept::Optional if among(&config.trusted) => Self::Optional,
            ProxyAccept::Required if among(&config.trusted) => Self::Required,
            _ if among(&config.nodes) => Self::Authority,
            ProxyAccept::Off => Self::Ignored,
            ProxyAccept::Optional | ProxyAccept::Required => Self::Refused,
        }
    }
}

/// A complete greeting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    /// Host of the ClientHello.
    pub(crate) server_name: Option<ServerName>,
    /// It has no server name and offers no protocols: what an API server before 1.36 says on its way to the tunnel, and
    /// hardly anybody else.
    pub(crate) bare: bool,
    /// Host a trusted proxy names.
    pub(crate) authority: Option<ServerName>,
    /// The client and what it connected to, as a trusted proxy says.
    pub(crate) addresses: Option<(SocketAddr, SocketAddr)>,
    /// Everything that arrived behind the PROXY header: what the API server must get first.
    pub(crate) bytes: Vec<u8>,
}

/// Collects a greeting of bounded size.
#[derive(Debug)]
pub(crate) struct Greeter {
    rule: HeaderRule,
    /// Bytes behind the header, or all bytes while it is not known whether there is one.
    bytes: Vec<u8>,
    header: Option<Header>,
    /// The header, if any, is out of `bytes`.
    past_header: bool,
    scanner: Scanner,
    limit: usize,
}

impl Greeter {
    pub(crate) fn new(rule: HeaderRule, limit: usize) -> Self {
        let past_header = rule == HeaderRule::Ignored;
        Self { rule, bytes: Vec::new(), header: None, past_header, scanner: Scanner::default(), limit }
    }

    /// How many bytes may be read next; 0 is never returned before [`take`](Self::take) refused.
    pub(crate) fn room(&self) -> usize {
        let limit = if self.past_header { self.limit } else { self.limit + MAX_HEADER };
        limit.saturating_sub(self.bytes.len())
    }

    /// Takes the next bytes, at most [`room`](Self::room) of them.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Option<Box<Greeting>>, Rejection> {
        let mut new = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        if !self.past_header {
            match self.take_header()? {
                Some(behind) => {
                    self.bytes.drain(..behind);
                    new = 0;
                }
                None => return Ok(None),
            }
        }
        let unread = self.bytes.get(new..).unwrap_or_default();
        let Some(verdict) = self.scanner.feed(unread)? else {
            return if self.room() == 0 { Err(Rejection::HelloTooLarge) } else { Ok(None) };
        };
        let (server_name, bare) = match verdict {
            Verdict::Name(name) => (Some(name), false),
            Verdict::NoName { protocols } => (None, !protocols),
        };
        let Header { addresses, authority } = self.header.take().unwrap_or_default();
        let bytes = std::mem::take(&mut self.bytes);
        Ok(Some(Box::new(Greeting { server_name, bare, authority, addresses, bytes })))
    }

    /// Reads the header; how many bytes it took, or nothing if it is not complete.
    fn take_header(&mut self) -> Result<Option<usize>, Rejection> {
        if self.rule == HeaderRule::Refused {
            // One byte is enough: no ClientHello begins like a header. An empty read decides nothing.
            self.past_header = !self.bytes.is_empty();
            let header = self.bytes.first() == SIGNATURE.first();
            return if header { Err(Rejection::ProxyUntrusted) } else { Ok(self.past_header.then_some(0)) };
        }
        match parse(&self.bytes)? {
            Parsed::Incomplete(_) => Ok(None),
            Parsed::Complete(header, length) => {
                let addresses = header.addresses.filter(|_| self.rule != HeaderRule::Authority);
                (self.header, self.past_header) = (Some(Header { addresses, ..header }), true);
                Ok(Some(length))
            }
            Parsed::Absent if self.rule == HeaderRule::Required => Err(Rejection::ProxyMalformed),
            Parsed::Absent => {
                self.past_header = true;
                Ok(Some(0))
            }
        }
    }
}

#[cfg(test)]
mod tests;
