//! The controller runner keeps its promises.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use serde_json::json;
use skep_kubeops::{Applier, Cache, ErrorClass, Key, Observed, Targets, Trigger, watch::Select};

#[path = "controller/rig.rs"]
mod rig;

use rig::{Answer, Rig, config};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_reconcile_starts_the_moment_an_event_arrives() {
    let mut rig = Rig::start(|controller| controller).await;
    let before = tokio::time::Instant::now();
    rig.apply(&config("a", "1")).await;
    assert_eq!(rig.started().await, "a");
    assert_eq!(before.elapsed(), Duration::ZERO, "no debounce, no jitter");
}

#[tokio::test(start_paused = true)]
async fn an_object_never_runs_twice_at_once_and_misses_no_change() {
    let mut rig = Rig::start(|controller| controller).await;
    rig.apply(&config("a", "1")).await;
    assert_eq!(rig.started().await, "a");
    rig.apply(&config("a", "2")).await;
    rig.apply(&config("a", "3")).await;
    rig.quiet(30 * SECOND).await;
    rig.finish("a", Answer::Done);
    assert_eq!(rig.started().await, "a", "once more for both changes");
    rig.finish("a", Answer::Done);
    rig.quiet(60 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn what_happens_soon_after_a_reconcile_is_gathered() {
    let mut rig = Rig::start(|controller| controller).await;
    rig.apply(&config("a", "1")).await;
    rig.started().await;
    rig.finish("a", Answer::Done);
    let ended = tokio::time::Instant::now();
    for change in 2..6 {
        rig.apply(&config("a", &change.to_string())).await;
    }
    assert_eq!(rig.started().await, "a");
    let rest = ended.elapsed();
    assert!(rest > Duration::ZERO && rest < SECOND, "{rest:?}");
    rig.finish("a", Answer::Done);
    rig.quiet(60 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn objects_run_side_by_side_up_to_the_limit() {
    let mut rig = Rig::start(|controller| controller.concurrency(2)).await;
    for name in ["a", "b", "c"] {
        rig.apply(&config(name, "1")).await;
    }
    let mut first = [rig.started().await, rig.started().await];
    first.sort();
    assert_eq!(first, ["a", "b"]);
    rig.quiet(30 * SECOND).await;
    rig.finish("b", Answer::Done);
    assert_eq!(rig.started().await, "c");
}

#[tokio::test(start_paused = true)]
async fn what_is_due_while_all_slots_are_taken_waits_without_turning_the_loop() {
    let mut rig = Rig::start(|controller| controller.concurrency(1)).await;
    rig.apply(&config("again", "1")).await;
    rig.started().await;
    rig.finish("again", Answer::After(SECOND));
    rig.apply(&config("long", "1")).await;
    assert_eq!(rig.started().await, "long");
    // A loop that turned here would never let the paused clock move.
    rig.quiet(30 * SECOND).await;
    rig.finish("long", Answer::Done);
    assert_eq!(rig.started().await, "again");
}

#[tokio::test(start_paused = true)]
async fn failures_back_off_and_a_change_or_success_ends_that() {
    let mut rig = Rig::start(|controller| controller).await;
    rig.apply(&config("a", "1")).await;
    let mut pauses = Vec::new();
    for _ in 0..5 {
        assert_eq!(rig.started().await, "a");
        let failed = tokio::time::Instant::now();
        rig.finish("a", Answer::Fails(ErrorClass::Transient));
        pauses.push(rig.wait_for_start(&failed).await);
    }
    for (pause, ideal) in pauses.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0]) {
        let seconds = pause.as_secs_f64();
        assert!((ideal * 0.79..ideal * 1.21).contains(&seconds), "{pauses:?}");
    }
    rig.started().await;
    rig.finish("a", Answer::Fails(ErrorClass::Transient));
    rig.quiet(5 * SECOND).await;
    let now = tokio::time::Instant::now();
    rig.apply(&config("a", "2")).await;
    assert_eq!(rig.wait_for_start(&now).await, Duration::ZERO, "a change does not wait for the backoff");
    rig.started().await;
    let failed = tokio::time::Instant::now();
    rig.finish("a", Answer::Fails(ErrorClass::Transient));
    assert!(rig.wait_for_start(&failed).await < 2 * SECOND, "the backoff begins anew");
}

#[tokio::test(start_paused = true)]
async fn permanent_failures_wait_for_a_change_and_waiting_ones_for_their_time() {
    let mut rig = Rig::start(|controller| controller.resync(3600 * SECOND)).await;
    rig.apply(&config("a", "1")).await;
    rig.started().await;
    rig.finish("a", Answer::Fails(ErrorClass::Permanent));
    rig.quiet(1800 * SECOND).await;
    rig.apply(&config("a", "2")).await;
    rig.started().await;
    let failed = tokio::time::Instant::now();
    rig.finish("a", Answer::Fails(ErrorClass::Waiting(7 * SECOND)));
    assert_eq!(rig.wait_for_start(&failed).await, 7 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_what_hangs_and_a_panic_hurts_only_its_object() {
    let mut rig = Rig::start(|controller| controller.deadline(20 * SECOND)).await;
    rig.apply(&config("hangs", "1")).await;
    assert_eq!(rig.started().await, "hangs");
    let now = tokio::time::Instant::now();
    let again = rig.wait_for_start(&now).await;
    assert!((20 * SECOND..23 * SECOND).contains(&again), "deadline, then backoff: {again:?}");
    rig.started().await;
    rig.apply(&config("panics", "1")).await;
    assert_eq!(rig.started().await, "panics");
    rig.finish("panics", Answer::Panics);
    assert_eq!(rig.started().await, "panics", "tried again after the panic");
    let text = rig.metrics.encode().unwrap();
    assert!(
        text.contains(r#"skep_reconcile_errors_total{controller="rig",reason="DeadlineExceeded"} 1"#),
        "{text}"
    );
    assert!(text.contains(r#"skep_reconcile_errors_total{controller="rig",reason="Panic"} 1"#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_good_reconcile_is_repeated_when_asked_and_at_the_slow_resync() {
    let mut rig = Rig::start(|controller| controller.resync(600 * SECOND)).await;
    rig.apply(&config("a", "1")).await;
    rig.started().await;
    let now = tokio::time::Instant::now();
    rig.finish("a", Answer::After(5 * SECOND));
    assert_eq!(rig.wait_for_start(&now).await, 5 * SECOND);
    rig.started().await;
    let now = tokio::time::Instant::now();
    rig.finish("a", Answer::Done);
    let resync = rig.wait_for_start(&now).await;
    assert!((480 * SECOND..=720 * SECOND).contains(&resync), "{resync:?}");
}

#[tokio::test(start_paused = true)]
async fn status_writes_do_not_wake_their_controller_but_children_do() {
    let mut rig = Rig::start(|controller| controller.owns::<Secret>("by=rig")).await;
    let owner = rig.apply(&config("a", "1")).await;
    rig.started().await;
    rig.finish("a", Answer::Done);
    let child: Secret = rig::child(&owner, "child");
    rig.apply(&child).await;
    assert_eq!(rig.started().await, "a", "a child appeared");
    rig.finish("a", Answer::Done);
    rig.quiet(10 * SECOND).await;
    rig.fake.edit("secrets", "default", "child", |secret| secret["data"] = json!({"k": "dg=="}));
    assert_eq!(rig.started().await, "a", "a child changed");
    rig.finish("a", Answer::Done);
    rig.delete::<Secret>("child").await;
    assert_eq!(rig.started().await, "a", "a child went");
    rig.finish("a", Answer::Done);
    rig.quiet(10 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_reconcile_waits_for_the_watch_to_show_what_was_written_but_not_for_ever() {
    let mut rig = Rig::start(|controller| controller).await;
    rig.behind("a", true);
    rig.fake.plant(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "default", "generation": 1},
    }));
    rig.quiet(4 * SECOND).await;
    rig.behind("a", false);
    let shown = tokio::time::Instant::now();
    // Not a change that a reconcile would begin for.
    rig.fake.edit("configmaps", "default", "a", |object| object["data"] = json!({"written": "it"}));
    assert!(rig.wait_for_start(&shown).await < SECOND);
    rig.started().await;
    rig.finish("a", Answer::Done);
    rig.fake.edit("configmaps", "default", "a", |object| object["data"] = json!({"written": "again"}));
    rig.quiet(60 * SECOND).await;

    rig.behind("a", true);
    let changed = tokio::time::Instant::now();
    rig.fake.edit("configmaps", "default", "a", |object| object["metadata"]["generation"] = json!(2));
    let broken = rig.wait_for_start(&changed).await;
    assert!((5 * SECOND..6 * SECOND).contains(&broken), "{broken:?}");
}

#[tokio::test(start_paused = true)]
async fn relations_and_triggers_name_the_objects_they_concern() {
    let trigger = Trigger::new();
    let to_a = |_: &_| Targets::One(Key::namespaced("default", "a"));
    let shared = trigger.clone();
    let mut rig =
        Rig::start(|controller| controller.relates::<Namespace>(Select::all(), to_a).triggered_by(&shared))
            .await;
    for name in ["a", "b"] {
        rig.apply(&config(name, "1")).await;
        assert_eq!(rig.started().await, name);
        rig.finish(name, Answer::Done);
    }
    rig.fake.plant(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}}));
    assert_eq!(rig.started().await, "a");
    rig.finish("a", Answer::Done);
    trigger.one(Key::namespaced("default", "b"));
    assert_eq!(rig.started().await, "b");
    rig.finish("b", Answer::Done);
    trigger.one(Key::namespaced("default", "absent"));
    rig.quiet(10 * SECOND).await;
    trigger.all();
    let mut all = [rig.started().await, rig.started().await];
    all.sort();
    assert_eq!(all, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_starts_before_what_it_needs_is_known() {
    // The kind is not served at first: its list fails.
    let classes = Cache::<skep_api::SizeClass>::new();
    let shared = classes.clone();
    let mut rig =
        Rig::start_bare(|controller| controller.caches(Select::all(), &shared, |_| Targets::All)).await;
    rig.apply(&config("a", "1")).await;
    rig.quiet(60 * SECOND).await;
    rig.fake = rig.fake.clone().with_crds(&skep_api::crds());
    assert_eq!(rig.started().await, "a");
    assert!(classes.is_synced());
}

#[tokio::test(start_paused = true)]
async fn an_undecodable_object_is_counted_once_and_taken_up_when_corrected() {
    let mut rig = Rig::start(|controller| controller).await;
    rig.fake.plant(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bad", "namespace": "default"}, "data": "text",
    }));
    rig.apply(&config("good", "1")).await;
    assert_eq!(rig.started().await, "good");
    rig.finish("good", Answer::Done);
    rig.fake.edit("configmaps", "default", "bad", |object| object["data"] = json!({}));
    assert_eq!(rig.started().await, "bad");
    assert!(rig.metrics.encode().unwrap().contains(r#"skep_undecodable_objects_total{controller="rig"} 1"#));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_object_is_forgotten() {
    let mut rig = Rig::start(|controller| controller).await;
    rig.apply(&config("a", "1")).await;
    rig.started().await;
    rig.delete::<ConfigMap>("a").await;
    assert_eq!(rig.deleted().await, "default/a");
    rig.finish("a", Answer::Fails(ErrorClass::Transient));
    rig.quiet(600 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_running_work_finish_within_the_grace_time() {
    let mut rig = Rig::start(|controller| controller.grace(10 * SECOND)).await;
    rig.apply(&config("finishes", "1")).await;
    rig.apply(&config("hangs", "1")).await;
    rig.started().await;
    rig.started().await;
    let now = tokio::time::Instant::now();
    rig.shutdown.cancel();
    rig.finish("finishes", Answer::Done);
    rig.stopped().await;
    assert_eq!(now.elapsed(), 10 * SECOND);
    assert_eq!(rig.finished(), ["finishes"]);
}

#[tokio::test(start_paused = true)]
async fn an_applier_that_observes_asks_only_when_something_may_be_different() {
    let observed = Observed::default();
    let shared = observed.clone();
    let mut rig = Rig::start(|controller| controller.observed(&shared).owns::<Secret>("by=rig")).await;
    let owner = rig.apply(&config("a", "1")).await;
    rig.started().await;
    let (layer, client) = rig.counting_client().await;
    let applier = Applier::new(client, "rig").observing(observed);
    let calls = || layer.calls().len();
    let child: Secret = rig::child(&owner, "child");

    applier.ensure(&child).await.unwrap();
    assert_eq!(calls(), 1, "never applied");
    rig.finish("a", Answer::Done);
    rig.started().await;
    for _ in 0..3 {
        applier.ensure(&child).await.unwrap();
        applier
            .sweep::<Secret>(Some("default"), "by=rig", owner.metadata.uid.as_deref(), &["child"])
            .await
            .unwrap();
    }
    assert_eq!(calls(), 1, "the watch shows it as we applied it");

    rig.fake.edit("secrets", "default", "child", |secret| secret["data"] = json!({"k": "dg=="}));
    rig.finish("a", Answer::Done);
    rig.started().await;
    applier.ensure(&child).await.unwrap();
    assert_eq!(calls(), 2, "somebody changed it");
    let changed: Secret = rig::child_with(&owner, "child", json!({"n": "dg=="}));
    applier.ensure(&changed).await.unwrap();
    assert_eq!(calls(), 3, "we want it otherwise");
    rig.finish("a", Answer::Done);
    rig.started().await;
    let swept =
        applier.sweep::<Secret>(Some("default"), "by=rig", owner.metadata.uid.as_deref(), &[]).await.unwrap();
    assert_eq!((swept, calls()), (vec!["child".to_owned()], 4), "only the deletion is a call");
}
