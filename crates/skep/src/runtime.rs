//! Runtimes: one thread for commands, two workers and little memory for what runs for ever.

use std::{env, future::Future, os::unix::process::CommandExt, process::Command, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    error::{Error, Result, code},
    exit::Exit,
};

/// Settings of the C library's allocator, read once when a program starts: one arena instead of eight per processor (what
/// is free in one cannot be used by another), no store of free pieces per thread, larger pieces apart from small ones, and
/// memory is given back early. With twenty tenants it is 2.5 MB less than with the arena and threshold settings alone.
pub const ALLOCATOR: [(&str, &str); 1] = [(
    "GLIBC_TUNABLES",
    "glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0:glibc.malloc.top_pad=0\
     :glibc.malloc.trim_threshold=131072:glibc.malloc.mmap_threshold=32768",
)];
/// Threads for file operations; each keeps a stack and caches of its own.
const BLOCKING_THREADS: usize = 8;
/// For calls that still run when a command ends.
const LEAVE: Duration = Duration::from_secs(2);

/// Timers that may be late, so that the kernel lets a thread sleep through several of them and wakes it once (prctl(2),
/// `PR_SET_TIMERSLACK`). An idle control plane does little but wake up: a controller manager four hundred times a second,
/// mostly for the clocks of its queues. With this it is half as often. More than this is felt when one starts.
pub const PATIENT: Duration = Duration::from_millis(10);
/// As the kernel has it, for what runs other people's programs.
pub const PUNCTUAL: Duration = Duration::from_micros(50);

/// Runs a command's future.
pub fn command<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    run(tokio::runtime::Builder::new_current_thread(), future)
}

/// Runs a service's future; it and what it starts have [`PATIENT`] timers.
pub fn service<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    service_with(PATIENT, future)
}

/// Runs a service's future; its timers, and those of what it starts, may be this late.
pub fn service_with<T>(lateness: Duration, future: impl Future<Output = Result<T>>) -> Result<T> {
    // Started from /proc/self/exe it would be called `exe` where people look for it.
    let _ = nix::sys::prctl::set_name(c"skep");
    // Before there are threads: they have what the one has that makes them, and so have programs.
    let _ = nix::sys::prctl::set_timerslack(u64::try_from(lateness.as_nanos()).unwrap_or(u64::MAX));
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).thread_keep_alive(Duration::from_secs(2));
    run(builder, future)
}

fn run<T>(mut builder: tokio::runtime::Builder, future: impl Future<Output = Result<T>>) -> Result<T> {
    // The one TLS provider of the process; a second installation is refused and harmless.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = builder
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|error| Error::new(code::PART, Exit::Failure, format!("runtime: {error}")))?;
    let outcome = runtime.block_on(future);
    runtime.shutdown_timeout(LEAVE);
    outcome
}

/// Starts this program anew with [`ALLOCATOR`] when it was started without: the settings are read only at start.
pub fn with_allocator_settings() {
    if ALLOCATOR.iter().all(|(name, _)| env::var_os(name).is_some()) {
        return;
    }
    let mut again = Command::new("/proc/self/exe");
    again.arg0("skep").args(env::args_os().skip(1)).envs(ALLOCATOR);
    // It only returns when it failed; then it runs with more memory.
    let error = again.exec();
    tracing::debug!(%error, "exec");
}

/// Cancelled at the first SIGTERM or SIGINT.
pub fn stop_on_signals() -> Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    let failed = |error: std::io::Error| Error::new(code::PART, Exit::Failure, format!("signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        token.cancel();
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_starts_has_the_timers_it_was_given() {
        for (lateness, said) in [(PATIENT, "10000000"), (PUNCTUAL, "50000")] {
            // A thread of the runtime starts it, not the one that set it.
            let started = || Command::new("cat").arg("/proc/self/timerslack_ns").output();
            let output = service_with(lateness, async { Ok(tokio::task::spawn_blocking(started).await) });
            let output = output.unwrap().unwrap().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), said);
        }
    }
}
