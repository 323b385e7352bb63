//! What is remembered of a machine: its record, the first thing that is made and the last that goes.
//!
//! A machine's directory appears with its record in it by one rename, and goes by one rename, so there is never a directory
//! of which nobody knows what it is. Everything else of a machine follows from its record.

use std::{
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    files,
    hands::Hands,
    limits::Limits,
    names::{self, Names},
    network::Network,
    programs::Directories,
};
use crate::{Error, Result};

/// Format this program writes and reads.
const FORMAT: u32 = 1;
const FILE: &str = "machine.json";
/// Directories that are on their way in and out.
const NEW: &str = ".new-";
const GONE: &str = ".gone-";

/// What is remembered.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Record {
    format: u32,
    /// UID of the `Machine`.
    pub uid: String,
    /// Its name: host name of the machine.
    pub name: String,
    /// Part of every name on the host that belongs to the machine; no other machine of the installation has it.
    pub short: String,
    /// Its address; no other machine has it.
    pub address: Ipv4Addr,
    /// Its zone.
    pub zone: String,
    /// Number of the zone in hardware addresses; 1 to 255, the same for all machines of the zone.
    pub zone_number: u8,
    /// What it may use.
    pub limits: Limits,
    /// Programs of its node, once they are there.
    pub programs: Option<Directories>,
    /// Whether it goes: nothing but its removal may happen to it.
    pub deleting: bool,
}

/// What a new record is made of.
pub(super) struct Wanted<'a> {
    pub uid: &'a str,
    pub name: &'a str,
    pub zone: &'a str,
    pub limits: Limits,
}

/// All records of an installation.
#[derive(Clone, Debug)]
pub(super) struct Book {
    machines: PathBuf,
}

impl Book {
    pub(super) fn new(data: &Path) -> Self {
        Self { machines: data.join("machines") }
    }

    /// The directory of a machine.
    pub(super) fn dir(&self, uid: &str) -> PathBuf {
        self.machines.join(uid)
    }

    /// Where the directory of a machine goes when nothing else of the machine is left.
    pub(super) fn gone(&self, uid: &str) -> PathBuf {
        self.machines.join(format!("{GONE}{uid}"))
    }

    /// The record of a machine, if there is one.
    pub(super) fn read(&self, uid: &str) -> Result<Option<Record>> {
        let path = self.dir(uid).join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("read", path)(error)),
        };
        let damaged = |reason: String| Error::Damaged { path: path.clone(), reason };
        let record: Record = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        match record {
            Record { format: FORMAT, .. } if record.uid == uid => Ok(Some(record)),
            Record { format: FORMAT, uid, .. } => Err(damaged(format!("it is the record of {uid}"))),
            Record { format, .. } => {
                Err(damaged(format!("its format is {format}, this skep knows {FORMAT}")))
            }
        }
    }

    /// All records.
    pub(super) fn all(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for uid in self.entries()?.iter().filter(|name| !name.starts_with('.')) {
            records.extend(self.read(uid)?);
        }
        Ok(records)
    }

    /// Machines of which only the directory is left, by uid.
    pub(super) fn all_gone(&self) -> Result<Vec<String>> {
        let entries = self.entries()?;
        Ok(entries.iter().filter_map(|name| Some(name.strip_prefix(GONE)?.to_owned())).collect())
    }

    /// Directories of machines that were never made, of a process that was killed. Nobody may be making one meanwhile.
    pub(super) fn all_unborn(&self) -> Result<Vec<PathBuf>> {
        let entries = self.entries()?;
        Ok(entries.iter().filter(|name| name.starts_with(NEW)).map(|name| self.machines.join(name)).collect())
    }

    fn entries(&self) -> Result<Vec<String>> {
        let failed = || Error::file("read", &self.machines);
        let entries = match fs::read_dir(&self.machines) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed()(error)),
        };
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect::<io::Result<_>>().map_err(failed())
    }

    /// Leases an address and names, and makes the machine's directory with its record. One call at a time.
    pub(super) fn create(&self, hands: &Hands, network: &Network, wanted: &Wanted<'_>) -> Result<Record> {
        let record = lease(&self.all()?, network, wanted)?;
        let new = self.machines.join(format!("{NEW}{}", wanted.uid));
        files::remove_all(&new)?;
        hands.make_dir(&new, 0o700)?;
        hands.replace(&new.join(FILE), &files::json(&record)?, 0o600)?;
        hands.rename(&new, &self.dir(wanted.uid))?;
        Ok(record)
    }

    /// Replaces the record of a machine, if it says something else.
    pub(super) fn update(&self, hands: &Hands, record: &Record) -> Result<()> {
        hands.replace_if_changed(&self.dir(&record.uid).join(FILE), &files::json(record)?, 0o600)
    }
}

impl Record {
    pub(super) fn names(&self, installation: &str, cgroup: &str) -> Names {
        Names::of(installation, cgroup, &self.short)
    }
}

/// A record that contradicts no other one.
fn lease(others: &[Record], network: &Network, wanted: &Wanted<'_>) -> Result<Record> {
    let full = || Error::NoFreeAddress {
        machine: wanted.name.to_owned(),
        network: network.net.to_string(),
        machines: others.len(),
    };
    // The first host is the bridge.
    let address = network
        .net
        .hosts()
        .skip(1)
        .find(|address| others.iter().all(|other| other.address != *address))
        .ok_or_else(full)?;
    let short = names::candidates(wanted.uid)
        .find(|short| others.iter().all(|other| other.short != *short))
        .ok_or_else(full)?;
    let zone_number = match others.iter().find(|other| other.zone == wanted.zone) {
        Some(other) => other.zone_number,
        None => (1..=u8::MAX)
            .find(|number| others.iter().all(|other| other.zone_number != *number))
            .ok_or_else(full)?,
    };
    Ok(Record {
        format: FORMAT,
        uid: wanted.uid.to_owned(),
        name: wanted.name.to_owned(),
        short,
        address,
        zone: wanted.zone.to_owned(),
        zone_number,
        limits: wanted.limits,
        programs: None,
        deleting: false,
    })
}

#[cfg(test)]
mod tests;
