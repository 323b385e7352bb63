//! Whole statuses: what each situation of a pod's life must look like.

use super::*;
use crate::backend::Eviction;
use crate::pods::status::patch;
use proptest::prelude::*;
use serde_json::json;

const NOW: &str = "2026-01-02T00:00:00Z";

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 3},
        "spec": {"restartPolicy": "Always", "containers": [{"name": "c"}]},
    }))
    .unwrap()
}

fn container(state: serde_json::Value, ready: bool) -> PodRuntimeStatus {
    PodRuntimeStatus {
        lifecycle: PodLifecycle::Running,
        volumes_ready: true,
        container_statuses: vec![
            serde_json::from_value(
                json!({"name": "c", "image": "", "imageID": "", "restartCount": 0, "ready": ready,
                "state": state}),
            )
            .unwrap(),
        ],
        ..PodRuntimeStatus::default()
    }
}

fn running() -> PodRuntimeStatus {
    container(json!({"running": {"startedAt": NOW}}), true)
}

fn input<'a>(pod: &'a Pod, old: &'a PodStatus, runtime: Option<&'a PodRuntimeStatus>) -> StatusInput<'a> {
    StatusInput {
        pod,
        old,
        runtime,
        failure: None,
        resize_pending: None,
        pod_ip: Some([127, 64, 128, 1].into()),
        host_ip: [127, 64, 255, 1].into(),
        start_time: "2026-01-01T00:00:00Z".parse().unwrap(),
        now: NOW.parse().unwrap(),
    }
}

fn condition<'a>(status: &'a PodStatus, type_: &str) -> Option<&'a PodCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == type_)
}

#[test]
fn a_running_pod_is_ready_and_has_its_addresses() {
    let (pod, old, runtime) = (pod(), PodStatus::default(), running());
    let status = build(&input(&pod, &old, Some(&runtime)));
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(status.pod_ip.as_deref(), Some("127.64.128.1"));
    assert_eq!(status.host_ip.as_deref(), Some("127.64.255.1"));
    for type_ in ["PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready", "PodScheduled"] {
        let condition = condition(&status, type_).unwrap();
        assert_eq!((condition.status.as_str(), condition.observed_generation), ("True", Some(3)), "{type_}");
    }
}

#[test]
fn what_others_wrote_stays() {
    let old: PodStatus = serde_json::from_value(json!({
        "phase": "Pending", "qosClass": "Burstable", "nominatedNodeName": "x",
        "conditions": [{"type": "example.com/gate", "status": "True"}],
        "resourceClaimStatuses": [{"name": "r"}],
    }))
    .unwrap();
    let (pod, runtime) = (pod(), running());
    let status = build(&input(&pod, &old, Some(&runtime)));
    assert!(condition(&status, "example.com/gate").is_some());
    assert_eq!(
        (status.qos_class.as_deref(), status.nominated_node_name.as_deref()),
        (Some("Burstable"), Some("x"))
    );
    assert!(status.resource_claim_statuses.is_some());
}

#[test]
fn a_refused_pod_fails_at_once_and_a_running_one_only_when_it_has_stopped() {
    let failure = Failure { reason: "DeadlineExceeded".into(), message: "too long".into() };
    let (pod, old) = (pod(), PodStatus::default());
    let mut refused = input(&pod, &old, None);
    refused.failure = Some(&failure);
    let status = build(&refused);
    assert_eq!(
        (status.phase.as_deref(), status.reason.as_deref()),
        (Some("Failed"), Some("DeadlineExceeded"))
    );

    let mut runtime = running();
    runtime.lifecycle = PodLifecycle::Stopping;
    let mut stopping = input(&pod, &old, Some(&runtime));
    stopping.failure = Some(&failure);
    assert_ne!(build(&stopping).phase.as_deref(), Some("Failed"));
    runtime = container(json!({"terminated": {"exitCode": 0}}), false);
    runtime.lifecycle = PodLifecycle::Stopped;
    let mut stopped = input(&pod, &old, Some(&runtime));
    stopped.failure = Some(&failure);
    let status = build(&stopped);
    assert_eq!((status.phase.as_deref(), status.message.as_deref()), (Some("Failed"), Some("too long")));
    assert_eq!(condition(&status, "Ready").unwrap().reason.as_deref(), Some("PodFailed"));
}

