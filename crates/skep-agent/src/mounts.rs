//! What is mounted where this process is (proc_pid_mountinfo(5)).

use std::{fs, io, path::PathBuf};

/// The kernel's list of them.
pub(crate) const MOUNTS: &str = "/proc/self/mountinfo";

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Device of the file system, `major:minor`.
    pub device: String,
    /// Where it is.
    pub at: PathBuf,
    /// Kind of file system.
    pub kind: String,
    /// Options of the file system.
    pub options: String,
}

/// All mounts, in the order they were made.
///
/// # Errors
/// The list cannot be read: there is no `/proc`.
pub fn all() -> io::Result<Vec<Mount>> {
    fs::read_to_string(MOUNTS)
        .map(|text| parse(&text))
        .map_err(|error| io::Error::new(error.kind(), format!("{MOUNTS}: {error}")))
}

/// Those in the text of `/proc/PID/mountinfo`; lines that are none are left out.
pub fn parse(text: &str) -> Vec<Mount> {
    let parse_line = |line: &str| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(2);
        let (device, at) = (mount.next()?, mount.nth(1)?);
        let mut filesystem = filesystem.split(' ');
        let (kind, options) = (filesystem.next()?, filesystem.nth(1)?);
        Some(Mount {
            device: device.to_owned(),
            at: PathBuf::from(unescape(at)),
            kind: kind.to_owned(),
            options: options.to_owned(),
        })
    };
    text.lines().filter_map(parse_line).collect()
}

/// Blanks and the like are octal numbers in the kernel's tables.
fn unescape(text: &str) -> String {
    let mut plain = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                plain.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            _ => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        let text =
            "40 31 0:37 / /a\\040b\\134c rw,relatime shared:9 master:1 - tmpfs none rw,mode=755\nnonsense\n";
        let [mount] = parse(text).try_into().unwrap();
        assert_eq!((mount.device.as_str(), mount.kind.as_str()), ("0:37", "tmpfs"));
        assert_eq!((mount.at.to_str().unwrap(), mount.options.as_str()), ("/a b\\c", "rw,mode=755"));
        assert!(all().unwrap().iter().any(|mount| mount.at.to_str() == Some("/proc")));
    }
}
