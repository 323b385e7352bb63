//! Taking a pod: admission, address, the backend.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use crate::backend::{BackendError, EventKind, PodContext, PodUid};
use crate::pods::address::AddressTaken;
use crate::pods::admission::{Taken, admit};
use crate::pods::requests::requests;
use crate::pods::status::{Failure, is_terminal};

use super::Agent;

/// A stable address that is taken may become free on another node, of which nothing is heard here.
const ADDRESS_RETRY: Duration = Duration::from_secs(5);

impl Agent {
    /// Admits the pod, finds its address and hands it to the backend; or notes why not.
    pub(super) fn start(&mut self, uid: &PodUid) {
        let Some(entry) = self.entries.get(uid) else { return };
        let pod = entry.pod.clone();
        if entry.holds.is_none() {
            if let Err(failure) = admit(&pod, &self.config.offer, &self.taken(uid)) {
                self.refuse(uid, failure);
                return;
            }
            if let Some(entry) = self.entries.get_mut(uid) {
                entry.holds = Some(pod.spec.as_ref().map(requests).unwrap_or_default());
                entry.granted = Some(pod.clone());
            }
        }
        let Some(address) = self.address(uid, &pod) else { return };
        if let Some(entry) = self.entries.get_mut(uid) {
            entry.ip = Some(address);
        }
        self.publish(uid);
        self.give(uid);
    }

    /// Tells the backend what the pod is now, with the resources it may have.
    pub(super) fn sync(&mut self, uid: &PodUid) {
        self.grant(uid);
        self.give(uid);
    }

    /// Hands the granted pod to the backend.
    fn give(&mut self, uid: &PodUid) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let (Some(pod_ip), Some(granted)) = (entry.ip, entry.granted.clone()) else { return };
        let pod = entry.pod.clone();
        entry.given = Some(pod.clone());
        let context = PodContext {
            pod_ip,
            host_ip: IpAddr::V4(self.config.address),
            allocatable: self.config.allocatable.clone(),
            env: self.config.env.clone(),
            sources: self.node_sources.clone(),
        };
        self.config.references.set(&(self.config.index, uid.clone()), &pod);
        match self.config.backend.sync_pod(granted, context) {
            Ok(()) => {}
            Err(BackendError::Refused { code, message }) => {
                let message = format!("{code}: {message}");
                self.refuse(uid, Failure { reason: "Refused".to_owned(), message });
            }
            Err(error) => {
                tracing::warn!(%uid, %error, "the backend did not take a pod");
                if let Some(entry) = self.entries.get_mut(uid) {
                    entry.given = None;
                    entry.failures = entry.failures.saturating_add(1);
                    let after = super::entry::retry_after(entry.failures);
                    self.look_again(uid, after);
                }
            }
        }
    }

    fn refuse(&mut self, uid: &PodUid, failure: Failure) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.holds = None;
        let (reason, message) = (failure.reason.clone(), failure.message.clone());
        entry.failure = Some(failure);
        let pod = entry.pod.clone();
        self.config.recorder.pod(&self.config.name, &pod, EventKind::Warning, &reason, message);
    }

    /// What all other pods hold.
    pub(super) fn taken(&self, except: &PodUid) -> Taken {
        let mut taken = Taken::default();
        let others = self.entries.iter().filter(|(uid, _)| *uid != except);
        for (_, entry) in others {
            let ended = is_terminal(entry.status.phase.as_deref());
            if let Some(holds) = entry.holds.as_ref().filter(|_| !ended) {
                taken.add(holds);
            }
        }
        taken
    }

    /// The pod's address. Pods on the host network share the node's; a pod whose address is taken waits for it and
    /// says so once.
    fn address(&mut self, uid: &PodUid, pod: &Arc<Pod>) -> Option<IpAddr> {
        if pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true) {
            return Some(IpAddr::V4(self.config.address));
        }
        match self.addresses(|addresses, node| addresses.assign(node, uid, pod)) {
            Ok(address) => {
                if let Some(entry) = self.entries.get_mut(uid) {
                    entry.no_address = None;
                }
                Some(IpAddr::V4(address))
            }
            Err(error) => {
                let message = error.to_string();
                let entry = self.entries.get_mut(uid)?;
                if entry.no_address.as_deref() != Some(&message) {
                    entry.no_address = Some(message.clone());
                    let waiting = matches!(error, AddressTaken::Predecessor(_));
                    let kind = if waiting { EventKind::Normal } else { EventKind::Warning };
                    self.config.recorder.pod(&self.config.name, pod, kind, "NoPodAddress", message);
                }
                self.look_again(uid, ADDRESS_RETRY);
                None
            }
        }
    }
}
