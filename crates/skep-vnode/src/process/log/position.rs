//! How far copying has come, in one small file that is overwritten in place.
//!
//! It is written by one system call, so a killed node leaves the old or the new numbers. A checksum tells when a
//! crashed machine left something else; then copying starts over.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// First number: says what this is and which version.
const MAGIC: u64 = 0x736b_6570_6c6f_6701;
const NUMBERS: usize = 6;

/// The numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// Bytes of each raw file that are in the log.
    pub raw: [u64; 2],
    /// Length of the log then.
    pub log: u64,
    /// Which file the log was.
    pub inode: u64,
}

impl Position {
    pub(super) fn read(file: &File) -> Option<Self> {
        let mut bytes = [0; NUMBERS * 8];
        file.read_exact_at(&mut bytes, 0).ok()?;
        let mut numbers = [0; NUMBERS];
        for (number, chunk) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
            *number = u64::from_le_bytes(chunk.try_into().ok()?);
        }
        let [magic, out, err, log, inode, sum] = numbers;
        (magic == MAGIC && sum == checksum(out, err, log, inode)).then_some(Self {
            raw: [out, err],
            log,
            inode,
        })
    }

    pub(super) fn write(self, file: &File) -> io::Result<()> {
        let [out, err] = self.raw;
        let sum = checksum(out, err, self.log, self.inode);
        let mut bytes = [0; NUMBERS * 8];
        for (chunk, number) in bytes.chunks_exact_mut(8).zip([MAGIC, out, err, self.log, self.inode, sum]) {
            chunk.copy_from_slice(&number.to_le_bytes());
        }
        file.write_all_at(&bytes, 0)
    }
}

fn checksum(out: u64, err: u64, log: u64, inode: u64) -> u64 {
    [out, err, log, inode]
        .iter()
        .fold(MAGIC, |sum, n| (sum ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_and_notices_damage() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(Position::read(&file), None);
        let position = Position { raw: [10, 1 << 40], log: 77, inode: 5 };
        position.write(&file).unwrap();
        assert_eq!(Position::read(&file), Some(position));
        file.write_all_at(&[9], 20).unwrap();
        assert_eq!(Position::read(&file), None);
    }
}
