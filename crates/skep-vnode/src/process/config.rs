//! What a process backend is made with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::cgroup::CgroupMode;
use super::log::LogPolicy;
use crate::backend::ImageSource;

/// Settings of a [`ProcessBackend`](super::ProcessBackend).
#[derive(Clone)]
pub struct ProcessConfig {
    /// Where pods, their volumes, logs and records are kept. Made when missing; nobody else may enter it.
    pub data_dir: PathBuf,
    /// Names the installation: first part of the marker of every process.
    pub instance: String,
    /// Names the node: second part of it.
    pub node: String,
    /// Where programs come from.
    pub images: Arc<dyn ImageSource>,
    /// How much of each log is kept.
    pub logs: LogPolicy,
    /// Whether to use cgroups.
    pub cgroups: CgroupMode,
    /// Delays.
    pub timings: Timings,
}

impl ProcessConfig {
    /// Settings with defaults for everything that has one.
    pub fn new(
        data_dir: impl Into<PathBuf>,
        instance: impl Into<String>,
        node: impl Into<String>,
        images: Arc<dyn ImageSource>,
    ) -> Self {
        Self {
            data_dir: data_dir.into(),
            instance: instance.into(),
            node: node.into(),
            images,
            logs: LogPolicy::default(),
            cgroups: CgroupMode::default(),
            timings: Timings::default(),
        }
    }
}

/// Delays. The defaults are the kubelet's; tests make them shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// First back-off of a container that ended, and of an image that is not there.
    pub backoff: Duration,
    /// Longest back-off.
    pub backoff_longest: Duration,
    /// A container that ran this long after its last back-off begins anew.
    pub backoff_forget: Duration,
    /// After this long a container that could not be configured is tried again; sooner when something changes.
    pub retry: Duration,
    /// First back-off of volumes that are not ready; doubles up to [`Timings::retry`].
    pub volume_retry: Duration,
    /// What a container is given between SIGTERM and SIGKILL at least (`minimumGracePeriodInSeconds`).
    pub least_grace: Duration,
    /// Bound on everything an image source does for one container; a build may take minutes.
    pub image_deadline: Duration,
    /// How often the size of an `emptyDir` with a limit is looked at.
    pub size_check: Duration,
    /// How long the first word for a failure stays before its `…BackOff` is shown.
    pub announce: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            backoff: Duration::from_secs(10),
            backoff_longest: Duration::from_secs(300),
            backoff_forget: Duration::from_secs(600),
            retry: Duration::from_secs(10),
            volume_retry: Duration::from_millis(500),
            least_grace: Duration::from_secs(2),
            image_deadline: Duration::from_secs(30 * 60),
            size_check: Duration::from_secs(60),
            announce: Duration::from_secs(2),
        }
    }
}
