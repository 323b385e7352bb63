//! Making, starting and looking at one machine. The caller holds the machine's lock.

use std::{fs, path::Path};

use skep_agent::config::Host;

use super::{
    Inner, bridge, cable, console, files, host, launch,
    launch::{SHOWN, STATE, Start},
    limits::Limits,
    names::Names,
    programs::Directories,
    record::{Record, Wanted},
    remove, zones,
};
use crate::{Error, Machine, Order, Result, State};

/// A uid of Kubernetes has 36 characters; it becomes part of a path.
const UID: std::ops::RangeInclusive<usize> = 1..=64;

impl Inner {
    pub(super) async fn ensure(&self, order: &Order) -> Result<Machine> {
        let limits = check(order)?;
        let mut record = self.record(order, limits).await?;
        if record.deleting {
            let why = "it is being deleted";
            return Err(Error::Busy { machine: record.name, why });
        }
        let dir = self.book.dir(&order.uid);
        let names = self.names(&record);
        let Some(programs) = self.shelf.get(&order.version).await? else {
            let waits = format!("the programs of Kubernetes {} are being made", order.version);
            return Ok(self.machine(&record, State::Starting(waits)));
        };
        record.limits = limits;
        record.programs = Some(programs.clone());
        self.book.update(&self.hands, &record)?;
        self.configure(order, &record)?;
        console::cut(&dir)?;
        // A network whose name is lost cannot be mended.
        match launch::running(&dir).filter(|_| cable::is_named(&names)) {
            Some(first) => {
                self.ends.watch(&order.uid, first);
                self.keep_connected(&record, &names).await?;
            }
            None => self.start(&record, &programs).await?,
        }
        Ok(self.machine(&record, State::Running))
    }

    pub(super) fn get(&self, uid: &str) -> Result<Option<Machine>> {
        let Some(record) = self.book.read(uid)? else { return Ok(None) };
        let dir = self.book.dir(uid);
        console::cut(&dir)?;
        let state = match launch::running(&dir) {
            Some(first) => {
                self.ends.watch(uid, first);
                State::Running
            }
            None if launch::was_started(&dir) || record.deleting => State::Stopped,
            None => State::Starting("it was not started yet".to_owned()),
        };
        Ok(Some(self.machine(&record, state)))
    }

    pub(super) async fn reboot(&self, uid: &str) -> Result<()> {
        let no_machine = || Error::NoMachine { uid: uid.to_owned() };
        let record = self.book.read(uid)?.filter(|record| !record.deleting).ok_or_else(no_machine)?;
        let machine = record.name.clone();
        let Some(programs) = record.programs.clone() else {
            return Err(Error::Busy { machine, why: "it was not started yet" });
        };
        self.start(&record, &programs).await
    }

    /// The record of a machine, leased when there is none.
    async fn record(&self, order: &Order, limits: Limits) -> Result<Record> {
        if let Some(record) = self.book.read(&order.uid)? {
            return Ok(record);
        }
        let _one_at_a_time = self.common.lock().await;
        if fs::exists(self.book.gone(&order.uid)).unwrap_or(false) {
            return Err(Error::Busy {
                machine: order.name.clone(),
                why: "what is left of it is being removed",
            });
        }
        let wanted = Wanted { uid: &order.uid, name: &order.name, zone: &order.zone, limits };
        self.book.create(&self.hands, &self.settings.network, &wanted)
    }

    /// Writes what the agent is told. A machine that runs sees it at once.
    fn configure(&self, order: &Order, record: &Record) -> Result<()> {
        let config = self.book.dir(&record.uid).join("config");
        let shown = |name: &str| Path::new(SHOWN).join(name);
        let host = Host {
            address: record.address,
            interface: cable::INTERFACE.to_owned(),
            provider_id: self.provider_id(record),
            state: STATE.into(),
            cgroup_root: "/".to_owned(),
            shared: true,
            brought: false,
            kubernetes: shown("kubernetes"),
            containerd: shown("containerd"),
            cni: shown("cni"),
        };
        self.hands.make_dir(&config, 0o700)?;
        // The token is in it.
        self.hands.replace_if_changed(&config.join("join.json"), &files::json(&order.join)?, 0o600)?;
        self.hands.replace_if_changed(&config.join("host.json"), &files::json(&host)?, 0o600)
    }

    /// Mends what somebody else has taken away from a machine that runs.
    async fn keep_connected(&self, record: &Record, names: &Names) -> Result<()> {
        let network = &self.settings.network;
        if bridge::is_whole(network, &self.installation)? && cable::is_plugged(names, network) {
            return bridge::closed(&self.hands, &network.bridge);
        }
        tracing::warn!(machine = record.name, "its network was taken away and is mended");
        self.prepare_host().await?;
        cable::mend(&self.hands, record, names, network).await
    }

    /// What all machines share.
    async fn prepare_host(&self) -> Result<()> {
        let _one_at_a_time = self.common.lock().await;
        host::widen(&self.hands);
        bridge::make(&self.hands, &self.settings.network, &self.installation).await
    }

    /// Starts a machine from nothing but its directory: whatever of it runs is killed, whatever is there is made anew.
    async fn start(&self, record: &Record, programs: &Directories) -> Result<()> {
        let (names, network) = (self.names(record), &self.settings.network);
        remove::clear(self, &record.name, &self.book.dir(&record.uid), &names).await?;
        self.prepare_host().await?;
        cable::make(&self.hands, record, &names, network).await?;
        if let Some(link) = self.settings.between_zones {
            zones::worsen(&self.hands, record, &names, link).await?;
        }
        self.hierarchies.make(&self.hands, &names.cgroup, record.limits)?;
        let start = Start {
            hands: &self.hands,
            hierarchies: &self.hierarchies,
            dir: &self.book.dir(&record.uid),
            record,
            names: &names,
            skep: &self.settings.skep,
            programs,
        };
        start.go().await?;
        // One that has ended by now was not told of yet; whoever asks next finds it stopped.
        if let Some(first) = launch::running(start.dir) {
            self.ends.watch(&record.uid, first);
        }
        Ok(())
    }

    fn machine(&self, record: &Record, state: State) -> Machine {
        Machine { provider_id: self.provider_id(record), address: Some(record.address), state }
    }

    fn provider_id(&self, record: &Record) -> String {
        format!("skep-local://{}/{}", self.installation, record.uid)
    }
}

/// Refuses what cannot become part of a path or a host name, or has a class that cannot be.
fn check(order: &Order) -> Result<Limits> {
    let bad = |why: String| Error::BadOrder { machine: order.name.chars().take(80).collect(), why };
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !UID.contains(&order.uid.len()) || !plain(&order.uid) {
        return Err(bad("its uid is not 1 to 64 letters, digits and dashes".to_owned()));
    }
    let label = |text: &str| {
        let inner = !text.starts_with('-') && !text.ends_with('-');
        inner && (1..=63).contains(&text.len()) && plain(text) && text == text.to_ascii_lowercase()
    };
    for (what, text) in [("name", &order.name), ("zone", &order.zone)] {
        if !label(text) {
            return Err(bad(format!(
                "its {what} is not 1 to 63 characters of a-z, 0-9 and - between others"
            )));
        }
    }
    Limits::of(&order.class.capacity).map_err(bad)
}
