//! What is known about an installation while it runs: one snapshot, changed in place, seen by everybody who watches.
//!
//! The same snapshot is the progress of a start, the answer of `skep status` and the progress of a stop, so that they
//! cannot contradict each other.

use std::{path::PathBuf, sync::Arc, time::Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Where the installation is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Steps are being done.
    Starting,
    /// Everything runs.
    Ready,
    /// On the way down.
    Stopping,
    /// Everything is stopped.
    Stopped,
    /// The start failed; what had been started is stopped again.
    Failed,
}

/// One step of a start or stop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What is done, in a few words.
    pub name: String,
    /// What is happening in it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How long it took, in milliseconds, once it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub millis: Option<u64>,
}

/// State of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Started, not ready yet.
    Starting,
    /// Ready.
    Running,
    /// Ended by itself; will be started again after a pause.
    Waiting,
    /// Stopped on purpose.
    Stopped,
}

/// One part of the installation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Its state.
    pub health: Health,
    /// Process id; none for parts of the supervisor's own process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How often it was started again since the supervisor's start.
    pub restarts: u32,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// Why it waits or how it ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a failed start says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Number of its code.
    pub code: u16,
    /// What happened.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// How to reach the installation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// URL of the hub's API server.
    pub hub: String,
    /// Address the gateway listens on.
    pub gateway: String,
    /// URL of the gateway in tenants' kubeconfigs.
    pub gateway_url: String,
    /// URL of metrics and health of this process.
    pub metrics: String,
    /// Loopback network of the pods.
    pub network: String,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Version of the supervisor.
    pub version: String,
    /// Process id of the supervisor.
    pub pid: u32,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where it is in its life.
    pub phase: Phase,
    /// When the supervisor started.
    pub started: Timestamp,
    /// Steps done and the one being done.
    pub steps: Vec<Step>,
    /// Parts.
    pub components: Vec<Component>,
    /// Addresses, once they are chosen.
    pub endpoints: Endpoints,
    /// Things that are wrong but do not stop it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// Writer of the snapshot. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Board {
    snapshot: Arc<watch::Sender<Snapshot>>,
}

impl Board {
    /// A board for a start that has not done anything yet.
    pub fn new(data_dir: PathBuf) -> Self {
        let snapshot = Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            data_dir,
            phase: Phase::Starting,
            started: Timestamp::now(),
            steps: Vec::new(),
            components: Vec::new(),
            endpoints: Endpoints::default(),
            warnings: Vec::new(),
            failure: None,
        };
        Self { snapshot: Arc::new(watch::Sender::new(snapshot)) }
    }

    /// Follows every change.
    pub fn watch(&self) -> watch::Receiver<Snapshot> {
        self.snapshot.subscribe()
    }

    /// A copy of the snapshot.
    pub fn get(&self) -> Snapshot {
        self.snapshot.borrow().clone()
    }

    /// Changes the snapshot.
    pub fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        self.snapshot.send_modify(change);
    }

    /// Enters a new phase.
    pub fn phase(&self, phase: Phase) {
        self.update(|snapshot| snapshot.phase = phase);
    }

    /// Begins a step; it ends with [`Running::done`].
    pub fn step(&self, name: &str) -> Running {
        self.update(|snapshot| {
            snapshot.steps.push(Step { name: name.to_owned(), detail: None, millis: None });
        });
        tracing::info!(step = name, "begin");
        Running { board: self.clone(), name: name.to_owned(), since: Instant::now() }
    }

    /// Sets state, process and message of a component; `since` moves only when the state or the process changes.
    pub fn component(
        &self,
        name: &str,
        health: Health,
        pid: Option<u32>,
        restarts: u32,
        message: Option<String>,
    ) {
        self.snapshot.send_if_modified(|snapshot| {
            let since = Timestamp::now();
            let new = Component { name: name.to_owned(), health, pid, restarts, since, message };
            match snapshot.components.iter_mut().find(|component| component.name == name) {
                Some(old) => {
                    let same = (old.health, old.pid) == (new.health, new.pid);
                    let new = if same { Component { since: old.since, ..new } } else { new };
                    let changed = *old != new;
                    *old = new;
                    changed
                }
                None => {
                    snapshot.components.push(new);
                    true
                }
            }
        });
    }
}

/// A step that is being done.
#[derive(Debug)]
pub struct Running {
    board: Board,
    name: String,
    since: Instant,
}

impl Running {
    /// What is happening in it now.
    pub fn detail(&self, text: impl Into<String>) {
        let text = text.into();
        self.change(|step| step.detail = Some(text));
    }

    /// It is done.
    pub fn done(self) {
        let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(step = self.name, millis, "done");
        self.change(|step| {
            step.detail = None;
            step.millis = Some(millis);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Step)) {
        self.board.update(|snapshot| {
            if let Some(step) = snapshot.steps.iter_mut().rfind(|step| step.name == self.name) {
                change(step);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_components_are_seen_by_watchers_and_survive_the_wire() {
        let board = Board::new("/data".into());
        let mut watcher = board.watch();
        let step = board.step("etcd");
        step.detail("starting");
        board.component("etcd", Health::Starting, Some(7), 0, None);
        let first = board.get().components[0].since;
        board.component("etcd", Health::Starting, Some(7), 0, Some("still".into()));
        assert_eq!(board.get().components[0].since, first);
        step.done();
        assert!(watcher.has_changed().unwrap());
        let seen = watcher.borrow_and_update().clone();
        assert!(seen.steps[0].millis.is_some() && seen.steps[0].detail.is_none());
        let text = serde_json::to_string(&seen).unwrap();
        assert_eq!(serde_json::from_str::<Snapshot>(&text).unwrap(), seen);
    }

    #[test]
    fn a_component_that_did_not_change_wakes_nobody() {
        let board = Board::new("/data".into());
        board.component("etcd", Health::Running, Some(7), 0, None);
        let mut watcher = board.watch();
        watcher.mark_unchanged();
        board.component("etcd", Health::Running, Some(7), 0, None);
        assert!(!watcher.has_changed().unwrap());
    }
}
