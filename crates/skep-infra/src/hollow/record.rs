//! What is remembered of a hollow machine. Nothing secret.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use skep_api::{machine::Taint, machine_class::MachineCapacity};

use crate::{Error, Order, Result, local::files};

/// Format this program writes and reads.
const FORMAT: u32 = 1;
/// Ending of records.
const ENDING: &str = ".json";

/// A hollow machine.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HollowMachine {
    format: u32,
    /// UID of the `Machine`.
    pub uid: String,
    /// Name of the `Machine` and of its node.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// Namespace of its `Cluster` in the hub.
    pub namespace: String,
    /// Name of its `Cluster`.
    pub cluster: String,
    /// URL of the gateway.
    pub server: String,
    /// The tenant's name there.
    pub host: String,
    /// Version of Kubernetes that its node shows.
    pub version: String,
    /// Labels of its node.
    pub labels: BTreeMap<String, String>,
    /// Taints of its node.
    pub taints: Vec<Taint>,
    /// What it offers.
    pub capacity: MachineCapacity,
    /// How often it was restarted.
    pub boot: u64,
}

impl HollowMachine {
    /// What is ordered, with so many restarts.
    ///
    /// # Errors
    /// [`Error::BadOrder`].
    pub(super) fn of(order: &Order, boot: u64) -> Result<Self> {
        let safe = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if order.uid.is_empty() || order.uid.len() > 64 || !safe(&order.uid) {
            let why = format!("its uid {:?} cannot be the name of a file", order.uid);
            return Err(Error::BadOrder { machine: order.name.clone(), why });
        }
        let join = &order.join;
        let labels = join.template.labels.iter().chain(&join.labels);
        let pods = join.template.kubelet.max_pods.unwrap_or(join.capacity.pods);
        Ok(Self {
            format: FORMAT,
            uid: order.uid.clone(),
            name: order.name.clone(),
            zone: order.zone.clone(),
            namespace: order.namespace.clone(),
            cluster: order.cluster.clone(),
            server: join.cluster.server.clone(),
            host: join.cluster.host.clone(),
            version: order.version.to_string(),
            labels: labels.map(|(key, value)| (key.clone(), value.clone())).collect(),
            taints: join.template.taints.clone(),
            capacity: MachineCapacity { pods, ..join.capacity.clone() },
            boot,
        })
    }

    /// `spec.providerID` of its node.
    pub fn provider_id(&self) -> String {
        format!("skep-hollow://{}", self.uid)
    }
}

/// All records.
#[derive(Clone, Debug)]
pub(super) struct Book {
    dir: PathBuf,
}

impl Book {
    pub(super) fn open(dir: &Path) -> Result<Self> {
        files::make_dir(dir, 0o700)?;
        Ok(Self { dir: dir.to_owned() })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn all(&self) -> Result<Vec<HollowMachine>> {
        let failed = || Error::file("read", &self.dir);
        let mut machines = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name().to_string_lossy().into_owned();
            // What a killed writer left begins with a dot.
            let Some(uid) = name.strip_suffix(ENDING).filter(|name| !name.starts_with('.')) else { continue };
            machines.push(self.read(uid)?);
        }
        Ok(machines)
    }

    fn read(&self, uid: &str) -> Result<HollowMachine> {
        let path = self.path(uid);
        let text = fs::read(&path).map_err(Error::file("read", &path))?;
        let damaged = |reason: String| Error::Damaged { path: path.clone(), reason };
        let machine: HollowMachine =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        match &machine {
            HollowMachine { format: FORMAT, uid: own, .. } if own == uid => Ok(machine),
            HollowMachine { format: FORMAT, uid, .. } => Err(damaged(format!("it is the record of {uid}"))),
            HollowMachine { format, .. } => {
                Err(damaged(format!("its format is {format}, this skep knows {FORMAT}")))
            }
        }
    }

    pub(super) fn write(&self, machine: &HollowMachine) -> Result<()> {
        files::replace(&self.path(&machine.uid), &files::json(machine)?, 0o600)
    }

    pub(super) fn remove(&self, uid: &str) -> Result<()> {
        let path = self.path(uid);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", path)(error)),
            _ => files::sync_dir(&self.dir).map_err(Error::file("write", &self.dir)),
        }
    }

    fn path(&self, uid: &str) -> PathBuf {
        self.dir.join(format!("{uid}{ENDING}"))
    }
}
