//! The first bytes of a connection, PROXY header and ClientHello, until it is known where it wants to go. Pure.

use std::net::{IpAddr, SocketAddr};

use crate::config::{IpNet, ProxyAccept, ProxyProtocol};
use crate::hello::{Scanner, ServerName, Verdict};
use crate::proxy_protocol::{Header, MAX_HEADER, Parsed, parse};
use crate::rejection::Rejection;

/// What the source of a connection may say with a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderRule {
    /// A header is believed about the tenant it names, and about nothing else: who names one gets no further than with a
    /// server name.
    Authority,
    /// A header is believed.
    Optional,
    /// There must be one.
    Required,
    /// Others must send one: this source cannot connect.
    Refused,
}

impl HeaderRule {
    /// The rule for a source.
    pub(crate) fn of(config: &ProxyProtocol, source: IpAddr) -> Self {
        let among = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&source.to_canonical()));
        match config.accept {
            ProxyAccept::Optional if among(&config.trusted) => Self::Optional,
            ProxyAccept::Required if among(&config.trusted) => Self::Required,
            ProxyAccept::Required => Self::Refused,
            ProxyAccept::Off | ProxyAccept::Optional => Self::Authority,
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
    /// Host that a header names.
    pub(crate) authority: Option<ServerName>,
    /// The client and what it connected to, as a trusted proxy says.
    pub(crate) addresses: Option<(SocketAddr, SocketAddr)>,
    /// Everything that arrived behind the PROXY header: what the API server must get first.
    pub(crate) bytes: Vec<u8>,
}

/// Collects a greeting of bounded size.
#[derive(Debug)]
pub(crate) struct Greeter {
    /// For the header that may come next; none when what is left is the hello.
    rule: Option<HeaderRule>,
    /// Bytes behind the headers so far.
    bytes: Vec<u8>,
    header: Header,
    scanner: Scanner,
    limit: usize,
}

impl Greeter {
    pub(crate) fn new(rule: HeaderRule, limit: usize) -> Self {
        let (bytes, header, scanner) = (Vec::new(), Header::default(), Scanner::default());
        Self { rule: Some(rule), bytes, header, scanner, limit }
    }

    /// How many bytes may be read next; 0 is never returned before [`take`](Self::take) refused.
    pub(crate) fn room(&self) -> usize {
        let limit = if self.rule.is_none() { self.limit } else { self.limit + MAX_HEADER };
        limit.saturating_sub(self.bytes.len())
    }

    /// Takes the next bytes, at most [`room`](Self::room) of them.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Option<Box<Greeting>>, Rejection> {
        let mut new = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        while let Some(rule) = self.rule {
            if !self.take_header(rule)? {
                return Ok(None);
            }
            new = 0;
        }
        let unread = self.bytes.get(new..).unwrap_or_default();
        let Some(verdict) = self.scanner.feed(unread)? else {
            return if self.room() == 0 { Err(Rejection::HelloTooLarge) } else { Ok(None) };
        };
        let (server_name, bare) = match verdict {
            Verdict::Name(name) => (Some(name), false),
            Verdict::NoName { protocols } => (None, !protocols),
        };
        let Header { addresses, authority } = std::mem::take(&mut self.header);
        let bytes = std::mem::take(&mut self.bytes);
        Ok(Some(Box::new(Greeting { server_name, bare, authority, addresses, bytes })))
    }

    /// Takes the next header off, if there is one; says whether that is known.
    ///
    /// Behind the header of a load balancer there may be that of a node, which says for which tenant it comes.
    fn take_header(&mut self, rule: HeaderRule) -> Result<bool, Rejection> {
        if rule == HeaderRule::Refused {
            return Err(Rejection::ProxyUntrusted);
        }
        match parse(&self.bytes)? {
            Parsed::Incomplete(_) => return Ok(false),
            Parsed::Absent if rule == HeaderRule::Required => return Err(Rejection::ProxyMalformed),
            Parsed::Absent => self.rule = None,
            Parsed::Complete(header, length) => {
                self.bytes.drain(..length);
                if let Some(authority) = header.authority {
                    self.header.authority = Some(authority);
                }
                self.rule = None;
                if rule != HeaderRule::Authority {
                    self.header.addresses = header.addresses;
                    self.rule = Some(HeaderRule::Authority);
                }
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
