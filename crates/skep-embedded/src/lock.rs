//! One supervisor per data directory.
//!
//! The lock is the kernel's (`flock`): it goes away with the process however that ends, so there is no stale lock to
//! clean up. The process id in the file is for people and for messages only.

use std::{
    fs::{self, File, OpenOptions},
    io::{Seek, Write},
    os::unix::fs::OpenOptionsExt,
    process,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use crate::{Error, Layout, Result};

/// The lock of a data directory, held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

/// The lock is held by another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// What that process wrote into the file, 0 when it has not yet.
    pub pid: u32,
}

/// Takes the lock, or says who has it.
///
/// # Errors
/// [`Error::DataDir`] when the lock file cannot be opened or written.
pub fn acquire(layout: &Layout) -> Result<Result<Lock, Held>> {
    let path = layout.lock();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|source| Error::io(&path, source))?;
    let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => file,
        Err((_, Errno::EWOULDBLOCK)) => {
            let pid = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            return Ok(Err(Held { pid }));
        }
        Err((_, errno)) => return Err(Error::io(&path, errno.into())),
    };
    let write = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", process::id())
    };
    write(&mut file).map_err(|source| Error::io(&path, source))?;
    Ok(Ok(Lock { _file: file }))
}
