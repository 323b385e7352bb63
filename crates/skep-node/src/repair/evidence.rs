//! What was known of a node before repair touched it, kept where people who look for the cause find it: a ConfigMap beside
//! the machine, which outlives the machine and goes with its pool.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::ListParams;
use kube::{Api, Resource as _, ResourceExt as _};
use skep_api::{Machine, NodePool, RepairOrder, labels};
use skep_kubeops::{Applier, Key};

use crate::Error;
use crate::tenants::Node;

/// Pieces of evidence kept of a pool.
const KEPT: usize = 20;
/// Bytes of the console that are kept: its end.
const CONSOLE: usize = 32 << 10;

/// What is kept.
pub(crate) struct Evidence<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) order: &'a RepairOrder,
    /// Its node, as its API server has it.
    pub(crate) node: Option<&'a Node>,
    /// The end of what the machine wrote to its console.
    pub(crate) console: &'a str,
}

/// Keeps it, and lets the oldest of the pool go when there are too many. Doing it again changes nothing but the content.
///
/// # Errors
/// The hub refused or could not be reached.
pub(crate) async fn keep(applier: &Applier, pool: &NodePool, evidence: &Evidence<'_>) -> Result<(), Error> {
    let object = build(pool, evidence);
    applier.apply(&object).await?;
    let namespace = pool.namespace().unwrap_or_default();
    let api: Api<ConfigMap> = Api::namespaced(applier.client().clone(), &namespace);
    let selector = format!("{},{}", crate::pool::selector(pool), labels::EVIDENCE);
    let all = api.list_metadata(&ListParams::default().labels(&selector)).await;
    let mut all = all
        .map_err(|error| skep_kubeops::Error::api::<ConfigMap>("list", &selector, error))?
        .items
        .into_iter()
        .filter(|one| one.metadata.name != object.metadata.name)
        .collect::<Vec<_>>();
    all.sort_by_key(|one| (one.metadata.creation_timestamp.as_ref().map(|time| time.0), one.name_any()));
    // The one that was just written is the newest.
    let surplus = (all.len() + 1).saturating_sub(KEPT);
    for one in all.iter().take(surplus) {
        let key = Key::namespaced(namespace.as_str(), one.name_any());
        applier.delete_if_exists::<ConfigMap>(&key, one.metadata.uid.as_deref()).await?;
    }
    Ok(())
}

/// The object: one for each machine and action, so that a reboot's is still there when its machine is replaced.
fn build(pool: &NodePool, evidence: &Evidence<'_>) -> ConfigMap {
    let (machine, order) = (evidence.machine, evidence.order);
    let action = order.action.to_string();
    let labels = [
        (labels::MANAGED_BY, labels::MANAGED_BY_SKEP.to_owned()),
        (labels::CLUSTER, pool.spec.cluster.clone()),
        (labels::POOL, pool.name_any()),
        (labels::EVIDENCE, machine.name_any()),
    ];
    let owner = pool.owner_ref(&()).map(|owner| OwnerReference { controller: None, ..owner });
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(format!("{}-{}", machine.name_any(), action.to_lowercase())),
            namespace: pool.namespace(),
            labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
            owner_references: Some(owner.into_iter().collect()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([
            ("summary.txt".to_owned(), summary(evidence)),
            ("conditions.txt".to_owned(), conditions(evidence.node)),
            ("console.log".to_owned(), end(evidence.console, CONSOLE)),
        ])),
        ..ConfigMap::default()
    }
}

fn summary(evidence: &Evidence<'_>) -> String {
    let (machine, order) = (evidence.machine, evidence.order);
    let status = machine.status.clone().unwrap_or_default();
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let lines = [
        ("action", order.action.to_string()),
        ("because", order.because.to_string()),
        ("decided", order.at.0.to_string()),
        ("machine", machine.name_any()),
        ("uid", or_none(machine.uid())),
        ("zone", machine.spec.zone.clone()),
        ("provider id", or_none(status.provider_id)),
        ("address", or_none(status.address)),
        ("phase", or_none(status.phase.map(|phase| phase.to_string()))),
        ("not ready since", or_none(status.unready_since.map(|since| since.0.to_string()))),
        ("kubelet", or_none(status.versions.as_ref().map(|versions| versions.kubelet.clone()))),
        ("runtime", or_none(status.versions.as_ref().map(|versions| versions.container_runtime.clone()))),
        ("kernel", or_none(status.versions.map(|versions| versions.kernel))),
    ];
    lines.iter().map(|(what, value)| format!("{what}: {value}\n")).collect()
}

/// Conditions of the node, one to a line. Their number and length are bounded where nodes are read.
fn conditions(node: Option<&Node>) -> String {
    let Some(node) = node else { return "there is no node\n".to_owned() };
    let line = |one: &crate::tenants::NodeCondition| {
        format!("{}={} {}: {}\n", one.type_, one.status, one.reason, one.message.replace('\n', " "))
    };
    node.status.conditions.iter().map(line).collect()
}

/// The end of a text, from the beginning of a line.
fn end(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let begin = (text.len() - most..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let tail = text.get(begin..).unwrap_or_default();
    tail.split_once('\n').map_or(tail, |(_, lines)| lines).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn evidence_is_bounded_and_says_whose_it_is() {
        let pool: NodePool = serde_json::from_value(json!({
            "metadata": {"name": "workers", "namespace": "team", "uid": "p-uid"},
            "spec": {"cluster": "demo", "template": {"machineClass": "small"}}}))
        .unwrap();
        let machine: Machine = serde_json::from_value(json!({
            "metadata": {"name": "demo-workers-abcde", "namespace": "team", "uid": "m-uid"},
            "spec": {"cluster": "demo", "zone": "a", "template": {"machineClass": "small"}},
            "status": {"phase": "NotReady", "unreadySince": "2026-01-01T00:00:00Z", "providerId": "x://y"}}))
        .unwrap();
        let order: RepairOrder =
            serde_json::from_value(json!({"machine": "demo-workers-abcde", "action": "Reboot",
            "because": "NotReady", "at": "2026-01-01T00:05:00Z"}))
            .unwrap();
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "n"}, "status": {"conditions": [
            {"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "PLEG is\nnot healthy"}]}}))
        .unwrap();
        let console: String = (0..100_000).map(|line| format!("line {line} ü\n")).collect();
        let evidence = Evidence { machine: &machine, order: &order, node: Some(&node), console: &console };
        let object = build(&pool, &evidence);
        assert_eq!(object.name_any(), "demo-workers-abcde-reboot");
        let owner = &object.owner_references()[0];
        assert_eq!((&*owner.uid, owner.controller), ("p-uid", None));
        let data = object.data.unwrap();
        assert_eq!(data["conditions.txt"], "Ready=False KubeletNotReady: PLEG is not healthy\n");
        assert!(
            data["summary.txt"].contains("not ready since: 2026-01-01T00:00:00Z\n"),
            "{}",
            data["summary.txt"]
        );
        let kept = &data["console.log"];
        assert!(kept.len() <= CONSOLE && kept.starts_with("line ") && kept.ends_with("line 99999 ü\n"));
    }
}
