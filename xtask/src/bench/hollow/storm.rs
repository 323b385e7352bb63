//! A zone of hollow nodes goes dark and comes back: what repair makes of it.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use skep_api::NodePool;

use super::{LOOK, NAME, until};
use crate::bench::report::{Goal, Report, Spread};

/// What says of a hollow node that it is one, and how it is.
const LABEL: &str = "skep.dev/hollow";
const ZONE: &str = "topology.kubernetes.io/zone";
/// How long a node of the pool may be not ready.
const NOT_READY: Duration = Duration::from_secs(60);
/// Patches at once.
const AT_ONCE: usize = 16;

/// Lets the zone of the first node go dark until its time is over, then come back.
pub async fn run(
    pools: &Api<NodePool>,
    tenant: &Client,
    limit: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({"spec": {"repair": {"notReadySeconds": NOT_READY.as_secs()}}}));
    pools.patch(NAME, &PatchParams::default(), &patch).await?;
    let nodes: Api<Node> = Api::all(tenant.clone());
    let all = nodes.list_metadata(&ListParams::default()).await?.items;
    let of = |node: &kube::core::PartialObjectMeta<Node>| node.labels().get(ZONE).cloned();
    let zone = all.first().and_then(of);
    let dark: Vec<String> =
        all.iter().filter(|node| of(node) == zone).map(kube::ResourceExt::name_any).collect();
    let (total, away) = (i32::try_from(all.len())?, i32::try_from(dark.len())?);
    let not_ready = || async {
        let status = pools.get(NAME).await?.status.unwrap_or_default();
        Ok((total - status.ready_replicas, away))
    };

    let began = Instant::now();
    label(&nodes, &dark, "dark").await?;
    until("nodes to be away", limit, not_ready).await?;
    let known = began.elapsed();
    let held = loop {
        let status = pools.get(NAME).await?.status.unwrap_or_default();
        let holds = |one: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
            one.type_ == "RepairAllowed" && one.status == "False"
        };
        if let Some(said) = status.conditions.iter().find(holds) {
            break said.message.clone();
        }
        anyhow::ensure!(status.repairs.is_empty(), "{} repairs were ordered", status.repairs.len());
        anyhow::ensure!(began.elapsed() < limit, "repair never said that it holds back");
        tokio::time::sleep(LOOK).await;
    };
    eprintln!("{}", held.chars().take(200).collect::<String>());

    let began = Instant::now();
    label(&nodes, &dark, "true").await?;
    until("nodes to be ready", limit, || async {
        Ok((pools.get(NAME).await?.status.unwrap_or_default().ready_replicas, total))
    })
    .await?;
    let back = began.elapsed();
    // As long as they may be not ready, in which something could still be ordered.
    tokio::time::sleep(NOT_READY + Duration::from_secs(15)).await;
    let status = pools.get(NAME).await?.status.unwrap_or_default();
    let count = status.repairs.len() as f64;
    let what = format!("a zone of {away} nodes goes dark");
    report.row(&format!("{what}: all known as not ready"), "s", Spread::seconds([known]), 1, None);
    report.row(&format!("{what}: back, all ready"), "s", Spread::seconds([back]), 1, None);
    let goal = Goal::at_most(0.0, count, "repairs");
    report.row(&format!("{what}: repairs ordered"), "number", Spread::of([count]), 1, Some(goal));
    report.notes.push(format!("While the zone was dark, repair said: {}", shortened(&held)));
    Ok(())
}

/// The first sentence.
fn shortened(text: &str) -> &str {
    text.split("; ").next().unwrap_or_default()
}

async fn label(nodes: &Api<Node>, names: &[String], value: &str) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"labels": {LABEL: value}}}));
    let parameters = PatchParams::default();
    let calls = names.iter().map(|name| nodes.patch_metadata(name, &parameters, &patch));
    stream::iter(calls).buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}
