//! Pods leave a node: cordon, evict, wait.
//!
//! Evictions respect PodDisruptionBudgets; one that is refused is asked for again with the next pass. There is no event for
//! "may leave now", so this is the one place that looks again after a pause, as `kubectl drain` does.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use skep_api::node_pool::{Drain, OnDrainTimeout};
use skep_kubeops::error::{describe, is_not_found};
use skep_kubeops::{Error as CallError, Key};

use crate::Error;
use crate::tenants::{Node, Pod, Tenant};

/// Annotation of pods that a kubelet has made from files: they go with their node.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Evictions at once.
const PARALLEL: usize = 8;
/// Pods named in one message before the rest is counted.
const NAMED: usize = 5;
/// Pause before pods are looked at again.
pub(super) const AGAIN: Duration = Duration::from_secs(2);
/// The same, when time is over and pods stay because the rules want it so.
pub(super) const BLOCKED_AGAIN: Duration = Duration::from_secs(30);

/// How far a drain is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nobody is left that has to leave.
    Done,
    /// Pods are left; the sentence names them.
    Waits(String),
    /// Time is over and the node stays; the sentence names who holds it.
    Blocked(String),
    /// Time is over and the node goes all the same; the sentence names who goes with it.
    Forced(String),
}

/// One step of a drain that began at `started`.
///
/// # Errors
/// The tenant's API server refused or could not be reached.
pub(super) async fn step(
    tenant: &Tenant,
    cluster: &Key,
    node: &Node,
    rules: &Drain,
    started: Timestamp,
    now: Timestamp,
) -> Result<Progress, Error> {
    let name = node.name_any();
    if !node.spec.unschedulable {
        cordon(tenant, cluster, &name, true).await?;
    }
    let pods: Api<Pod> = Api::all(tenant.applier.client().clone());
    let here = ListParams::default().fields(&format!("spec.nodeName={name}"));
    let listed = pods.list(&here).await;
    let listed =
        listed.map_err(|error| Error::tenant(cluster)(CallError::api::<Pod>("list", &name, error)))?;
    let held = listed.items.into_iter().filter(|pod| holds(pod, node.answers()));
    let left = stream::iter(held).map(|pod| evict(tenant, pod)).buffered(PARALLEL).collect::<Vec<_>>().await;
    Ok(progress(left.into_iter().flatten().collect(), rules, started, now))
}

/// No new pods, or new ones again.
///
/// # Errors
/// The tenant's API server refused or could not be reached.
pub(super) async fn cordon(tenant: &Tenant, cluster: &Key, name: &str, cordoned: bool) -> Result<(), Error> {
    let nodes: Api<Node> = Api::all(tenant.applier.client().clone());
    let patch = Patch::Merge(json!({"spec": {"unschedulable": cordoned}}));
    match nodes.patch(name, &PatchParams::default(), &patch).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(Error::tenant(cluster)(CallError::api::<Node>("cordon or uncordon", name, error))),
    }
}

/// Whether a drain waits for a pod. Pods of DaemonSets would come back at once, mirror pods are not the API's to end, and
/// those that have ended hold nothing. On a node that does not answer nobody ends a pod: once it is asked to, it is gone as
/// far as anybody can tell.
fn holds(pod: &Pod, node_answers: bool) -> bool {
    let owner = pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    let of_daemon_set =
        owner.is_some_and(|owner| owner.kind == "DaemonSet" && owner.api_version.starts_with("apps/"));
    let mirror = pod.annotations().contains_key(MIRROR);
    let ended = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
    let leaving = pod.metadata.deletion_timestamp.is_some();
    !(of_daemon_set || mirror || ended || (leaving && !node_answers))
}

