//! URLs: which may be asked at all, and where a redirect leads.

use std::net::IpAddr;

use http::Uri;

use super::Upstream;
use crate::config::Releases;
use crate::error::{Error, Result};

/// The base URL for a publisher's files; `None` when releases are off.
///
/// # Errors
/// [`Error::InvalidConfig`] for a mirror that cannot be used.
pub(crate) fn base(releases: &Releases, upstream: Upstream) -> Result<Option<Uri>> {
    match releases {
        Releases::Off => Ok(None),
        Releases::Upstream => Ok(Some(match upstream {
            Upstream::Kubernetes => Uri::from_static("https://dl.k8s.io"),
            Upstream::GitHub => Uri::from_static("https://github.com"),
        })),
        Releases::Mirror(text) => {
            let refuse =
                |why: &str| Error::InvalidConfig { setting: "SKEP_ENGINE_RELEASES", why: why.to_owned() };
            let uri: Uri = text
                .parse()
                .map_err(|_| refuse("it is not a URL; write https://host/path, or `off` to build"))?;
            if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
                return Err(refuse("a URL with a password in it ends up in logs"));
            }
            if uri.query().is_some() {
                return Err(refuse("a URL with a query cannot have paths added to it"));
            }
            allowed(&uri).map_err(|why| refuse(&why))?;
            Ok(Some(uri))
        }
    }
}

/// `https`, or `http` to this machine: over plain `http` anybody on the way could change a file and its digest.
pub(super) fn allowed(uri: &Uri) -> Result<(), String> {
    let host = uri.host().unwrap_or_default();
    match uri.scheme_str() {
        Some("https") if !host.is_empty() => Ok(()),
        Some("http") if is_loopback(host) => Ok(()),
        Some("http") => Err(format!("{host} is not this machine: use https")),
        _ => Err("only https URLs can be used, and http ones of this machine".to_owned()),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// `<base>/<path>`.
pub(super) fn below(base: &Uri, path: &str) -> Result<Uri> {
    let text = format!("{}/{path}", base.to_string().trim_end_matches('/'));
    text.parse().map_err(|_| Error::InvalidConfig {
        setting: "SKEP_ENGINE_RELEASES",
        why: format!("{text} is not a URL"),
    })
}

/// Where a `Location` header leads, or why it is not followed.
pub(super) fn redirect(from: &Uri, location: &str) -> Result<Uri, String> {
    let scheme = from.scheme_str().unwrap_or("https");
    let authority = from.authority().map(|a| a.as_str()).unwrap_or_default();
    let absolute = if location.contains("://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let dir = from.path().rsplit_once('/').map_or("", |(dir, _)| dir);
        format!("{scheme}://{authority}{dir}/{location}")
    };
    let to: Uri = absolute.parse().map_err(|_| "it redirects to something that is not a URL".to_owned())?;
    allowed(&to)?;
    if scheme == "https" && to.scheme_str() != Some("https") {
        return Err("it redirects from https to http".to_owned());
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(text: &str) -> Result<Option<Uri>> {
        base(&Releases::Mirror(text.into()), Upstream::GitHub)
    }

    #[test]
    fn bases() {
        assert_eq!(base(&Releases::Off, Upstream::GitHub).unwrap(), None);
        assert_eq!(base(&Releases::Upstream, Upstream::GitHub).unwrap().unwrap().host(), Some("github.com"));
        for good in
            ["https://mirror.example/k8s/", "http://127.0.0.1:80", "http://[::1]:80/x", "http://localhost"]
        {
            let uri = mirror(good).unwrap().unwrap();
            let file = below(&uri, "a/b").unwrap().to_string();
            assert_eq!(file, format!("{}/a/b", good.trim_end_matches('/')));
        }
        for bad in [
            "http://mirror.example",
            "http://127.0.0.1.example.org",
            "ftp://x",
            "/a",
            "mirror.example",
            "https://u:secret@x",
            "https://x/?a=b",
            "on",
            "",
        ] {
            let error = mirror(bad).unwrap_err();
            assert_eq!(error.code().to_string(), "SKEP-1007", "{bad}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn redirects() {
        let from: Uri = "https://a.example/x/y?z".parse().unwrap();
        for (location, to) in [
            ("https://b.example/q", "https://b.example/q"),
            ("//b.example/q", "https://b.example/q"),
            ("/q", "https://a.example/q"),
            ("q", "https://a.example/x/q"),
        ] {
            assert_eq!(redirect(&from, location).unwrap().to_string(), to);
        }
        for bad in ["http://a.example/x", "http://127.0.0.1/x", "file:///etc/passwd", "ht tp://"] {
            assert!(redirect(&from, bad).is_err(), "{bad}");
        }
        let local: Uri = "http://127.0.0.1:1/x".parse().unwrap();
        assert!(redirect(&local, "http://127.0.0.2:1/y").is_ok());
        assert!(redirect(&local, "http://a.example/y").is_err());
    }
}
