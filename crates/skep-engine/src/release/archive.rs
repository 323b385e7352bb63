//! Programs out of an archive. Only the members that were asked for are written, under the names that were asked for, so
//! nothing in an archive decides where a file goes.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::error::{Error, Result};

/// The largest member that is written.
const MAX_MEMBER: u64 = 512 << 20;

/// Unpacks members to files in `bin`, then removes the archive. Blocks.
pub(super) fn unpack(archive: &Path, members: &[(String, String)], bin: &Path) -> Result<()> {
    unpack_limited(archive, members, bin, MAX_MEMBER)
}

fn unpack_limited(archive: &Path, members: &[(String, String)], bin: &Path, limit: u64) -> Result<()> {
    let unreadable = Error::io("unpack", archive, limit);
    let mut missing: Vec<_> = members.iter().collect();
    let mut unpack = || -> io::Result<()> {
        let file = BufReader::new(File::open(archive)?);
        let mut tar = tar::Archive::new(flate2::bufread::GzDecoder::new(file));
        for entry in tar.entries()? {
            let entry = entry?;
            let path = entry.path()?.into_owned();
            let path = path.strip_prefix("./").unwrap_or(&path);
            let Some(at) = missing.iter().position(|(member, _)| path == Path::new(member)) else { continue };
            if !entry.header().entry_type().is_file() {
                return Err(io::Error::other(format!("{} is not a regular file", path.display())));
            }
            let (_, program) = missing.swap_remove(at);
            let mut target =
                File::options().write(true).create_new(true).mode(0o755).open(bin.join(program))?;
            if io::copy(&mut entry.take(limit + 1), &mut target)? > limit {
                return Err(io::Error::other(format!("{program} has more than {} MiB", limit >> 20)));
            }
        }
        match missing.first() {
            Some((member, _)) => Err(io::Error::other(format!("{member} is not in it"))),
            None => Ok(()),
        }
    };
    unpack().map_err(unreadable)?;
    fs::remove_file(archive).map_err(Error::io("remove", archive, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn archive(dir: &Path, build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> std::path::PathBuf {
        let mut tar = tar::Builder::new(Vec::new());
        build(&mut tar);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar.into_inner().unwrap()).unwrap();
        let path = dir.join("x.tar.gz");
        fs::write(&path, gzip.finish().unwrap()).unwrap();
        path
    }

    fn file(tar: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        // Straight into the header: the library refuses to write the hostile names that are tested here.
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        tar.append(&header, content).unwrap();
    }

    fn wanted() -> Vec<(String, String)> {
        vec![("e-1/etcd".into(), "etcd".into()), ("e-1/etcdctl".into(), "etcdctl".into())]
    }

    #[test]
    fn takes_what_it_was_asked_for_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let path = archive(dir.path(), |tar| {
            file(tar, "../evil", b"no");
            file(tar, "e-1/README.md", b"no");
            file(tar, "./e-1/etcdctl", b"ctl");
            file(tar, "e-1/etcd", b"server");
        });
        unpack(&path, &wanted(), &bin).unwrap();
        assert_eq!(fs::read(bin.join("etcd")).unwrap(), b"server");
        assert_eq!(fs::read(bin.join("etcdctl")).unwrap(), b"ctl");
        assert_eq!(fs::read_dir(&bin).unwrap().count(), 2);
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "the archive stayed, or something was added"
        );
    }

    #[test]
    fn refuses_links_missing_members_bombs_and_rubbish() {
        type Build = fn(&mut tar::Builder<Vec<u8>>);
        let cases: [(&str, Build); 3] = [
            ("not a regular file", |tar| {
                let mut header = tar::Header::new_gnu();
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                tar.append_link(&mut header, "e-1/etcd", "/etc/passwd").unwrap();
            }),
            ("is not in it", |tar| file(tar, "e-1/etcd", b"x")),
            ("more than", |tar| file(tar, "e-1/etcd", &[0; 5000])),
        ];
        for (why, build) in cases {
            let dir = tempfile::tempdir().unwrap();
            let error = unpack_limited(&archive(dir.path(), build), &wanted(), dir.path(), 4096).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, "not gzip").unwrap();
        assert_eq!(unpack(&path, &wanted(), dir.path()).unwrap_err().code().to_string(), "SKEP-1009");
    }
}
