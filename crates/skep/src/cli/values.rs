//! Values of options, as people write them. What cannot be right is refused before anything is done.

use std::{str::FromStr, time::Duration};

use http::{Uri, uri::Authority};

/// Longest URL that is taken.
const URL: usize = 300;
/// Longest domain: with a tenant's name of at most 63 characters before it, it stays a DNS name (RFC 1035: 253).
const DOMAIN: usize = 253 - 64;

/// A length of time as people write it: `90s`, `5m`, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a length of time: write it like 90s, 5m or 1h30m");
        let mut total = Duration::ZERO;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(digits);
            let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit);
            let number: u32 = number.parse().map_err(|_| wrong())?;
            total += match unit {
                "s" => Duration::from_secs(1),
                "m" => Duration::from_secs(60),
                "h" => Duration::from_secs(3600),
                _ => return Err(wrong()),
            } * number;
            rest = tail;
        }
        if total.is_zero() { Err(wrong()) } else { Ok(Self(total)) }
    }
}

/// The URL of a gateway: `https`, a host and perhaps a port. Tenants are told apart by name, so that a path would say nothing.
pub fn gateway_url(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is not a URL like https://gateway.example.org:6443");
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    // Nothing but a host and a port that is one.
    let plain = |authority: &Authority| {
        let (host, port) = (authority.host(), authority.port_u16());
        !host.is_empty()
            && authority.as_str() == port.map_or(host.to_owned(), |port| format!("{host}:{port}"))
    };
    let fits = uri.scheme_str() == Some("https")
        && uri.authority().is_some_and(plain)
        && uri.path_and_query().is_none_or(|path| path.as_str() == "/")
        && text.len() <= URL;
    if fits { Ok(text.trim_end_matches('/').to_owned()) } else { Err(wrong()) }
}

/// A domain that tenants are named under: labels of RFC 1123.
pub fn domain(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        (1..=63).contains(&label.len())
            && label.chars().all(known)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= DOMAIN && text.split('.').all(label) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is not a domain like clusters.example.org, in small letters, of at most {DOMAIN} characters"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("1h30m", 5400), ("1h1m1s", 3661)] {
            assert_eq!(text.parse::<Span>().unwrap().0, Duration::from_secs(seconds));
        }
        for bad in ["", "5", "m", "5 m", "-5m", "0s", "5d", "1.5m", "99999999999s"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn urls_of_gateways() {
        for good in ["https://here", "https://here:6443", "https://127.0.0.1:6443", "https://[::1]:6443"] {
            assert_eq!(gateway_url(good).as_deref(), Ok(good));
            assert_eq!(gateway_url(&format!("{good}/")).as_deref(), Ok(good));
        }
        let long = format!("https://{}", "a".repeat(URL));
        for bad in [
            "",
            "here",
            "here:6443",
            "http://here",
            "https://",
            "https://:6443",
            "https:///x",
            "https://here/x",
            "https://here?x",
            "https://me@here",
            "https://here:",
            "https://here:66000",
            "https://he re",
            &long,
        ] {
            assert!(gateway_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn domains_of_tenants() {
        let long = ["a".repeat(63), "b".repeat(63), "c".repeat(61)].join(".");
        for good in ["skep.internal", "local", "1.example", "a-b.c", &long] {
            assert_eq!(domain(good).as_deref(), Ok(good));
        }
        let (label, longer) = ("a".repeat(64), format!("{long}d"));
        for bad in
            ["", ".", "a.", ".a", "a..b", "A.b", "-a.b", "a-.b", "a_b", "a b", "*.a", "a/b", &label, &longer]
        {
            assert!(domain(bad).is_err(), "{bad}");
        }
    }
}
