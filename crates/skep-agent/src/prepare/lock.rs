//! One agent at a time works in a directory.

use std::{
    fs::{File, OpenOptions},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use crate::{Error, Result, files};

/// The right to work in a directory, until it is dropped or the process ends. Its programs do not inherit it.
#[derive(Debug)]
pub(crate) struct Lock(#[allow(dead_code, reason = "held, not read")] Flock<File>);

impl Lock {
    /// Makes the directory and takes the right to work in it.
    pub(crate) fn take(state: &Path) -> Result<Self> {
        files::directory(state, 0o711)?;
        let path = state.join("lock");
        let file = OpenOptions::new().create(true).write(true).truncate(false).open(&path);
        let file = file.map_err(Error::file("open", &path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self(lock)),
            Err((_, Errno::EWOULDBLOCK)) => Err(Error::Busy { path: state.to_owned() }),
            Err((_, errno)) => Err(Error::file("lock", &path)(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_gets_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("node");
        let first = Lock::take(&state).unwrap();
        assert!(matches!(Lock::take(&state), Err(Error::Busy { .. })));
        drop(first);
        Lock::take(&state).unwrap();
    }
}
