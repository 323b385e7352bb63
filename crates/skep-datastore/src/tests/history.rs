//! History is dropped every five minutes, by one operator, whatever was lost.

use std::time::Duration;

use super::etcd_calls::{connection, material};
use crate::etcd::stage::{FakeEtcd, History, Moment};

fn history(etcd: &FakeEtcd) -> History {
    etcd.with(|held| held.history.clone())
}

/// Somebody's writes.
fn writes(etcd: &FakeEtcd, count: i64) {
    etcd.with(|held| held.history.revision += count);
}

#[tokio::test]
async fn what_is_older_than_an_interval_goes() {
    let etcd = FakeEtcd::default();
    writes(&etcd, 10);
    let root = connection(&etcd, &material());
    let next = root.drop_history().await.unwrap();
    assert!(next > Duration::from_secs(290), "{next:?}");
    assert_eq!(history(&etcd), History { revision: 11, mark: Some((11, "0".into())), compacted: 0 });
    writes(&etcd, 9);
    root.stage.fail(None);
    root.drop_history().await.unwrap();
    assert_eq!(root.stage.calls().len(), 0, "not yet");
    root.an_interval_passes().await;
    root.drop_history().await.unwrap();
    assert_eq!(history(&etcd), History { revision: 21, mark: Some((21, "11".into())), compacted: 11 });
    root.an_interval_passes().await;
    root.drop_history().await.unwrap();
    assert_eq!(history(&etcd), History { revision: 22, mark: Some((22, "21".into())), compacted: 21 });
}

/// A new operator does not know how long ago the key was written, so it waits.
#[tokio::test]
async fn a_restart_never_drops_history_early() {
    let etcd = FakeEtcd::default();
    connection(&etcd, &material()).drop_history().await.unwrap();
    let before = history(&etcd);
    let next = connection(&etcd, &material());
    next.drop_history().await.unwrap();
    assert_eq!(history(&etcd), before);
    next.an_interval_passes().await;
    next.drop_history().await.unwrap();
    assert_eq!(history(&etcd).compacted, 1);
}

#[tokio::test]
async fn two_operators_drop_what_one_would() {
    let etcd = FakeEtcd::default();
    let (one, two) = (connection(&etcd, &material()), connection(&etcd, &material()));
    for root in [&one, &two] {
        root.drop_history().await.unwrap();
    }
    writes(&etcd, 5);
    for root in [&one, &two] {
        root.an_interval_passes().await;
    }
    let (first, second) = tokio::join!(one.drop_history(), two.drop_history());
    first.and(second).unwrap();
    assert_eq!(history(&etcd), History { revision: 7, mark: Some((7, "1".into())), compacted: 1 });
}

/// etcd went further by itself, while the operator was away.
#[tokio::test]
async fn history_that_is_gone_is_no_failure() {
    let etcd = FakeEtcd::default();
    let root = connection(&etcd, &material());
    root.drop_history().await.unwrap();
    etcd.with(|held| (held.history.revision, held.history.compacted) = (9, 8));
    root.an_interval_passes().await;
    root.drop_history().await.unwrap();
    assert_eq!(history(&etcd), History { revision: 10, mark: Some((10, "1".into())), compacted: 8 });
}

/// Whichever call fails: never more than history older than an interval is dropped, and two intervals later the drops
/// go on as if nothing had been.
#[tokio::test]
async fn any_call_may_fail() {
    for k in 1..=3 {
        for moment in [Moment::Before, Moment::After] {
            let etcd = FakeEtcd::default();
            let root = connection(&etcd, &material());
            root.drop_history().await.unwrap();
            writes(&etcd, 5);
            root.an_interval_passes().await;
            root.stage.fail(Some((k, moment)));
            root.drop_history().await.unwrap_err();
            root.stage.fail(None);
            assert!(history(&etcd).compacted <= 1, "call {k} {moment:?}");
            for _ in 0..2 {
                root.drop_history().await.unwrap();
                assert!(history(&etcd).compacted <= 1, "call {k} {moment:?}: not an interval later");
            }
            let before = history(&etcd).mark.unwrap().0;
            root.an_interval_passes().await;
            root.drop_history().await.unwrap();
            assert_eq!(history(&etcd).compacted, before, "call {k} {moment:?}");
        }
    }
}