/// Asks a pod to leave; gives its name and why it may not, if it is still there.
async fn evict(tenant: &Tenant, pod: Pod) -> Option<String> {
    let key = Key::of(&pod);
    if pod.metadata.deletion_timestamp.is_some() {
        return Some(format!("{key} (ends)"));
    }
    let api: Api<core::Pod> =
        Api::namespaced(tenant.applier.client().clone(), key.namespace.as_deref().unwrap_or_default());
    // This pod, not a later one of its name.
    let only = Preconditions { uid: pod.metadata.uid, resource_version: None };
    let params = EvictParams {
        delete_options: Some(DeleteParams { preconditions: Some(only), ..DeleteParams::default() }),
        ..EvictParams::default()
    };
    match api.evict(&key.name, &params).await {
        Ok(_) => Some(format!("{key} (ends)")),
        Err(error) if is_not_found(&error) => None,
        Err(kube::Error::Api(status)) if status.code == 429 => {
            Some(format!("{key} (its disruption budget holds it)"))
        }
        // Also what fails for other reasons: one pod must not keep the others from leaving.
        Err(error) => Some(format!("{key} ({})", describe(&error))),
    }
}

/// Pure: what follows from who is left.
fn progress(left: Vec<String>, rules: &Drain, started: Timestamp, now: Timestamp) -> Progress {
    if left.is_empty() {
        return Progress::Done;
    }
    let mut text = left.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if left.len() > NAMED {
        text.push_str(&format!(" and {} more", left.len() - NAMED));
    }
    match (is_over(rules, started, now), rules.on_timeout) {
        (false, _) => Progress::Waits(format!("pods to leave: {text}")),
        (true, OnDrainTimeout::Wait) => Progress::Blocked(format!(
            "pods have not left within {} s and drain.onTimeout is Wait: {text}; delete them, or raise their disruption \
             budget (SKEP-8059)",
            rules.timeout_seconds
        )),
        (true, OnDrainTimeout::Force) => {
            Progress::Forced(format!("pods have not left within {} s: {text}", rules.timeout_seconds))
        }
    }
}

/// Whether the time for a drain is over.
pub(super) fn is_over(rules: &Drain, started: Timestamp, now: Timestamp) -> bool {
    now.duration_since(started).as_secs() >= i64::from(rules.timeout_seconds)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(change: impl FnOnce(&mut Value)) -> Pod {
        let mut value = json!({"metadata": {"name": "p", "namespace": "n"}, "status": {"phase": "Running"}});
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_those_who_can_leave_hold_a_node() {
        let owned = |kind: &str, version: &str| {
            let owner =
                json!({"apiVersion": version, "kind": kind, "name": "o", "uid": "u", "controller": true});
            pod(|pod| pod["metadata"]["ownerReferences"] = json!([owner]))
        };
        assert!(holds(&pod(|_| {}), true), "also without an owner");
        assert!(holds(&owned("ReplicaSet", "apps/v1"), true));
        assert!(holds(&owned("DaemonSet", "example.com/v1"), true), "somebody else's kind of that name");
        assert!(!holds(&owned("DaemonSet", "apps/v1"), true));
        assert!(!holds(&pod(|pod| pod["metadata"]["annotations"] = json!({MIRROR: "x"})), true));
        for phase in ["Succeeded", "Failed"] {
            assert!(!holds(&pod(|pod| pod["status"]["phase"] = json!(phase)), true));
        }
        let leaving = pod(|pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
        assert!(holds(&leaving, true) && !holds(&leaving, false));
        assert!(holds(&pod(|_| {}), false), "it has to be asked first");
    }

    #[test]
    fn time_decides_what_follows_from_who_is_left() {
        let rules = |on_timeout| Drain { timeout_seconds: 60, on_timeout };
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        let left = || vec!["n/p (ends)".to_owned()];
        let go = |on_timeout, second| progress(left(), &rules(on_timeout), at(0), at(second));
        assert_eq!(progress(vec![], &rules(OnDrainTimeout::Wait), at(0), at(999)), Progress::Done);
        assert_eq!(go(OnDrainTimeout::Force, 59), Progress::Waits("pods to leave: n/p (ends)".into()));
        assert!(
            matches!(go(OnDrainTimeout::Force, 60), Progress::Forced(text) if text.contains("within 60 s"))
        );
        assert!(
            matches!(go(OnDrainTimeout::Wait, 60), Progress::Blocked(text) if text.contains("SKEP-8059"))
        );
        let many = vec!["n/p".to_owned(); 7];
        let Progress::Waits(text) = progress(many, &rules(OnDrainTimeout::Wait), at(0), at(0)) else {
            panic!()
        };
        assert!(text.ends_with("and 2 more"), "{text}");
    }
}
