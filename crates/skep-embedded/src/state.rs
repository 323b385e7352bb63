//! `state.json`: what an installation has to remember between two starts.
//!
//! The file is replaced as a whole and durably. A file of another format is refused before anything else is touched:
//! this program cannot know what the other one promised about the data.

use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use skep_vnode::process::ProcessId;

use crate::{Error, Layout, Result, files, ports::Ports};

/// The format this program reads and writes.
pub const FORMAT: u64 = 1;

/// Content of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Format of the whole data directory.
    pub format: u64,
    /// Version of skep that wrote it last.
    pub skep: String,
    /// Random name of this installation: every process it starts carries it in its environment.
    pub instance: String,
    /// Loopback network of the pods, `127.N.0.0/16`.
    #[serde(default)]
    pub network: Option<String>,
    /// Ports of the hub.
    #[serde(default)]
    pub ports: Ports,
    /// Children by component name.
    #[serde(default)]
    pub children: BTreeMap<String, Child>,
}

/// A process that may outlive its supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Child {
    /// Which process, for ever: number, start time and boot.
    pub process: ProcessId,
    /// Digest of program, arguments and certificates: an equal one means the process can be kept.
    pub fingerprint: String,
}

impl State {
    fn new() -> Self {
        // Ten bytes are enough to never meet another installation on the same machine.
        let random = skep_pki::random_key();
        let instance: String = random.iter().take(10).map(|byte| format!("{byte:02x}")).collect();
        Self {
            format: FORMAT,
            skep: env!("CARGO_PKG_VERSION").to_owned(),
            instance,
            network: None,
            ports: Ports::default(),
            children: BTreeMap::new(),
        }
    }
}

/// The file and what is in it. Only the holder of the lock may have one.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    state: Mutex<State>,
}

impl StateFile {
    /// Reads the file, or starts a new one.
    ///
    /// # Errors
    /// [`Error::Format`] for another format, [`Error::Damaged`] for text that is not a state, [`Error::DataDir`].
    pub fn open(layout: &Layout) -> Result<Self> {
        let path = layout.state();
        let state = read(layout)?.unwrap_or_else(State::new);
        Ok(Self { path, state: Mutex::new(state) })
    }

    /// A copy of the state.
    pub fn get(&self) -> State {
        self.guard().clone()
    }

    /// Changes the state and writes it, when something changed.
    ///
    /// # Errors
    /// [`Error::DiskFull`] or [`Error::DataDir`]; the state in memory is changed all the same.
    pub fn update(&self, change: impl FnOnce(&mut State)) -> Result<()> {
        let mut state = self.guard();
        let before = state.clone();
        change(&mut state);
        state.skep = env!("CARGO_PKG_VERSION").to_owned();
        if *state == before && self.path.exists() {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(&*state).map_err(|error| Error::io(&self.path, error.into()))?;
        files::replace(&self.path, &text, 0o600)
    }

    fn guard(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the state without owning it, for commands that only look.
///
/// # Errors
/// As [`StateFile::open`].
pub fn read(layout: &Layout) -> Result<Option<State>> {
    let path = layout.state();
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::io(path, source)),
    };
    // The format is read first and alone: the rest may have another shape.
    #[derive(Deserialize)]
    struct Head {
        format: u64,
    }
    let damaged = |error: serde_json::Error| Error::Damaged { path: path.clone(), reason: error.to_string() };
    let Head { format: found } = serde_json::from_slice(&text).map_err(damaged)?;
    if found != FORMAT {
        return Err(Error::Format { path: layout.root().to_owned(), found, known: FORMAT });
    }
    serde_json::from_slice(&text).map(Some).map_err(damaged)
}

#[cfg(test)]
mod tests;
