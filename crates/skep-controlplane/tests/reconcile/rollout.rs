//! Changes of a running control plane: in which order, and what a failing one leaves alone.

use anyhow::Result;
use serde_json::{Value, json};
use skep_api::condition::ConditionType::{Progressing, Ready};

use crate::cell::{Cell, failing, ready};
use crate::life::running;

const VERSION: &str = "app.kubernetes.io/version";
const REVISION: &str = "skep.dev/revision";

fn upgrade(cell: &Cell) {
    cell.change(|spec| {
        spec["version"] = json!("v1.36.3");
        spec["image"] = json!("skep.dev/kube:v1.36.3");
    });
}

fn versions(cell: &Cell) -> [String; 3] {
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler"]
        .map(|program| cell.label(program, VERSION))
}

fn status(cell: &Cell) -> skep_api::ControlPlaneStatus {
    cell.control_plane().and_then(|object| object.status).unwrap_or_default()
}

#[tokio::test]
async fn controllers_follow_the_api_servers() -> Result<()> {
    let cell = running().await?;
    upgrade(&cell);
    cell.fresh_pass().await?;
    assert_eq!(versions(&cell), ["v1.36.3", "v1.35.4", "v1.35.4"]);
    assert!(cell.condition(Ready).starts_with("True Serving: 1 API server serves Kubernetes v1.35.4"));
    let step = cell.condition(Progressing);
    assert!(step.starts_with("True RollingOut: kube-apiserver: 0 of 1 copy ready, 1 old one"), "{step}");
    assert_eq!(status(&cell).observed_generation, Some(1));

    cell.run_pods(&ready).await?;
    cell.fresh_pass().await?;
    assert_eq!(versions(&cell), ["v1.36.3"; 3].map(str::to_owned));
    assert_eq!(status(&cell).version.as_deref(), Some("v1.36.3"));

    cell.run_pods(&ready).await?;
    cell.fresh_pass().await?;
    assert!(cell.condition(Progressing).starts_with("False Settled"), "{}", cell.condition(Progressing));
    assert_eq!(status(&cell).observed_generation, Some(2));
    assert_eq!(status(&cell).highest_version.as_deref(), Some("v1.36.3"));
    Ok(())
}

#[tokio::test]
async fn controllers_wait_for_the_last_of_several_api_servers() -> Result<()> {
    let cell = running().await?;
    cell.change(|spec| spec["apiServer"]["replicas"] = json!(2));
    cell.fresh_pass().await?;
    cell.run_pods(&ready).await?;
    upgrade(&cell);
    cell.fresh_pass().await?;
    let one_of_two = |pod: &Value| match pod["metadata"]["name"].as_str() {
        Some("kube-apiserver-v1-36-3-1") => json!({"phase": "Pending"}),
        _ => ready(pod),
    };
    cell.run_pods(&one_of_two).await?;
    cell.fresh_pass().await?;
    assert_eq!(versions(&cell), ["v1.36.3", "v1.35.4", "v1.35.4"]);
    assert_eq!(status(&cell).version.as_deref(), Some("v1.35.4"), "the lower one counts");
    assert_eq!(status(&cell).highest_version.as_deref(), Some("v1.36.3"), "and the higher one is remembered");
    Ok(())
}

#[tokio::test]
async fn a_failing_new_api_server_takes_nobody_down() -> Result<()> {
    let cell = running().await?;
    let before = cell.label("kube-controller-manager", REVISION);
    cell.change(|spec| spec["apiServer"]["flags"] = json!([{"name": "no-such-flag", "value": "1"}]));
    cell.fresh_pass().await?;
    let bad = |pod: &Value| {
        let args = pod["spec"]["containers"][0]["args"].to_string();
        if args.contains("no-such-flag") {
            failing("Error: unknown flag: --no-such-flag")
        } else {
            ready(pod)
        }
    };
    // The name of a pod follows its version: the old copy is another pod only if it has another name.
    rename_old(&cell);
    cell.run_pods(&bad).await?;
    cell.fresh_pass().await?;
    assert!(cell.condition(Ready).starts_with("True Serving"), "{}", cell.condition(Ready));
    insta::assert_snapshot!(cell.condition(Progressing));
    assert_eq!(cell.label("kube-controller-manager", REVISION), before);
    assert_eq!(status(&cell).observed_generation, Some(1));

    cell.change(|spec| spec["apiServer"]["flags"] = json!([]));
    cell.fresh_pass().await?;
    cell.run_pods(&bad).await?;
    cell.fresh_pass().await?;
    assert!(cell.condition(Progressing).starts_with("False Settled"), "{}", cell.condition(Progressing));
    Ok(())
}

#[tokio::test]
async fn a_flag_of_a_controller_replaces_that_controller_only() -> Result<()> {
    let cell = running().await?;
    let revisions = |cell: &Cell| {
        ["kube-apiserver", "kube-controller-manager", "kube-scheduler"].map(|p| cell.label(p, REVISION))
    };
    let before = revisions(&cell);
    cell.change(|spec| spec["scheduler"]["flags"] = json!([{"name": "v", "value": "4"}]));
    cell.fresh_pass().await?;
    let after = revisions(&cell);
    assert_eq!(after[..2], before[..2]);
    assert_ne!(after[2], before[2]);
    Ok(())
}

/// Gives the pod that serves another name, so that the next one of its version is a pod of its own.
fn rename_old(cell: &Cell) {
    let pods = cell.objects("pods");
    let old = pods.iter().find(|pod| pod["metadata"]["name"] == "kube-apiserver-v1-35-4-0").unwrap();
    let mut renamed = old.clone();
    renamed["metadata"]["name"] = json!("kube-apiserver-before");
    renamed["metadata"]["uid"] = json!("before");
    cell.fake.plant(renamed);
}
