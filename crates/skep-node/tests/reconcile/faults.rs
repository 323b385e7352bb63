//! The life of a pool with every API call failing once, in every way: it ends in the same objects, and a deleted one leaves
//! neither objects nor machines.

use skep_testkit::{Fault, Scenario};

use crate::world::World;

#[tokio::test(start_paused = true)]
async fn a_pool_survives_every_fault_and_leaves_nothing() {
    let report = Scenario::new(|| async { Ok(World::of(1)) }).run().await.unwrap();
    assert!(report.creation.len() >= 25 && report.deletion.len() >= 12, "{report:?}");
    println!(
        "{} calls to create, {} to delete, {} runs with a fault",
        report.creation.len(),
        report.deletion.len(),
        report.runs
    );
}

/// Of several machines some are made or gone already when it happens.
#[tokio::test(start_paused = true)]
async fn several_machines_survive_what_was_done_and_not_heard_of() {
    let report = Scenario::new(|| async { Ok(World::of(2)) })
        .faults(&[Fault::TimeoutAfter, Fault::CrashAfter])
        .run()
        .await
        .unwrap();
    assert!(report.creation.len() >= 40, "{report:?}");
}
