//! The life of a `Cluster` with every API call failing once, in every way: it ends in the same objects, and a deleted
//! one leaves nothing.

use skep_testkit::Scenario;

use crate::hub::Hub;

#[tokio::test]
async fn a_cluster_survives_every_fault_and_leaves_nothing() {
    let report = Scenario::new(|| async { Ok(Hub::new()) }).run().await.unwrap();
    assert!(report.creation.len() >= 5 && report.deletion.len() >= 4, "{report:?}");
    println!(
        "{} calls to create, {} to delete, {} runs with a fault",
        report.creation.len(),
        report.deletion.len(),
        report.runs
    );
}
