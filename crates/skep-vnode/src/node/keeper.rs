//! Keeps the node's object and lease alive: registers, renews, reports.
//!
//! Intervals are the kubelet's: a lease every ten seconds, conditions looked at every ten seconds and written when one
//! turned, or every five minutes. A node object that somebody deleted is made again.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{GetParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use super::object::{self, NodeFacts, NotReady};
use super::pressure::Pressures;
use crate::backend::EventKind;
use crate::events::Recorder;

/// How often the lease is renewed and the machine is looked at.
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// How often an unchanged status is written nevertheless (`nodeStatusReportFrequency`).
const REPORT: jiff::SignedDuration = jiff::SignedDuration::from_mins(5);
/// How long a lease holds (`nodeLeaseDurationSeconds`).
const LEASE_SECONDS: i32 = 40;
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// One call; well below the life of a lease.
const DEADLINE: Duration = Duration::from_secs(8);

/// Keeps one node.
pub struct Keeper {
    client: Client,
    recorder: Recorder,
    name: Arc<str>,
    /// What the node controller has of us, `None` until registered.
    registered: Option<Registered>,
}

struct Registered {
    uid: String,
    conditions: Vec<NodeCondition>,
    reported: Option<Timestamp>,
    version: String,
}

/// Why a beat failed; the next one tries again.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The API server refused or could not be reached.
    #[error("{doing} {node}: {source}")]
    Api {
        /// What was being done.
        doing: &'static str,
        /// The node.
        node: Arc<str>,
        /// What went wrong.
        #[source]
        source: Box<kube::Error>,
    },
    /// No answer in time.
    #[error("{doing} {node}: the API server did not answer")]
    Timeout {
        /// What was being done.
        doing: &'static str,
        /// The node.
        node: Arc<str>,
    },
}

impl Keeper {
    /// A keeper for the node of this name, not registered yet.
    #[must_use]
    pub fn new(client: Client, recorder: Recorder, name: Arc<str>) -> Self {
        Self { client, recorder, name, registered: None }
    }

    /// One beat: registered, lease renewed, status as it should be.
    ///
    /// # Errors
    /// When a call failed; everything that did not happen is done by the next beat.
    pub async fn beat(
        &mut self,
        facts: &NodeFacts<'_>,
        pressures: Pressures<bool>,
        not_ready: &NotReady,
    ) -> Result<(), KeeperError> {
        if self.registered.is_none() {
            self.register(facts).await?;
        }
        // The lease first: it is what keeps the node's pods where they are.
        let renewed = self.renew(facts).await;
        let reported = self.report(facts, pressures, not_ready).await;
        renewed.and(reported)
    }

    async fn register(&mut self, facts: &NodeFacts<'_>) -> Result<(), KeeperError> {
        let api = Api::<Node>::all(self.client.clone());
        let found = self.call("reading node", api.get_opt(&self.name)).await?;
        let node = match found {
            Some(node) => {
                let labels = object::labels(facts);
                let have = node.metadata.labels.clone().unwrap_or_default();
                if labels.iter().any(|(key, value)| have.get(key) != Some(value)) {
                    let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
                    self.call("labelling node", api.patch(&self.name, &PatchParams::default(), &patch))
                        .await?
                } else {
                    node
                }
            }
            None => {
                self.call("creating node", api.create(&PostParams::default(), &object::node(facts))).await?
            }
        };
        let uid = node.metadata.uid.unwrap_or_default();
        if self.registered.as_ref().is_some_and(|known| known.uid == uid) {
            return Ok(());
        }
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        self.registered = Some(Registered { uid, conditions, reported: None, version: String::new() });
        self.recorder.node(&self.name, EventKind::Normal, "Starting", "Starting virtual node.".to_owned());
        Ok(())
    }

