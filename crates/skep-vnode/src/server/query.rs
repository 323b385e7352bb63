//! Query strings: repeated names, percent-encoding, nothing kept.

/// The pairs of a query, decoded; `+` is a space. Pairs that are no UTF-8 are dropped.
#[must_use]
pub fn pairs(query: Option<&str>) -> Vec<(String, String)> {
    let parts = query.unwrap_or_default().split('&').filter(|part| !part.is_empty());
    parts
        .filter_map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Some((decode(name)?, decode(value)?))
        })
        .collect()
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The last value of `name`.
#[must_use]
pub fn last<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Whether `name` is switched on, as Go parses it.
#[must_use]
pub fn on(pairs: &[(String, String)], name: &str) -> bool {
    matches!(last(pairs, name), Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn commands_come_in_order_and_decoded() {
        let pairs = pairs(Some("command=sh&command=-c&command=echo+%22a%26b%22&tty=1&bad=%zz"));
        let command: Vec<_> = pairs.iter().filter(|(k, _)| k == "command").map(|(_, v)| v.as_str()).collect();
        assert_eq!(command, ["sh", "-c", "echo \"a&b\""]);
        assert!(on(&pairs, "tty") && !on(&pairs, "input"));
        assert_eq!(last(&pairs, "bad"), None);
    }

    proptest! {
        #[test]
        fn noise_never_panics(text in "\\PC{0,60}") {
            let _ = pairs(Some(&text));
        }
    }
}
