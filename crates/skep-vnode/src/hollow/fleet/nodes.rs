//! The nodes of a fleet: registration, leases, darkness.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::watcher::{self, Event};
use tokio::time::Instant;
use tokio_util::time::delay_queue::Key;

use super::calls::{self, Done, Finished};
use super::watch::Named;
use super::{Due, Fleet, RELIST, now, retry};
use crate::hollow::life::Millis;
use crate::hollow::node::{self, NodeSpec};
use crate::hollow::report::time;

/// How often an unchanged status is written nevertheless (`nodeStatusReportFrequency`).
const REPORT: Millis = 300_000;
/// A node that was silent for longer may have been given up meanwhile: it says that it is well.
const SILENT: Millis = 35_000;
/// Pause before a name that somebody else has is tried again.
const FOREIGN: Millis = 60_000;

/// A node.
pub(super) struct NodeEntry {
    spec: Arc<NodeSpec>,
    /// Uid of its object, once it is registered.
    uid: Option<String>,
    /// Since when it is well.
    ready: Timestamp,
    renewed: Millis,
    reported: Millis,
    /// Beats so far: the number of the next pause.
    beat: u64,
    failures: u8,
    busy: bool,
    queued: bool,
    /// It is not heard of.
    pub(super) dark: bool,
    pub(super) timer: Option<Key>,
    pub(super) pods: HashSet<Arc<str>>,
}

impl Fleet {
    /// Takes over which nodes should be there.
    pub(super) fn take_nodes(&mut self) {
        let wanted = self.wanted.borrow_and_update().clone();
        let names: HashMap<&str, &Arc<NodeSpec>> =
            wanted.iter().map(|spec| (spec.name.as_str(), spec)).collect();
        let gone: Vec<Arc<str>> =
            self.nodes.keys().filter(|name| !names.contains_key(&***name)).cloned().collect();
        for name in gone {
            self.drop_node(&name);
        }
        let now = now();
        for (name, spec) in names {
            match self.nodes.get_mut(name) {
                None => self.add_node(spec.clone(), now),
                Some(node) if node.spec != *spec => {
                    let booted = node.spec.boot != spec.boot;
                    node.spec = spec.clone();
                    // Written with the next beat.
                    node.reported = 0;
                    let name: Arc<str> = Arc::from(name);
                    if booted {
                        self.reboot(&name, now);
                    } else {
                        self.at(&name, now);
                    }
                }
                Some(_) => {}
            }
        }
    }

    fn add_node(&mut self, spec: Arc<NodeSpec>, now: Millis) {
        let name: Arc<str> = Arc::from(spec.name.as_str());
        let at = now + node::boots(&self.config, &spec);
        let entry = NodeEntry {
            spec,
            uid: None,
            ready: Timestamp::UNIX_EPOCH,
            renewed: 0,
            reported: 0,
            beat: 0,
            failures: 0,
            busy: false,
            queued: false,
            dark: self.dark.contains(&name),
            timer: None,
            pods: HashSet::new(),
        };
        self.nodes.insert(name.clone(), entry);
        self.at(&name, at);
    }

    fn drop_node(&mut self, name: &str) {
        let Some(node) = self.nodes.remove(name) else { return };
        if node.uid.is_some() {
            self.figures.nodes.fetch_sub(1, Ordering::Relaxed);
        }
        self.stop_timer(node.timer);
        for uid in node.pods {
            self.forget(&uid);
        }
    }

