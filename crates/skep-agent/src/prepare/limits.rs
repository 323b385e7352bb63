//! Limits that the programs inherit.

use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    stat::{Mode, umask},
};

/// Files for all who may read them, as the programs expect, and as many open ones as the machine allows.
pub(super) fn set() {
    // What holds secrets is written with a mode of its own.
    umask(Mode::from_bits_truncate(0o022));
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "limit of open files");
    }
}
