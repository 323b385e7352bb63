//! Mount paths become real directories.
//!
//! A container sees a volume at its mount path; a host process cannot. So wherever a mount path appears in the command
//! line, the environment or the working directory it is replaced by the directory on this machine. A mount path counts
//! only as a whole: it starts the text or follows something that cannot be part of a file name (`--dir=/data`,
//! `a:/data`, `/x,/data`, `"/data"`) or the `//` of a URL (`unix:///data/s`), and it ends the text or is followed by
//! `/` or something that cannot be part of a file name. Where one mount lies inside another the longer path wins.
//! What was put in is not looked at again.
//!
//! Paths *inside* files are not touched, and neither is what a program makes up at run time.

use std::path::{Path, PathBuf};

/// Replacements, longest mount path first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathMap {
    entries: Vec<(String, PathBuf)>,
}

/// Whether a character can be part of a file name without quoting.
fn in_name(c: char) -> bool {
    c.is_alphanumeric() || "._-+~@%$\\*{}!^".contains(c) || !c.is_ascii()
}

impl PathMap {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a mount. Paths that are not absolute, and `/` itself, are refused: `false`. A mount path given twice keeps
    /// the first.
    #[must_use]
    pub fn insert(&mut self, mount: &str, real: impl Into<PathBuf>) -> bool {
        let mount = mount.trim_end_matches('/');
        if !mount.starts_with('/') {
            return false;
        }
        if !self.entries.iter().any(|(m, _)| m == mount) {
            self.entries.push((mount.to_owned(), real.into()));
            self.entries.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then(a.cmp(b)));
        }
        true
    }

    /// Replaces the mount paths in a text.
    pub fn apply(&self, text: &str) -> String {
        if self.entries.is_empty() || !text.contains('/') {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut before: &str = "";
        while let Some(at) = rest.find('/') {
            let done = text.len() - rest.len() + at;
            out.push_str(rest.get(..at).unwrap_or_default());
            rest = rest.get(at..).unwrap_or_default();
            before = text.get(..done).unwrap_or(before);
            match self.entry(before, rest) {
                Some((mount, real)) => {
                    out.push_str(&real.to_string_lossy());
                    rest = rest.strip_prefix(mount).unwrap_or_default();
                }
                None => {
                    out.push('/');
                    rest = rest.strip_prefix('/').unwrap_or_default();
                }
            }
        }
        out.push_str(rest);
        out
    }

    /// The real path of a path that is inside a mount, or the path itself.
    pub fn resolve(&self, path: &str) -> PathBuf {
        match self.entry("", path) {
            Some((mount, real)) => {
                let rest = path.strip_prefix(mount).unwrap_or_default().trim_start_matches('/');
                if rest.is_empty() { real.to_path_buf() } else { real.join(rest) }
            }
            None => PathBuf::from(path),
        }
    }

    fn entry(&self, before: &str, from: &str) -> Option<(&str, &Path)> {
        let starts = match before.chars().next_back() {
            None => true,
            Some('/') => before.ends_with("://"),
            Some(c) => !in_name(c),
        };
        if !starts {
            return None;
        }
        let fits = |mount: &str| {
            let after = from.strip_prefix(mount)?.chars().next();
            after.is_none_or(|c| c == '/' || !in_name(c)).then_some(())
        };
        self.entries.iter().find(|(mount, _)| fits(mount).is_some()).map(|(m, r)| (m.as_str(), r.as_path()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map() -> PathMap {
        let mut map = PathMap::new();
        assert!(map.insert("/data", "/real/d"));
        assert!(map.insert("/data/wal/", "/real/w"));
        assert!(map.insert("/etc/pki", "/real/p"));
        map
    }

    #[test]
    fn replaces_whole_paths_wherever_they_stand() {
        for (input, expected) in [
            ("/data", "/real/d"),
            ("/data/", "/real/d/"),
            ("/data/x", "/real/d/x"),
            ("/data/wal/0.wal", "/real/w/0.wal"),
            ("/data/walnut", "/real/d/walnut"),
            ("--dir=/data", "--dir=/real/d"),
            ("--f=/etc/pki/a.crt,/etc/pki/b.crt", "--f=/real/p/a.crt,/real/p/b.crt"),
            ("key=unix:///data/s.sock", "key=unix:///real/d/s.sock"),
            ("unix:/data/s", "unix:/real/d/s"),
            ("file:///data", "file:///real/d"),
            ("cat /data/a > '/data/b'", "cat /real/d/a > '/real/d/b'"),
            ("PATH=/data/bin:/usr/bin:/data", "PATH=/real/d/bin:/usr/bin:/real/d"),
            ("{\"p\":\"/etc/pki\"}", "{\"p\":\"/real/p\"}"),
            ("$(cat /data/x)", "$(cat /real/d/x)"),
            ("é /data é", "é /real/d é"),
            // not a whole path
            ("/database", "/database"),
            ("/data.bak", "/data.bak"),
            ("/data-2/x", "/data-2/x"),
            ("/var/data", "/var/data"),
            ("/x/data/wal", "/x/data/wal"),
            ("a/data", "a/data"),
            ("./data", "./data"),
            ("https://host/data", "https://host/data"),
            ("//data", "//data"),
            ("é/data", "é/data"),
            ("", ""),
            ("no path", "no path"),
        ] {
            assert_eq!(map().apply(input), expected, "{input:?}");
        }
    }

    #[test]
    fn resolves_single_paths() {
        assert_eq!(map().resolve("/data/wal/1"), Path::new("/real/w/1"));
        assert_eq!(map().resolve("/data"), Path::new("/real/d"));
        assert_eq!(map().resolve("/other"), Path::new("/other"));
    }

    #[test]
    fn refuses_what_is_no_mount_path() {
        let mut map = PathMap::new();
        assert!(!map.insert("/", "/x"));
        assert!(!map.insert("relative", "/x"));
        assert!(!map.insert("", "/x"));
        assert!(map.insert("/a", "/first") && map.insert("/a/", "/second"));
        assert_eq!(map.apply("/a"), "/first");
    }

    proptest! {
        #[test]
        fn text_without_a_mount_is_untouched(text in "[^/]*|/[e-z]*(/[e-z]*)*") {
            prop_assert_eq!(map().apply(&text), text);
        }

        #[test]
        fn a_path_below_a_mount_keeps_its_tail(tail in "(/[a-z0-9._-]{1,8}){0,4}") {
            prop_assume!(!tail.starts_with("/wal/") && tail != "/wal");
            let expected = format!("/real/d{tail}");
            prop_assert_eq!(map().apply(&format!("/data{tail}")), expected.clone());
            prop_assert_eq!(map().apply(&format!("--a=/data{tail},x")), format!("--a={expected},x"));
            prop_assert_eq!(map().resolve(&format!("/data{tail}")), PathBuf::from(expected));
        }

        #[test]
        fn never_panics_and_order_of_mounts_does_not_matter(text in ".{0,40}", mounts in proptest::collection::vec("/[a-c]{1,2}(/[a-c]{1,2})?", 0..5)) {
            let (mut one, mut two) = (PathMap::new(), PathMap::new());
            for m in &mounts { assert!(one.insert(m, format!("/r{m}"))); }
            for m in mounts.iter().rev() { assert!(two.insert(m, format!("/r{m}"))); }
            prop_assert_eq!(one.apply(&text), two.apply(&text));
        }

        #[test]
        fn every_list_element_is_mapped(names in proptest::collection::vec("[a-z]{1,5}", 1..5)) {
            let flag = |root: &str| names.iter().map(|n| format!("{root}/x{n}")).collect::<Vec<_>>().join(",");
            prop_assert_eq!(map().apply(&format!("--f={}", flag("/data"))), format!("--f={}", flag("/real/d")));
        }
    }
}
