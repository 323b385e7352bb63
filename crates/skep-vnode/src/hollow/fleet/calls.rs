//! Calls to the API server: each runs in a task of its own and says how it went.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::hollow::node::{self, HOLLOW, NodeSpec};
use crate::hollow::seen::Seen;
use crate::pods::sources::text;

/// One call.
const DEADLINE: Duration = Duration::from_secs(15);
/// How long a lease holds (`nodeLeaseDurationSeconds`).
const LEASE_SECONDS: i32 = 40;
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// A call that ended.
pub enum Finished {
    /// For the node of this name.
    Node(Arc<str>, Done),
    /// For the pod with this uid.
    Pod(Arc<str>, Done),
}

/// How it went.
pub enum Done {
    /// The node is registered.
    Registered {
        /// Its uid.
        uid: String,
        /// It was before: an earlier run made it.
        before: bool,
    },
    /// Somebody else has a node of this name; what it says it is on.
    Foreign(String),
    /// The lease is renewed, and the status written if that was asked for.
    Renewed {
        /// It was.
        reported: bool,
    },
    /// The pod after the patch.
    Patched(Box<Seen>),
    /// The API server took the final deletion.
    Deleted,
    /// There is no such object, or another one of its name.
    Gone,
    /// To be tried again.
    Failed(String),
}

/// Makes the node's object and lease, or takes over those that an earlier run has made.
pub async fn register(client: Client, spec: Arc<NodeSpec>) -> Done {
    let made = async {
        let now = now();
        let api = Api::<Node>::all(client.clone());
        let (node, before) = match api.create(&PostParams::default(), &node::object(&spec, now)).await {
            Ok(node) => (node, false),
            Err(kube::Error::Api(status)) if status.is_already_exists() => (api.get(&spec.name).await?, true),
            Err(error) => return Err(error),
        };
        let uid = node.metadata.uid.clone().unwrap_or_default();
        if before {
            let on = node.spec.as_ref().and_then(|spec| spec.provider_id.clone()).unwrap_or_default();
            if on != spec.provider_id {
                return Ok(Done::Foreign(on));
            }
            let have = node.metadata.labels.clone().unwrap_or_default();
            let labels = node::labels(&spec);
            // What a person said about it stays.
            let missing: serde_json::Map<_, _> = labels
                .iter()
                .filter(|(key, value)| {
                    have.get(*key) != Some(value) && !(*key == HOLLOW && have.contains_key(*key))
                })
                .map(|(key, value)| (key.clone(), json!(value)))
                .collect();
            if !missing.is_empty() {
                let patch = Patch::Merge(json!({"metadata": {"labels": missing}}));
                api.patch_metadata(&spec.name, &PatchParams::default(), &patch).await?;
            }
        }
        // API servers take the status of a new node with it.
        if before || node.status.is_none_or(|status| status.conditions.is_none()) {
            report(&client, &spec, now).await?;
        }
        if renew(&client, &spec.name).await.is_err() {
            lease(&client, &spec.name, &uid).await?;
        }
        Ok(Done::Registered { uid, before })
    };
    answer(made).await
}

/// Renews the lease, and writes the status of a node that has been well since `report`.
pub async fn beat(client: Client, spec: Arc<NodeSpec>, uid: String, ready: Option<Timestamp>) -> Done {
    let beat = async {
        match renew(&client, &spec.name).await {
            Ok(()) => {}
            // A lease goes with its node: is that still there?
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                let found = Api::<Node>::all(client.clone()).get_metadata_opt(&spec.name).await?;
                if found.is_none_or(|node| node.metadata.uid.as_deref() != Some(&*uid)) {
                    return Ok(Done::Gone);
                }
                lease(&client, &spec.name, &uid).await?;
            }
            Err(error) => return Err(error),
        }
        if let Some(ready) = ready {
            report(&client, &spec, ready).await?;
        }
        Ok(Done::Renewed { reported: ready.is_some() })
    };
    answer(beat).await
}

async fn report(client: &Client, spec: &NodeSpec, ready: Timestamp) -> kube::Result<()> {
    let status = node::status(spec, ready, now());
    let patch = Patch::Strategic(json!({"status": status}));
    let api = Api::<Node>::all(client.clone());
    api.patch_status(&spec.name, &PatchParams::default(), &patch).await.map(drop)
}

async fn renew(client: &Client, name: &str) -> kube::Result<()> {
    let api = Api::<Lease>::namespaced(client.clone(), LEASE_NAMESPACE);
    let patch = Patch::Merge(json!({"spec": {"renewTime": MicroTime(Timestamp::now())}}));
    api.patch_metadata(name, &PatchParams::default(), &patch).await.map(drop)
}

async fn lease(client: &Client, name: &str, uid: &str) -> kube::Result<()> {
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        ..OwnerReference::default()
    };
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name.to_owned()),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        }),
    };
    let api = Api::<Lease>::namespaced(client.clone(), LEASE_NAMESPACE);
    match api.create(&PostParams::default(), &lease).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        other => other.map(drop),
    }
}

/// Writes a pod's status.
pub async fn patch(client: Client, namespace: Arc<str>, name: String, patch: Value) -> Done {
    let api = Api::<Seen>::namespaced(client, &namespace);
    let patch = Patch::Strategic(patch);
    answer(async {
        api.patch_status(&name, &PatchParams::default(), &patch)
            .await
            .map(|seen| Done::Patched(Box::new(seen)))
    })
    .await
}

/// Takes a pod that has ended out of the API.
pub async fn delete(client: Client, namespace: Arc<str>, name: String, uid: Arc<str>) -> Done {
    let api = Api::<Seen>::namespaced(client, &namespace);
    let parameters = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: Some(uid.to_string()), resource_version: None }),
        ..DeleteParams::default()
    };
    match answer(async { api.delete(&name, &parameters).await.map(|_| Done::Deleted) }).await {
        Done::Gone => Done::Deleted,
        done => done,
    }
}

async fn answer(call: impl Future<Output = kube::Result<Done>>) -> Done {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(Ok(done)) => done,
        Ok(Err(kube::Error::Api(status))) if status.is_not_found() => Done::Gone,
        Ok(Err(error)) => Done::Failed(text(&error)),
        Err(_) => Done::Failed(format!("no answer within {} s", DEADLINE.as_secs())),
    }
}

/// Whole seconds, as the API keeps them.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
}
