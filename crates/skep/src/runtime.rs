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

/// Runs a command's future.
pub fn command<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    run(tokio::runtime::Builder::new_current_thread(), future)
}

/// Runs a service's future.
pub fn service<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    // Started from /proc/self/exe it would be called `exe` where people look for it.
    let _ = nix::sys::prctl::set_name(c"skep");
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
