//! One line of a log: `2026-11-21T06:12:00.123456789Z stdout F text`. The tag is `F` at the end of a line and `P` where
//! a line goes on in the next entry (Container Runtime Interface, `kubelet-cri-logging.md`).

use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

/// Longest entry: longer lines are cut into parts (containerd's `max_container_log_line_size`).
pub(super) const LONGEST: usize = 16 * 1024;

static PRINTER: LazyLock<DateTimePrinter> = LazyLock::new(|| DateTimePrinter::new().precision(Some(9)));

/// The two outputs in the order of their raw files.
pub(super) const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// Time as it stands in a log, always with nine digits.
pub(super) fn time(at: Timestamp) -> String {
    PRINTER.timestamp_to_string(&at)
}

/// Appends an entry. `text` has no line end in it.
pub(super) fn push(out: &mut Vec<u8>, time: &str, stream: usize, complete: bool, text: &[u8]) {
    out.extend_from_slice(time.as_bytes());
    out.push(b' ');
    out.extend_from_slice(STREAMS.get(stream).unwrap_or(&"stdout").as_bytes());
    out.extend_from_slice(if complete { b" F " } else { b" P " });
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// An entry that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub time: &'a str,
    pub stream: &'a str,
    pub complete: bool,
    pub text: &'a [u8],
}

/// Reads an entry without its line end; `None` when it is not one.
pub(super) fn parse(line: &[u8]) -> Option<Entry<'_>> {
    let mut parts = line.splitn(4, |&b| b == b' ');
    let mut word = || std::str::from_utf8(parts.next()?).ok();
    let (time, stream, tag) = (word()?, word()?, word()?);
    let text = parts.next()?;
    let complete = match tag.split(':').next()? {
        "F" => true,
        "P" => false,
        _ => return None,
    };
    Some(Entry { time, stream, complete, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let mut out = Vec::new();
        let at: Timestamp = "2026-11-21T06:12:00.5Z".parse().unwrap();
        push(&mut out, &time(at), 1, true, b"a b  c");
        assert_eq!(out, b"2026-11-21T06:12:00.500000000Z stderr F a b  c\n");
        let entry = parse(&out[..out.len() - 1]).unwrap();
        assert_eq!(
            entry,
            Entry {
                time: "2026-11-21T06:12:00.500000000Z",
                stream: "stderr",
                complete: true,
                text: b"a b  c"
            }
        );
        assert!(!parse(b"t stdout P x").unwrap().complete);
        assert_eq!(parse(b"t stdout F ").unwrap().text, b"");
        for bad in [&b""[..], b"t stdout", b"t stdout X y", b"\xff \xff F x"] {
            assert_eq!(parse(bad), None);
        }
    }
}
