//! Host and port of `host:port`, `[host]:port` or a URL.

/// The host, without the brackets of an IPv6 address.
pub(crate) fn host(address: &str) -> &str {
    let authority = authority(address);
    authority.rsplit_once(':').map_or(authority, |(host, _)| host).trim_matches(['[', ']'])
}

/// The port, if one is named.
pub(crate) fn port(address: &str) -> Option<u16> {
    authority(address).rsplit_once(':')?.1.parse().ok()
}

fn authority(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_found() {
        for (address, found) in [
            ("127.0.0.1:8086", ("127.0.0.1", Some(8086))),
            ("[::1]:1", ("::1", Some(1))),
            ("a.svc:8086", ("a.svc", Some(8086))),
            ("a.svc", ("a.svc", None)),
            ("https://127.0.0.1:6443", ("127.0.0.1", Some(6443))),
            ("https://127.0.0.1:6443/", ("127.0.0.1", Some(6443))),
            ("https://gateway/x:1", ("gateway", None)),
        ] {
            assert_eq!((host(address), port(address)), found, "{address}");
        }
    }
}
