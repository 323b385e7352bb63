//! Published digests: a bare hex digest (`<file>.sha256`), or lines of `sha256sum` (`SHA256SUMS`).

use crate::digest::is_sha256;

/// The digest of `file` in a published text, in lower case. `None` when the text has none, or when it contradicts itself.
pub(super) fn find(text: &str, file: &str) -> Option<String> {
    let text = text.trim();
    if is_sha256(text) {
        return Some(text.to_ascii_lowercase());
    }
    let mut found = None;
    for line in text.lines() {
        // `<hex>  <name>`, or `<hex> *<name>` for files read in binary mode.
        let Some((hex, name)) = line.trim().split_once([' ', '\t']) else { continue };
        let name = name.trim_start().trim_start_matches('*');
        let name = name.strip_prefix("./").unwrap_or(name);
        if name != file || !is_sha256(hex) {
            continue;
        }
        let hex = hex.to_ascii_lowercase();
        if found.as_ref().is_some_and(|earlier| *earlier != hex) {
            return None;
        }
        found = Some(hex);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::find;
    use proptest::prelude::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";

    #[test]
    fn forms() {
        assert_eq!(find(&format!("{A}\n"), "kubectl").as_deref(), Some(A));
        assert_eq!(find(B, "kubectl"), Some(B.to_lowercase()));
        let list = format!("{B}  other.tar.gz\n{A}  x.tar.gz\n{B} *./y\n");
        assert_eq!(find(&list, "x.tar.gz").as_deref(), Some(A));
        assert_eq!(find(&list, "y"), Some(B.to_lowercase()));
    }

    #[test]
    fn what_is_no_digest_of_the_file_is_none() {
        for text in [
            String::new(),
            "<html>please log in</html>".into(),
            A[1..].into(),
            format!("{A} {A}"),
            format!("{A}  x.tar.gz.asc"),
            format!("{A}  dir/x.tar.gz"),
            format!("{A}  x.tar.gz\n{B}  x.tar.gz"),
        ] {
            assert_eq!(find(&text, "x.tar.gz"), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_gives_anything_but_a_digest(text in "([0-9a-f]{60,68}|\\PC{0,20}|[ \t*\n]){0,8}") {
            if let Some(digest) = find(&text, "x") {
                prop_assert!(crate::digest::is_sha256(&digest));
            }
        }
    }
}
