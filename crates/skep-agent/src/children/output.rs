//! Short runs of other programs: input in, output out, an end in time.

use std::{io, os::fd::OwnedFd, process::Command, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
    time::timeout,
};

use super::{Children, Exit};

/// Output that is kept: routes of some ten thousand nodes. More than this is an error.
const MAX_OUTPUT: u64 = 16 << 20;
/// Error output that is kept; the rest is thrown away.
const MAX_ERRORS: u64 = 8 << 10;

/// What a program did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// How it ended.
    pub exit: Exit,
    /// What it wrote.
    pub out: Vec<u8>,
    /// The beginning of what it complained about, as text.
    pub errors: String,
}

impl Output {
    /// What it wrote, if it ended well; otherwise what it said.
    pub(crate) fn success(self) -> Result<Vec<u8>, String> {
        match self.exit {
            Exit::Code(0) => Ok(self.out),
            exit if self.errors.is_empty() => Err(exit.to_string()),
            exit => Err(format!("{exit}: {}", self.errors.trim().replace('\n', "; "))),
        }
    }
}

impl Children {
    /// Runs a program to its end; kills it after `patience`.
    pub(crate) async fn run(
        &self,
        mut command: Command,
        input: &[u8],
        patience: Duration,
    ) -> io::Result<Output> {
        let (stdin, to_child) = io::pipe()?;
        let (out, stdout) = io::pipe()?;
        let (errors, stderr) = io::pipe()?;
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        let mut child = self.spawn(command)?;
        let mut to_child = pipe::Sender::from_owned_fd(OwnedFd::from(to_child))?;
        let mut out = pipe::Receiver::from_owned_fd(OwnedFd::from(out))?;
        let mut errors = pipe::Receiver::from_owned_fd(OwnedFd::from(errors))?;
        let write = async move {
            // A program that does not read to the end says why by itself.
            let _ = to_child.write_all(input).await;
        };
        let talk = async {
            let ((), out, errors) =
                tokio::join!(write, read(&mut out, MAX_OUTPUT), read(&mut errors, MAX_ERRORS));
            (out, errors, child.wait().await)
        };
        let talked = timeout(patience, talk).await;
        let Ok((out, errors, exit)) = talked else {
            child.kill();
            child.wait().await;
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no end after {} s", patience.as_secs()),
            ));
        };
        let (out, whole) = out?;
        if !whole {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too much output"));
        }
        Ok(Output { exit, out, errors: String::from_utf8_lossy(&errors?.0).into_owned() })
    }
}

/// Reads to the end, keeps the first `most` bytes and says whether that was all.
async fn read(from: &mut (impl AsyncRead + Unpin), most: u64) -> io::Result<(Vec<u8>, bool)> {
    let mut kept = Vec::new();
    (&mut *from).take(most).read_to_end(&mut kept).await?;
    let rest = tokio::io::copy(from, &mut tokio::io::sink()).await?;
    Ok((kept, rest == 0))
}
