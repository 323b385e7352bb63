//! The life of a pod with every API call failing once, in every way: it runs and is reported, and a deleted one leaves
//! no object, no process and no directory.

use skep_testkit::{Fault, Scenario};

use super::life::Installation;

async fn every_call_may_fail(faults: &[Fault]) {
    let scenario = Scenario::new(async || Ok(Installation::new())).faults(faults);
    let report = Box::pin(scenario.run()).await.unwrap();
    // Lists of pods, secrets and configMaps, both objects, statuses, events; at the end the last status and the deletion.
    assert!(report.creation.len() >= 8 && report.deletion.len() >= 5 && report.runs >= 15, "{report:#?}");
}

// Apart, because each run mostly waits for a back-off.

#[tokio::test]
async fn in_conflict() {
    every_call_may_fail(&[Fault::Conflict]).await;
}

#[tokio::test]
async fn too_many() {
    every_call_may_fail(&[Fault::TooManyRequests]).await;
}

#[tokio::test]
async fn unavailable() {
    every_call_may_fail(&[Fault::Unavailable]).await;
}

#[tokio::test]
async fn unanswered() {
    every_call_may_fail(&[Fault::TimeoutBefore, Fault::TimeoutAfter]).await;
}

#[tokio::test]
async fn in_a_crash() {
    every_call_may_fail(&[Fault::CrashBefore, Fault::CrashAfter]).await;
}