    /// The machine is switched off and on.
    fn reboot(&mut self, name: &Arc<str>, now: Millis) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let at = now + node::boots(&self.config, &node.spec);
        node.ready = time(at);
        let pods: Vec<_> = node.pods.iter().cloned().collect();
        for uid in pods {
            self.crash(&uid, now);
        }
        self.at(name, at);
    }

    /// Looks at the node at this time.
    fn at(&mut self, name: &Arc<str>, at: Millis) {
        let Some(old) = self.nodes.get_mut(name).map(|node| node.timer.take()) else { return };
        let timer = self.set_timer(old, Due::Node(name.clone()), at);
        if let Some(node) = self.nodes.get_mut(name) {
            node.timer = Some(timer);
        }
    }

    pub(super) fn queue_node(&mut self, name: &Arc<str>) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        if !node.queued && !node.busy {
            node.queued = true;
            self.node_queue.push_back(name.clone());
        }
    }

    /// What a node has to say, when its turn has come.
    pub(super) fn call_node(&mut self, name: &Arc<str>) {
        let now = now();
        let told = self.dark.contains(name);
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.queued = false;
        let chance = node::dark_until(&self.config, name, now);
        let was_dark = std::mem::replace(&mut node.dark, told || chance.is_some());
        if node.dark {
            // A person's word comes by a watch.
            let pause = now + node::pause(&self.config, name, node.beat);
            let at = chance.filter(|_| !told).map_or(pause, |until| until.min(pause));
            return self.at(name, at);
        }
        if was_dark {
            let pods: Vec<_> = node.pods.iter().cloned().collect();
            pods.iter().for_each(|uid| self.touch(uid));
        }
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.busy = true;
        let (client, spec, name) = (self.client.clone(), node.spec.clone(), name.clone());
        match node.uid.clone() {
            None => {
                self.calls.spawn(async move { Finished::Node(name, calls::register(client, spec).await) });
            }
            Some(uid) => {
                if now - node.renewed > SILENT {
                    node.ready = time(now);
                }
                let silent = now - node.renewed > SILENT;
                let report = (silent || now - node.reported >= REPORT).then_some(node.ready);
                let beat = calls::beat(client, spec, uid, report);
                self.calls.spawn(async move { Finished::Node(name, beat.await) });
            }
        }
        self.node_calls += 1;
    }

    pub(super) fn node_done(&mut self, name: &Arc<str>, done: Done) {
        let now = now();
        let config = self.config.clone();
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.busy = false;
        let failures = std::mem::take(&mut node.failures);
        let at = match done {
            Done::Registered { uid, before } => {
                if node.uid.replace(uid).is_none() {
                    self.figures.nodes.fetch_add(1, Ordering::Relaxed);
                }
                (node.ready, node.renewed, node.reported) = (time(now), now, now);
                if before {
                    // It may have had pods while the watch did not care.
                    self.relist.get_or_insert_with(|| Instant::now() + RELIST);
                }
                now + node::pause(&config, name, 0)
            }
            Done::Renewed { reported } => {
                node.renewed = now;
                if reported {
                    // Reports are spread as beats are.
                    node.reported = now - REPORT / 10 + node::pause(&config, name, node.beat) % (REPORT / 10);
                }
                node.beat += 1;
                now + node::pause(&config, name, node.beat)
            }
            Done::Foreign(on) => {
                tracing::warn!(
                    node = %name, on,
                    "another node has the name of a hollow one, so it is left alone: delete it, or choose another name (SKEP-8111)"
                );
                now + FOREIGN
            }
            Done::Gone => {
                // Somebody deleted the node; a kubelet would make it again as well.
                if node.uid.take().is_some() {
                    self.figures.nodes.fetch_sub(1, Ordering::Relaxed);
                }
                now + retry(failures)
            }
            Done::Failed(why) => {
                tracing::debug!(node = %name, why, "hollow node");
                node.failures = failures.saturating_add(1);
                now + retry(failures)
            }
            Done::Patched(_) | Done::Deleted => now,
        };
        self.at(name, at);
    }

    /// Nodes that a person has told to be dark, or no more.
    pub(super) fn take_dark(&mut self, event: Result<Event<Named>, watcher::Error>) {
        match event {
            Ok(Event::Init) => self.dark_listing = Some(HashSet::new()),
            Ok(Event::InitDone) => {
                let listed = self.dark_listing.take().unwrap_or_default();
                let back: Vec<_> = self.dark.difference(&listed).cloned().collect();
                for name in back {
                    self.dark.remove(&name);
                    self.turn(&name);
                }
            }
            Ok(Event::Apply(node) | Event::InitApply(node)) => {
                let name: Arc<str> = Arc::from(node.name_any());
                if let Some(listing) = &mut self.dark_listing {
                    listing.insert(name.clone());
                }
                if let Some(entry) = self.nodes.get_mut(&name) {
                    entry.dark = true;
                }
                self.dark.insert(name);
            }
            Ok(Event::Delete(node)) => {
                let name: Arc<str> = Arc::from(node.name_any());
                self.dark.remove(&name);
                self.turn(&name);
            }
            Err(error) => tracing::debug!(%error, "the watch of dark nodes failed, it goes on by itself"),
        }
    }

    /// Something may have changed for it.
    fn turn(&mut self, name: &Arc<str>) {
        if self.nodes.contains_key(name) {
            self.at(name, now());
        }
    }
}
