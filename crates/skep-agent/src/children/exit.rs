//! How a process ended.

use std::fmt;

use nix::sys::wait::WaitStatus;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It has ended, nobody knows how.
    Unknown,
}

impl From<WaitStatus> for Exit {
    fn from(status: WaitStatus) -> Self {
        match status {
            WaitStatus::Exited(_, code) => Self::Code(code),
            WaitStatus::Signaled(_, signal, _) => Self::Signal(signal as i32),
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("it is gone"),
        }
    }
}
