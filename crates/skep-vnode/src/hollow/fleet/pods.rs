//! The pods of a fleet.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::PodStatus;
use kube::runtime::watcher::{self, Event};
use tokio_util::time::delay_queue::Key;

use super::calls::{self, Done, Finished};
use super::{Due, Fleet, now, retry};
use crate::hollow::address;
use crate::hollow::fate::{Fate, Ordered};
use crate::hollow::life::{Life, Millis, Stop};
use crate::hollow::report::{self, Subject};
use crate::hollow::seen::Seen;
use crate::hollow::spec::Spec;
use crate::pods::strip;

/// A pod.
pub(super) struct PodEntry {
    namespace: Arc<str>,
    name: Box<str>,
    node: Arc<str>,
    version: Box<str>,
    generation: Option<i64>,
    ordered: Option<Ordered>,
    spec: Arc<Spec>,
    life: Life,
    /// What the API has been told, as text: twenty thousand of them wait most of the time.
    status: Box<[u8]>,
    address: Ipv4Addr,
    /// It was asked to go.
    deleting: bool,
    /// The API server took its deletion; only finalizers keep it.
    finished: bool,
    failures: u8,
    busy: bool,
    queued: bool,
    pub(super) timer: Option<Key>,
}

impl PodEntry {
    fn fate<'a>(&self, config: &'a crate::hollow::Config) -> Fate<'a> {
        Fate::new(config, &self.namespace, &self.name, self.ordered)
    }
}

impl Fleet {
    pub(super) fn take_pods(&mut self, event: Result<Event<Seen>, watcher::Error>) {
        match event {
            Ok(Event::Init) => self.listing = Some(HashSet::new()),
            Ok(Event::InitApply(seen)) => {
                if let (Some(listing), Some(uid)) = (&mut self.listing, &seen.metadata.uid) {
                    listing.insert(Arc::from(uid.as_str()));
                }
                self.observe(seen);
            }
            Ok(Event::InitDone) => {
                let Some(listing) = self.listing.take() else { return };
                let gone: Vec<_> = self.pods.keys().filter(|uid| !listing.contains(*uid)).cloned().collect();
                gone.iter().for_each(|uid| self.forget(uid));
            }
            Ok(Event::Apply(seen)) => self.observe(seen),
            Ok(Event::Delete(seen)) => {
                if let Some(uid) = seen.metadata.uid {
                    self.forget(&uid);
                }
            }
            Err(error) => tracing::warn!(%error, "the watch of pods failed, it goes on by itself"),
        }
    }

    /// A pod as the API has it now.
    fn observe(&mut self, seen: Seen) {
        let Some(uid) = seen.metadata.uid.clone() else { return };
        if let Some(pod) = self.pods.get_mut(&*uid) {
            let version = seen.metadata.resource_version.as_deref();
            let known = Some(&*pod.version);
            // Our own writes come back.
            if version == known || strip::is_older(version, known) {
                return;
            }
            pod.generation = seen.metadata.generation;
            pod.ordered = seen.ordered;
            pod.status = text(&seen.status);
            pod.version = version.unwrap_or_default().into();
            if *pod.spec != seen.spec {
                pod.spec = self.specs.share(seen.spec);
                // The containers of a pod are for ever; a pod that breaks this is played from the beginning.
                if pod.spec.parts().len() != pod.life.cells().len() {
                    let fate = pod.fate(&self.config);
                    pod.life = Life::begin(&pod.spec, &fate, now());
                }
            }
            let deletion = deletion(&seen.metadata);
            self.stop(&uid, deletion);
        } else if !self.adopt(&uid, seen) {
            return;
        }
        self.touch(&uid);
    }

    /// A pod that is new here; `false` when it is on nobody of ours.
    fn adopt(&mut self, uid: &str, seen: Seen) -> bool {
        let Some((node, _)) = self.nodes.get_key_value(&*seen.node) else { return false };
        let node = node.clone();
        let namespace = seen.metadata.namespace.clone().unwrap_or_default();
        let namespace = match self.names.get(&*namespace) {
            Some(known) => known.clone(),
            None => {
                // Namespaces come and go; those in use are few.
                if self.names.len() > 1024 {
                    self.names.retain(|name| Arc::strong_count(name) > 1);
                }
                let name: Arc<str> = Arc::from(namespace);
                self.names.insert(name.clone());
                name
            }
        };
        let name: Box<str> = seen.metadata.name.clone().unwrap_or_default().into();
        let spec = self.specs.share(seen.spec);
        let fate = Fate::new(&self.config, &namespace, &name, seen.ordered);
        let life = Life::recover(&spec, &fate, &seen.status, now());
        let told = seen.status.pod_ip.as_deref().and_then(|ip| ip.parse().ok());
        let address = match told {
            _ if spec.host_network => address::host(&node),
            Some(ip) if self.addresses.keep(ip) => ip,
            _ => self.addresses.take(),
        };
        let entry = PodEntry {
            namespace,
            name,
            node: node.clone(),
            version: seen.metadata.resource_version.as_deref().unwrap_or_default().into(),
            generation: seen.metadata.generation,
            ordered: seen.ordered,
            spec,
            life,
            status: text(&seen.status),
            address,
            deleting: false,
            finished: false,
            failures: 0,
            busy: false,
            queued: false,
            timer: None,
        };
        let uid: Arc<str> = Arc::from(uid);
        if let Some(node) = self.nodes.get_mut(&node) {
            node.pods.insert(uid.clone());
        }
        self.pods.insert(uid.clone(), entry);
        let deletion = deletion(&seen.metadata);
        self.stop(&uid, deletion);
        true
    }