    async fn renew(&mut self, facts: &NodeFacts<'_>) -> Result<(), KeeperError> {
        let api = Api::<Lease>::namespaced(self.client.clone(), LEASE_NAMESPACE);
        let now = MicroTime(Timestamp::now());
        let patch = Patch::Merge(json!({"spec": {
            "renewTime": now, "holderIdentity": self.name, "leaseDurationSeconds": LEASE_SECONDS,
        }}));
        let parameters = PatchParams::default();
        let renewed = self
            .call("renewing the lease of node", api.patch_metadata(&self.name, &parameters, &patch))
            .await;
        match renewed {
            Err(KeeperError::Api { source, .. }) if is_not_found(&source) => {}
            other => return other.map(drop),
        }
        // A lease goes with its node, so the node may be gone as well.
        self.register(facts).await?;
        let uid = self.registered.as_ref().map(|registered| registered.uid.clone()).unwrap_or_default();
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.to_string()),
                owner_references: Some(vec![OwnerReference {
                    api_version: "v1".to_owned(),
                    kind: "Node".to_owned(),
                    name: self.name.to_string(),
                    uid,
                    ..OwnerReference::default()
                }]),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.name.to_string()),
                lease_duration_seconds: Some(LEASE_SECONDS),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        };
        let created =
            self.call("creating the lease of node", api.create(&PostParams::default(), &lease)).await;
        match created {
            Err(KeeperError::Api { source, .. }) if matches!(&*source, kube::Error::Api(s) if s.is_already_exists()) => {
                Ok(())
            }
            other => other.map(drop),
        }
    }

    async fn report(
        &mut self,
        facts: &NodeFacts<'_>,
        pressures: Pressures<bool>,
        not_ready: &NotReady,
    ) -> Result<(), KeeperError> {
        self.look().await?;
        let Some(registered) = &self.registered else { return Ok(()) };
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH);
        let conditions = object::conditions(pressures, not_ready, &registered.conditions, now);
        let turned = !object::has_conditions(&registered.conditions, &conditions);
        let due = registered.reported.is_none_or(|then| now.duration_since(then) >= REPORT);
        if !turned && !due && registered.version == facts.version {
            return Ok(());
        }
        let mut status = object::status(facts);
        status.conditions = Some(conditions.clone());
        let patch = Patch::Strategic(json!({"status": status}));
        let api = Api::<Node>::all(self.client.clone());
        let parameters = PatchParams::default();
        match self
            .call("reporting the status of node", api.patch_status(&self.name, &parameters, &patch))
            .await
        {
            Err(KeeperError::Api { source, .. }) if is_not_found(&source) => {
                // Somebody deleted the node: the next beat makes it again.
                self.registered = None;
                return Ok(());
            }
            other => other.map(drop)?,
        }
        let Some(registered) = &mut self.registered else { return Ok(()) };
        let before = std::mem::replace(&mut registered.conditions, conditions);
        registered.reported = Some(now);
        registered.version = facts.version.to_owned();
        let turned = turned_conditions(&before, &registered.conditions);
        for reason in turned {
            let message = format!("Node {} status is now: {reason}", self.name);
            self.recorder.node(&self.name, EventKind::Normal, &reason, message);
        }
        Ok(())
    }

    /// Reads what others see of this node. After a time without leases the node controller writes that it knows nothing,
    /// and only a report turns that: as a kubelet does, we compare with the object, not with what we wrote last.
    async fn look(&mut self) -> Result<(), KeeperError> {
        let Some(uid) = self.registered.as_ref().map(|registered| registered.uid.clone()) else {
            return Ok(());
        };
        let api = Api::<Node>::all(self.client.clone());
        // From the API server's cache, which costs etcd nothing; what is missing there is seen by the next beat.
        let params = GetParams { resource_version: Some("0".to_owned()) };
        match self.call("reading node", api.get_with(&self.name, &params)).await {
            Ok(node) if node.metadata.uid.as_deref() == Some(uid.as_str()) => {
                if let Some(registered) = &mut self.registered {
                    registered.conditions = node.status.and_then(|s| s.conditions).unwrap_or_default();
                }
                Ok(())
            }
            // Another one of the same name: it is made ours by the next beat.
            Ok(_) => {
                self.registered = None;
                Ok(())
            }
            Err(KeeperError::Api { source, .. }) if is_not_found(&source) => {
                self.registered = None;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn call<T>(
        &self,
        doing: &'static str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, KeeperError> {
        match tokio::time::timeout(DEADLINE, call).await {
            Ok(answer) => answer.map_err(|error| KeeperError::Api {
                doing,
                node: self.name.clone(),
                source: Box::new(error),
            }),
            Err(_) => Err(KeeperError::Timeout { doing, node: self.name.clone() }),
        }
    }
}

fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}

/// Event reasons for conditions that turned, named as a kubelet names them.
fn turned_conditions(before: &[NodeCondition], now: &[NodeCondition]) -> Vec<String> {
    let turned = now.iter().filter(|condition| {
        !before.iter().any(|known| known.type_ == condition.type_ && known.status == condition.status)
    });
    let reason = |condition: &NodeCondition| match (condition.type_.as_str(), condition.status.as_str()) {
        ("Ready", "True") => "NodeReady".to_owned(),
        ("Ready", _) => "NodeNotReady".to_owned(),
        _ => condition.reason.clone().unwrap_or_default().replacen("Kubelet", "Node", 1),
    };
    turned.map(reason).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_turned_is_an_event() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let calm = object::conditions(Pressures::default(), &Vec::new(), &[], at(1));
        let full = Pressures { disk: true, ..Pressures::default() };
        let pressed = object::conditions(full, &vec!["x".into()], &calm, at(2));
        assert_eq!(turned_conditions(&calm, &pressed), ["NodeHasDiskPressure", "NodeNotReady"]);
        assert!(turned_conditions(&pressed, &pressed).is_empty());
    }
}
