//! The only unsafe code of the crate: what runs in a child between `fork` and `exec`, one `ioctl`, and the handing of
//! a descriptor to the runtime.
//!
//! Between `fork` and `exec` of a process with several threads only async-signal-safe calls are allowed: no memory
//! is allocated, no lock is taken, nothing is formatted. Everything [`ChildSetup`] needs is made before the fork.
//!
//! `PR_SET_PDEATHSIG` is left out on purpose: containers outlive the virtual node.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, setrlimit, setsid, umask};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// First descriptor that is not one of the three standard ones.
const FIRST_PRIVATE_FD: RawFd = 3;
/// Where the descriptor-by-descriptor fallback stops when the limit is huge or unlimited.
const HIGHEST_FD_TRIED: u64 = 65_536;
/// Highest signal number on Linux (`_NSIG` in `include/uapi/asm-generic/signal.h`).
const LAST_SIGNAL: libc::c_int = 64;

/// What a child does to itself before it becomes the program.
pub(super) struct ChildSetup {
    /// Its file mode creation mask.
    pub umask: u32,
    /// `cgroup.procs` of the cgroup to enter, open for writing.
    pub cgroup: Option<OwnedFd>,
    /// Whether descriptor 0 is a terminal that becomes its controlling terminal.
    pub terminal: bool,
}

impl ChildSetup {
    /// Makes `command` do this in the child. The child leads a session and a process group of its own, drops no core,
    /// can gain no privileges, handles every signal by default, and keeps no descriptor but 0, 1 and 2.
    pub(super) fn attach(self, command: &mut Command) {
        // SAFETY: `apply` makes system calls only (see the module header); it captures nothing but owned integers and
        // a descriptor, and touches no state that another thread of the parent may have locked.
        unsafe {
            command.pre_exec(move || self.apply());
        }
    }

    fn apply(&self) -> io::Result<()> {
        setsid()?;
        if self.terminal {
            // SAFETY: descriptor 0 is open: std has put the terminal there before it runs this.
            let terminal = unsafe { BorrowedFd::borrow_raw(0) };
            rustix::process::ioctl_tiocsctty(terminal)?;
        }
        umask(Mode::from_raw_mode(self.umask));
        setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
        rustix::thread::set_no_new_privs(true)?;
        default_signals();
        if let Some(cgroup) = &self.cgroup {
            // "0" stands for the writing process (Documentation/admin-guide/cgroup-v2.rst).
            rustix::io::write(cgroup, b"0")?;
        }
        close_on_exec_from(FIRST_PRIVATE_FD)
    }
}

/// Handlers vanish with `exec`, but ignored signals stay ignored: a program must not inherit that. By system call,
/// because the C library refuses the signals it uses itself.
fn default_signals() {
    // The kernel's `struct sigaction`: handler, flags, restorer, mask. All zero is `SIG_DFL` on every architecture.
    let default = [0u64; 4];
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: the kernel reads one structure, which is not longer than the array, and writes nothing back; for
        // SIGKILL and SIGSTOP it fails harmlessly.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null::<u64>(), 8usize);
        }
    }
}

/// Marks instead of closing: std reports a failed `exec` through a descriptor that must stay open until then.
fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    // SAFETY: a system call that takes three integers. Called by number so that an old C library will do.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first as libc::c_uint,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if done == 0 {
        return Ok(());
    }
    // Linux before 5.11: one by one, as far as descriptors can go.
    let limit = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(HIGHEST_FD_TRIED);
    for fd in first..RawFd::try_from(limit.min(HIGHEST_FD_TRIED)).unwrap_or(RawFd::MAX) {
        // SAFETY: a system call that takes integers; descriptors that are not open fail with EBADF, which is fine.
        unsafe {
            libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
    Ok(())
}

/// Registers a descriptor with the runtime.
pub(super) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned, so it stays open and the same until the registration ends with its owner.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

/// `struct pidfd_info`, first version, 64 bytes (`include/uapi/linux/pidfd.h`).
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// `PIDFD_INFO_EXIT` of the same header.
const PIDFD_INFO_EXIT: u64 = 1 << 3;
/// `PIDFD_GET_INFO`: `_IOWR(0xFF, 11, struct pidfd_info)`.
const PIDFD_GET_INFO: u32 = (3 << 30) | ((size_of::<PidfdInfo>() as u32) << 16) | (0xff << 8) | 11;

/// Wait status of a process that has been reaped by its parent, whoever that is. `None` when it has not been reaped
/// yet or the kernel (before 6.15) does not keep it.
pub(super) fn reaped_status(pidfd: impl AsFd) -> Option<i32> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the request number encodes the size of the structure, which lives until the call returns; the kernel
    // writes at most that many bytes.
    let done =
        unsafe { libc::ioctl(pidfd.as_fd().as_raw_fd(), PIDFD_GET_INFO as libc::Ioctl, &raw mut info) };
    (done == 0 && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}
