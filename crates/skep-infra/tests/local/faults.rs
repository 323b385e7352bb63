//! A call that is stopped before any of its effects is gone on with by the next process, and nothing is left at the end.

use skep_infra::{Provider as _, State};

use super::harness::*;

/// Not stopped by any step.
const NEVER: u32 = u32::MAX;

#[tokio::test]
async fn making_goes_on_after_every_step() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    let order = order("m1", "node-1", "a");
    let (local, steps) = ground.open_failing(NEVER);
    let wanted = local.ensure(&order).await.unwrap();
    let selection = steps.selection();
    assert!(selection.len() > 20, "{selection:?}");
    delete(&local, "m1").await;
    drop(local);
    for k in selection {
        let (local, steps) = ground.open_failing(k);
        let made = local.ensure(&order).await;
        // Where the machines of another test have made the common cgroup, there is less to do.
        let failed = steps.failed().unwrap_or("no step");
        assert_eq!(made.is_ok(), failed == "no step", "{failed}");
        drop(local);

        let local = ground.open();
        let machine = local.ensure(&order).await.unwrap_or_else(|error| panic!("after {failed}: {error}"));
        assert_eq!(machine, wanted, "after {failed}");
        ready(&ground, "m1").await;
        delete(&local, "m1").await;
        let remains = ground.remains();
        assert!(remains.is_empty(), "after {failed}: {remains:#?}");
    }
}

#[tokio::test]
async fn removing_goes_on_after_every_step() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    let order = order("m1", "node-1", "a");
    running(&ground, &ground.open(), &order).await;
    let (local, steps) = ground.open_failing(NEVER);
    delete(&local, "m1").await;
    let selection = steps.selection();
    assert!(selection.len() > 10, "{selection:?}");
    drop(local);
    for (round, k) in selection.into_iter().enumerate() {
        running(&ground, &ground.open(), &order).await;
        let (local, steps) = ground.open_failing(k);
        let deleted = local.delete("m1").await;
        let failed = steps.failed().unwrap_or("no step");
        assert_eq!(deleted.is_ok(), failed == "no step", "{failed}");
        drop(local);

        let local = ground.open();
        // Either somebody asks again, or it is only swept. Before its record says that it goes, nobody else knows.
        if round % 2 == 0 {
            delete(&local, "m1").await;
        } else {
            local.sweep().await.unwrap_or_else(|error| panic!("after {failed}: {error}"));
        }
        let remains = ground.remains();
        assert!(remains.is_empty(), "after {failed}: {remains:#?}");
    }
}

#[tokio::test]
async fn a_reboot_goes_on_after_every_step() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    let order = order("m1", "node-1", "a");
    running(&ground, &ground.open(), &order).await;
    let (local, steps) = ground.open_failing(NEVER);
    local.reboot("m1").await.unwrap();
    let selection = steps.selection();
    assert!(selection.len() > 20, "{selection:?}");
    drop(local);
    for k in selection {
        let (local, steps) = ground.open_failing(k);
        let rebooted = local.reboot("m1").await;
        // An agent that has only begun has made less that must be removed.
        let Some(failed) = steps.failed() else { continue };
        rebooted.unwrap_err();
        drop(local);

        let local = ground.open();
        let machine = local.ensure(&order).await.unwrap_or_else(|error| panic!("after {failed}: {error}"));
        assert_eq!(machine.state, State::Running, "after {failed}");
        let first = first_process(&ground, "m1");
        assert!(processes(&ground.installation()).contains(&first), "after {failed}");
    }
    delete(&ground.open(), "m1").await;
    ground.assert_clean();
}
