//! What is written down so that another run of the node can go on: the pod, and each run of each container.
//!
//! Files are replaced atomically. A record is written *before* its process is started and again when it runs: a
//! process without a finished record is found by its marker, so none is lost and none is started twice.

use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::backoff::Backoff;
use super::layout::Layout;
use crate::process::handle::ProcessId;

/// Format of these files; a node refuses to read a newer one.
pub(in super::super) const FORMAT: u32 = 1;
/// Records of a container that are kept: the present run and the one before.
const KEPT: usize = 2;

/// `pod.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct PodRecord {
    pub format: u32,
    /// Without status and managed fields.
    pub pod: Pod,
    pub pod_ip: IpAddr,
    /// Containers that ended in another sandbox than this are started as after a reboot: from the init containers on
    /// and without back-off.
    pub sandbox: String,
}

/// One run of a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct AttemptRecord {
    pub format: u32,
    pub container: String,
    pub attempt: u32,
    pub sandbox: String,
    /// Image as in the spec: another one means another container.
    pub image: String,
    pub image_id: String,
    pub bin_dirs: Vec<PathBuf>,
    pub host_programs: bool,
    pub directory: PathBuf,
    pub created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Has come up.
    #[serde(default)]
    pub started: bool,
    #[serde(default)]
    pub ready: bool,
    /// Has been ready at some time.
    #[serde(default)]
    pub was_ready: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    #[serde(default)]
    pub backoff: Backoff,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Ended>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Ended {
    pub attempt: u32,
    pub exit_code: i32,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    pub finished_at: Timestamp,
    pub image_id: String,
    pub sandbox: String,
}

impl AttemptRecord {
    pub(in super::super) fn save(&self, layout: &Layout) -> io::Result<()> {
        save(&layout.record(&self.container, self.attempt), self)
    }

    /// The end of a run whose process has gone without anybody seeing it.
    pub(in super::super) fn lost(&self) -> Ended {
        Ended {
            attempt: self.attempt,
            exit_code: 137,
            reason: "ContainerStatusUnknown".into(),
            message: Some("The container could not be located: it ended while the node was away".into()),
            started_at: self.started_at,
            finished_at: Timestamp::now(),
            image_id: self.image_id.clone(),
            sandbox: self.sandbox.clone(),
        }
    }
}

/// Replaces a file atomically.
pub(in super::super) fn save(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(value)?;
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    let draft = parent.join(name);
    let write = || {
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&text)
    };
    match write() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            super::layout::private(parent)?;
            write()?;
        }
        other => other?,
    }
    std::fs::rename(&draft, path)
}

/// Reads a file that [`save`] wrote; `None` when there is none. One that makes no sense is an error.
pub(in super::super) fn load<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match std::fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The records of a container, newest first. Older ones than those that matter are deleted.
pub(in super::super) fn attempts(layout: &Layout, container: &str) -> io::Result<Vec<AttemptRecord>> {
    let mut numbers: Vec<u32> = Vec::new();
    match std::fs::read_dir(layout.container(container)) {
        Ok(entries) => {
            for entry in entries {
                let name = entry?.file_name();
                numbers.extend(
                    name.to_str().and_then(|n| n.strip_suffix(".json")).and_then(|n| n.parse::<u32>().ok()),
                );
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    for old in numbers.split_off(numbers.len().min(KEPT)) {
        layout.forget(container, old);
    }
    let mut records = Vec::new();
    for number in numbers {
        match load::<AttemptRecord>(&layout.record(container, number)) {
            Ok(found) => records.extend(found.filter(|r| r.format <= FORMAT)),
            // Written by a newer version or damaged: its process, if any, is found by its marker.
            Err(error) => tracing::warn!(container, number, %error, "a record cannot be read"),
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::PodUid;

    fn record(attempt: u32) -> AttemptRecord {
        AttemptRecord {
            format: FORMAT,
            container: "c".into(),
            attempt,
            sandbox: "s".into(),
            image: "i".into(),
            image_id: "id".into(),
            bin_dirs: vec!["/bin".into()],
            host_programs: true,
            directory: "/".into(),
            created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            process: None,
            started_at: None,
            started: false,
            ready: false,
            was_ready: false,
            resources: None,
            backoff: Backoff::default(),
            end: None,
        }
    }

    #[test]
    fn only_the_last_runs_are_kept_and_damage_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), &PodUid::parse("u").unwrap());
        for attempt in 0..4 {
            record(attempt).save(&layout).unwrap();
        }
        assert_eq!(attempts(&layout, "c").unwrap(), [record(3), record(2)]);
        assert!(!layout.record("c", 1).exists());
        std::fs::write(layout.record("c", 3), "{").unwrap();
        assert_eq!(attempts(&layout, "c").unwrap(), [record(2)]);
        assert_eq!(attempts(&layout, "none").unwrap(), []);
        let mut newer = record(3);
        newer.format = FORMAT + 1;
        newer.save(&layout).unwrap();
        assert_eq!(attempts(&layout, "c").unwrap(), [record(2)]);
    }
}
