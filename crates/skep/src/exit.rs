//! Exit codes: what scripts may rely on.

use std::process::ExitCode;

/// Why `skep` ends. Usage errors (2) are clap's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It failed for a reason of its own.
    Failure = 1,
    /// Arguments contradict each other or what is there.
    Usage = 2,
    /// The named object does not exist.
    NotFound = 3,
    /// It was not reached in time; it may still be reached later.
    Timeout = 4,
    /// No installation runs, or its API cannot be reached.
    NotRunning = 5,
    /// The API refused the object or the caller.
    Refused = 6,
}

impl Exit {
    /// All of them, for the help text and its test.
    pub const HELP: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 not reached in time, 5 not running or \
                            not reachable, 6 refused by the API";
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