#[test]
fn an_evicted_pod_says_why() {
    let mut runtime = container(json!({"terminated": {"exitCode": 137}}), false);
    runtime.lifecycle = PodLifecycle::Stopped;
    runtime.eviction = Some(Eviction { reason: "Evicted", message: "emptyDir is full".into() });
    let (pod, old) = (pod(), PodStatus::default());
    let status = build(&input(&pod, &old, Some(&runtime)));
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("Evicted")));
}

#[test]
fn a_stopped_pod_that_never_started_has_failed() {
    let mut runtime = container(json!({"waiting": {}}), false);
    runtime.lifecycle = PodLifecycle::Stopped;
    let (pod, old) = (pod(), PodStatus::default());
    assert_eq!(build(&input(&pod, &old, Some(&runtime))).phase.as_deref(), Some("Failed"));
}

#[test]
fn a_container_of_an_ended_pod_stays_ended() {
    let pod = pod();
    let ended = container(json!({"terminated": {"exitCode": 0}}), false);
    let mut old = build(&input(&pod, &PodStatus::default(), Some(&ended)));
    old.phase = Some("Succeeded".into());
    let status = build(&input(&pod, &old, Some(&running())));
    let state = status.container_statuses.as_ref().unwrap()[0].state.as_ref().unwrap();
    assert!(state.terminated.is_some());
}

#[test]
fn resize_conditions_exist_only_while_they_hold() {
    let (pod, old) = (pod(), PodStatus::default());
    let mut runtime = running();
    runtime.resize = ResizeState::Failed("no cgroup".into());
    let pending = ResizePending { infeasible: true, message: "too much".into() };
    let mut resizing = input(&pod, &old, Some(&runtime));
    resizing.resize_pending = Some(&pending);
    let status = build(&resizing);
    assert_eq!(condition(&status, "PodResizePending").unwrap().reason.as_deref(), Some("Infeasible"));
    assert_eq!(condition(&status, "PodResizeInProgress").unwrap().reason.as_deref(), Some("Error"));
    runtime.resize = ResizeState::Done;
    let done = build(&input(&pod, &status, Some(&runtime)));
    assert!(
        condition(&done, "PodResizePending").is_none() && condition(&done, "PodResizeInProgress").is_none()
    );
}

fn any_runtime() -> impl Strategy<Value = Option<PodRuntimeStatus>> {
    let state = prop::sample::select(vec![
        json!({"running": {"startedAt": NOW}}),
        json!({"waiting": {"reason": "CrashLoopBackOff"}}),
        json!({"terminated": {"exitCode": 0}}),
        json!({"terminated": {"exitCode": 1}}),
    ]);
    let lifecycle = prop::sample::select(vec![
        PodLifecycle::Preparing,
        PodLifecycle::Running,
        PodLifecycle::Stopping,
        PodLifecycle::Stopped,
    ]);
    prop::option::of(
        (state, lifecycle, any::<bool>())
            .prop_map(|(state, lifecycle, ready)| PodRuntimeStatus { lifecycle, ..container(state, ready) }),
    )
}

proptest! {
    /// A second look at the same facts finds nothing to write: otherwise a node would patch for ever.
    #[test]
    fn building_is_stable(runtimes in prop::collection::vec(any_runtime(), 1..6)) {
        let pod = pod();
        let mut status = PodStatus::default();
        for runtime in &runtimes {
            status = build(&input(&pod, &status, runtime.as_ref()));
            let mut later = input(&pod, &status, runtime.as_ref());
            later.now = "2026-03-01T00:00:00Z".parse().unwrap();
            let again = build(&later);
            prop_assert_eq!(patch(&status, &again, "u").unwrap(), None);
        }
    }

    #[test]
    fn a_terminal_phase_is_never_left(runtimes in prop::collection::vec(any_runtime(), 1..8)) {
        let pod = pod();
        let mut status = PodStatus::default();
        for runtime in &runtimes {
            let next = build(&input(&pod, &status, runtime.as_ref()));
            let before = Phase::parse(status.phase.as_deref());
            if before.is_terminal() {
                prop_assert_eq!(&next.phase, &status.phase);
                prop_assert_eq!(&condition(&next, "Ready").unwrap().status, "False");
            }
            let may_run = runtime.as_ref().is_some_and(|r| r.lifecycle == PodLifecycle::Stopping);
            prop_assert!(before.is_terminal() || !may_run || !Phase::parse(next.phase.as_deref()).is_terminal());
            status = next;
        }
    }
}