    /// A pod that is asked to go, until this time.
    fn stop(&mut self, uid: &str, until: Option<Millis>) {
        let (Some(until), Some(pod)) = (until, self.pods.get_mut(uid)) else { return };
        let now = now();
        let fate = pod.fate(&self.config);
        pod.life.advance(&pod.spec, &fate, now);
        pod.life.stop(&fate, now, (until - now).max(0), Stop::Deleted);
        pod.deleting = true;
    }

    pub(super) fn crash(&mut self, uid: &str, at: Millis) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        let fate = pod.fate(&self.config);
        pod.life.advance(&pod.spec, &fate, at);
        pod.life.crash(&pod.spec, &fate, at);
        self.touch(uid);
    }

    pub(super) fn forget(&mut self, uid: &str) {
        let Some(pod) = self.pods.remove(uid) else { return };
        self.stop_timer(pod.timer);
        if !pod.spec.host_network {
            self.addresses.release(pod.address);
        }
        if let Some(node) = self.nodes.get_mut(&pod.node) {
            node.pods.remove(uid);
        }
    }

    /// Lets the pod live until now, and sees to it that what is new is told.
    pub(super) fn touch(&mut self, uid: &str) {
        let Some((uid, _)) = self.pods.get_key_value(uid) else { return };
        let uid = uid.clone();
        let Some(pod) = self.pods.get_mut(&uid) else { return };
        let fate = pod.fate(&self.config);
        let next = pod.life.advance(&pod.spec, &fate, now());
        let old = pod.timer.take();
        let silent = pod.busy || pod.queued || pod.finished;
        let dark = self.nodes.get(&pod.node).is_none_or(|node| node.dark);
        if !silent && !dark {
            pod.queued = true;
            self.pod_queue.push_back(uid.clone());
        }
        match next {
            Some(at) => {
                let timer = self.set_timer(old, Due::Pod(uid.clone()), at);
                if let Some(pod) = self.pods.get_mut(&uid) {
                    pod.timer = Some(timer);
                }
            }
            None => self.stop_timer(old),
        }
    }

    /// Tells what is to be told of a pod now that its turn has come.
    pub(super) fn call_pod(&mut self, uid: &Arc<str>) {
        let now = now();
        let Some(pod) = self.pods.get_mut(uid) else { return };
        pod.queued = false;
        if self.nodes.get(&pod.node).is_none_or(|node| node.dark) {
            return;
        }
        let fate = pod.fate(&self.config);
        pod.life.advance(&pod.spec, &fate, now);
        let old: PodStatus = serde_json::from_slice(&pod.status).unwrap_or_default();
        let subject = Subject {
            uid,
            generation: pod.generation,
            spec: &pod.spec,
            life: &pod.life,
            address: pod.address,
            host: address::host(&pod.node),
        };
        let patch = match report::changes(&subject, &old, now) {
            Ok(patch) => patch,
            Err(error) => return tracing::error!(%error, pod = &*pod.name, "status of a hollow pod"),
        };
        let (client, uid) = (self.client.clone(), uid.clone());
        let (namespace, name) = (pod.namespace.clone(), pod.name.to_string());
        match patch {
            Some(patch) => {
                let call = calls::patch(client, namespace, name, patch);
                self.calls.spawn(async move { Finished::Pod(uid, call.await) });
            }
            None if pod.deleting && !pod.life.runs() => {
                let call = calls::delete(client, namespace, name, uid.clone());
                self.calls.spawn(async move { Finished::Pod(uid, call.await) });
            }
            None => return,
        }
        pod.busy = true;
        self.pod_calls += 1;
    }

    pub(super) fn pod_done(&mut self, uid: &Arc<str>, done: Done) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        pod.busy = false;
        let failures = std::mem::take(&mut pod.failures);
        match done {
            Done::Patched(seen) => {
                self.observe(*seen);
                // Also when the watch was faster: there may be more to tell.
                self.touch(uid);
            }
            Done::Deleted => pod.finished = true,
            Done::Gone => self.forget(uid),
            Done::Failed(why) => {
                pod.failures = failures.saturating_add(1);
                let (name, old) = (pod.name.clone(), pod.timer.take());
                tracing::debug!(pod = &*name, why, "hollow pod");
                let timer = self.set_timer(old, Due::Pod(uid.clone()), now() + retry(failures));
                if let Some(pod) = self.pods.get_mut(uid) {
                    pod.timer = Some(timer);
                }
            }
            Done::Registered { .. } | Done::Renewed { .. } | Done::Foreign(_) => {}
        }
    }
}

/// When a pod that is asked to go has to be gone.
fn deletion(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Option<Millis> {
    metadata.deletion_timestamp.as_ref().map(|time| time.0.as_millisecond())
}

fn text(status: &PodStatus) -> Box<[u8]> {
    serde_json::to_vec(status).unwrap_or_default().into_boxed_slice()
}
