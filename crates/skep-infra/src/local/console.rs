//! The console of a machine: what its first process says, over all its starts.
//!
//! The machine appends to a file that belongs to nobody else; whoever asks about the machine cuts it. What programs of the
//! node log is the agent's to bound, and is elsewhere.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use crate::{Error, Result};

/// The file, in the machine's directory.
pub(super) const FILE: &str = "console.log";
/// Bytes above which the file is cut, and bytes that are left of it then.
const MOST: u64 = 1 << 20;
const KEPT: u64 = 256 << 10;
/// Bytes that are shown: of the console, and in an error.
pub(super) const SHOWN: u64 = 64 << 10;
pub(super) const IN_ERRORS: u64 = 1 << 10;

/// The end of the console, from the beginning of a line. Nothing when there is none.
pub(super) fn tail(dir: &Path, most: u64) -> Result<String> {
    let path = dir.join(FILE);
    match read_tail(&path, most) {
        Ok(bytes) => Ok(text(&bytes, most)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Error::file("read", path)(error)),
    }
}

/// Cuts the console when it has become too long. What the machine writes in this very moment may be lost.
pub(super) fn cut(dir: &Path) -> Result<()> {
    let path = dir.join(FILE);
    if fs::metadata(&path).map_or(0, |metadata| metadata.len()) <= MOST {
        return Ok(());
    }
    let shorten = || -> io::Result<()> {
        let kept = read_tail(&path, KEPT)?;
        // The same file, as the machine has it open; it appends, so it goes on at the new end.
        let file = OpenOptions::new().append(true).open(&path)?;
        file.set_len(0)?;
        io::Write::write_all(&mut &file, text(&kept, KEPT).as_bytes())
    };
    shorten().map_err(Error::file("cut", path.clone()))
}

fn read_tail(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    // The machine may go on writing meanwhile.
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whole lines, at most so many bytes.
fn text(bytes: &[u8], most: u64) -> String {
    let full = u64::try_from(bytes.len()).is_ok_and(|length| length >= most);
    let begin = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) if full => end + 1,
        _ => 0,
    };
    let mut text = String::from_utf8_lossy(bytes.get(begin..).unwrap_or_default()).into_owned();
    // What is no text grows when it is replaced.
    while u64::try_from(text.len()).is_ok_and(|length| length > most) {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_console_is_bounded_and_ends_with_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(tail(dir.path(), SHOWN).unwrap(), "");
        cut(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        let mut machine = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        for line in 0..100_000 {
            writeln!(machine, "line number {line}").unwrap();
        }
        let shown = tail(dir.path(), SHOWN).unwrap();
        assert!(shown.len() as u64 <= SHOWN && shown.len() as u64 > SHOWN - 20);
        assert!(shown.starts_with("line number ") && shown.ends_with("line number 99999\n"));
        cut(dir.path()).unwrap();
        assert!(fs::metadata(&path).unwrap().len() <= KEPT);
        writeln!(machine, "later").unwrap();
        let shown = tail(dir.path(), SHOWN).unwrap();
        assert!(shown.ends_with("line number 99999\nlater\n"), "{}", &shown[shown.len() - 40..]);
        assert!(!shown.contains('\0'));
    }

    #[test]
    fn what_is_no_text_stays_within_bounds() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), vec![0xff; 100_000]).unwrap();
        assert!(tail(dir.path(), SHOWN).unwrap().len() as u64 <= SHOWN);
    }
}
