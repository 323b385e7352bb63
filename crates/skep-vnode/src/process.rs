//! Running pods as host processes: no root, no containers, no images.
//!
//! Two layers. The lower one knows nothing of pods and is usable on its own: [`Spawn`] starts a program with nothing
//! of ours in it, [`Process`] waits for it and signals it safely, [`marker`] finds it again after a restart, [`stop`]
//! ends it and everything it left. The upper one, [`ProcessBackend`], is the [`PodBackend`](crate::backend::PodBackend)
//! that runs pods with it.
//!
//! What a pod gets: its own address, environment, volumes, logs, probes, restarts and orderly end, as a kubelet would
//! give them. What it does not get, because that needs root or a kernel feature that is not there: another user
//! (`runAsUser`, `fsGroup` and capabilities are ignored; everything runs as the user of the virtual node), a root
//! file system of its own (mount paths are mapped in command, arguments, environment and working directory, see
//! [`paths`]), read-only mounts (a mount marked `readOnly` is writable for a program that insists), a network of its
//! own (any process may listen on any address).

mod backend;
mod beside;
mod cgroup;
mod config;
mod environment;
mod exec;
pub mod expand;
mod fields;
mod handle;
pub mod log;
pub mod marker;
pub mod paths;
mod pod;
mod probe;
pub mod procfs;
mod program;
mod pty;
mod spawn;
mod stats;
mod stop;
mod sys;
#[cfg(test)]
mod testing;
mod volumes;
mod work;

pub use backend::ProcessBackend;
pub use cgroup::CgroupMode;
pub use config::{ProcessConfig, Timings};
pub use handle::{Exit, Process, ProcessId};
pub use log::LogPolicy;
pub use marker::{Found, Marker};
pub use rustix::process::Signal;
pub use spawn::{Spawn, SpawnError, Stream};
pub use stop::{StopPlan, kill, stop, stop_in_order, sweep};
