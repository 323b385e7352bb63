//! Lives under a clock that only tests turn.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::hollow::config::{Config, ExitCode, Failures, Spread, Timings};
use crate::hollow::fate::Ordered;
use crate::hollow::report::{Subject, changes, status};
use k8s_openapi::api::core::v1::PodStatus;

const UID: &str = "7d9f8c1e";

fn spec(value: Value) -> Spec {
    serde_json::from_value(value).unwrap()
}

/// Every step takes a known time: pull 2 s, start 1 s, probe 3 s, init 5 s, run 20 s, stop 4 s.
fn config() -> Config {
    let timings = Timings {
        pull: Spread::fixed(2_000),
        start: Spread::fixed(1_000),
        probe: Spread::fixed(3_000),
        init: Spread::fixed(5_000),
        run: Spread::fixed(20_000),
        stop: Spread::fixed(4_000),
        ..Timings::default()
    };
    Config { timings, ..Config::default() }
}

/// A pod whose time tests turn, as the API would see it.
struct Pod<'a> {
    spec: Spec,
    fate: Fate<'a>,
    life: Life,
    told: PodStatus,
}

impl<'a> Pod<'a> {
    fn new(config: &'a Config, value: Value) -> Self {
        Self::ordered(config, value, None)
    }

    fn ordered(config: &'a Config, value: Value, ordered: Option<Ordered>) -> Self {
        let (spec, fate) = (spec(value), Fate::new(config, "default", "p", ordered));
        let life = Life::begin(&spec, &fate, 0);
        Self { spec, fate, life, told: PodStatus::default() }
    }

    fn subject(&self) -> Subject<'_> {
        let address = [100, 64, 0, 1].into();
        Subject { uid: UID, generation: Some(1), spec: &self.spec, life: &self.life, address, host: address }
    }

    /// Lives until `now`, and tells it.
    fn at(&mut self, now: Millis) -> &PodStatus {
        self.life.advance(&self.spec, &self.fate, now);
        self.told = status(&self.subject(), &self.told, now);
        assert_eq!(changes(&self.subject(), &self.told, now).unwrap(), None, "what was told is told again");
        &self.told
    }

    fn line(&mut self, now: Millis) -> String {
        let status = self.at(now).clone();
        let ready = status.conditions.iter().flatten().find(|c| c.type_ == "Ready").unwrap().status.clone();
        let restarts: i32 = status.container_statuses.iter().flatten().map(|c| c.restart_count).sum();
        format!("{} ready={ready} restarts={restarts}", status.phase.unwrap())
    }
}

#[test]
fn an_ordinary_pod_runs_and_stops() {
    let config = config();
    let containers = json!([{"name": "c", "image": "i", "readinessProbe": {"initialDelaySeconds": 1}}]);
    let mut pod = Pod::new(&config, json!({"containers": containers}));
    assert_eq!(pod.life.advance(&pod.spec, &pod.fate, 0), Some(2_000));
    assert_eq!(pod.line(2_999), "Pending ready=False restarts=0");
    assert_eq!(pod.line(3_000), "Running ready=False restarts=0");
    assert_eq!(pod.life.advance(&pod.spec, &pod.fate, 3_000), Some(7_000), "one probe");
    assert_eq!(pod.line(7_000), "Running ready=True restarts=0");
    assert_eq!(pod.life.advance(&pod.spec, &pod.fate, 7_000), None, "nothing more to come");
    pod.life.stop(&pod.fate, 10_000, 30_000, Stop::Deleted);
    assert!(pod.line(13_999).starts_with("Running"));
    assert_eq!(pod.line(14_000), "Succeeded ready=False restarts=0");
    assert!(pod.life.is_over() && !pod.life.runs());
}

#[test]
fn what_takes_too_long_to_stop_is_killed() {
    let config = config();
    let mut pod = Pod::new(&config, json!({"containers": [{"name": "c"}]}));
    pod.at(10_000);
    pod.life.stop(&pod.fate, 10_000, 30_000, Stop::Deleted);
    pod.life.stop(&pod.fate, 11_000, 1_000, Stop::Deleted);
    pod.at(12_000);
    let ended = pod.told.container_statuses.clone().unwrap()[0].state.clone().unwrap().terminated.unwrap();
    assert_eq!(ended.exit_code, KILLED);
    assert_eq!(pod.told.phase.as_deref(), Some("Failed"));
}

#[test]
fn a_job_ends_as_told_and_a_failed_one_is_tried_again() {
    let mut config = config();
    let job = json!({"restartPolicy": "Never", "containers": [{"name": "c"}]});
    assert_eq!(Pod::new(&config, job.clone()).line(23_000), "Succeeded ready=False restarts=0");
    let mut ordered = Pod::ordered(&config, job, Some(Ordered::Exit(3)));
    assert_eq!(ordered.line(23_000), "Failed ready=False restarts=0");
    config.failures.exit_codes = vec![ExitCode { code: 1, per_mille: 1000 }];
    let job = json!({"restartPolicy": "OnFailure", "containers": [{"name": "c"}]});
    let mut pod = Pod::new(&config, job);
    assert_eq!(pod.line(24_000), "Running ready=True restarts=1", "once at once");
    // Runs 24 to 44, waits 10, starts 1, runs until 75, waits 20.
    assert_eq!(pod.line(50_000), "Running ready=False restarts=1");
    let waiting = pod.told.container_statuses.clone().unwrap()[0].state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
    assert_eq!(pod.line(55_000), "Running ready=True restarts=2");
}

#[test]
fn init_containers_come_first_and_sidecars_end_last() {
    let config = config();
    let init = json!([{"name": "i"}, {"name": "s", "restartPolicy": "Always", "startupProbe": {}}]);
    let value = json!({"restartPolicy": "Never", "initContainers": init, "containers": [{"name": "c"}]});
    let mut pod = Pod::new(&config, value);
    // i: pulled 2, starts 3, ends 8; s: pulled 10, starts 11, up 14; c: pulled 16, starts 17, ends 37; s ends 41.
    assert!(pod.line(13_999).starts_with("Pending"));
    assert_eq!(pod.life.cells()[2].stage, Stage::Idle);
    assert_eq!(pod.line(17_000), "Running ready=True restarts=0");
    assert_eq!(pod.line(37_000), "Running ready=False restarts=0", "the sidecar still runs");
    assert_eq!(pod.line(41_000), "Succeeded ready=False restarts=0");
}

/// As in every Deployment.
#[test]
fn an_init_container_runs_once_in_a_pod_that_always_restarts() {
    let config = config();
    let value =
        json!({"restartPolicy": "Always", "initContainers": [{"name": "i"}], "containers": [{"name": "c"}]});
    let mut pod = Pod::new(&config, value);
    assert_eq!(pod.line(10_999), "Pending ready=False restarts=0");
    assert_eq!(pod.line(11_000), "Running ready=True restarts=0");
    assert_eq!(pod.told.init_container_statuses.clone().unwrap()[0].restart_count, 0);
}

#[test]
fn an_init_container_that_cannot_start_fails_a_pod_that_must_not_restart() {
    let config = config();
    let value =
        json!({"restartPolicy": "Never", "initContainers": [{"name": "i"}], "containers": [{"name": "c"}]});
    let mut pod = Pod::ordered(&config, value, Some(Ordered::FailStart));
    assert_eq!(pod.line(3_000), "Failed ready=False restarts=0");
    assert!(pod.life.is_over());
}

#[test]
fn a_deadline_ends_a_pod_that_runs() {
    let config = config();
    let mut pod = Pod::new(&config, json!({"activeDeadlineSeconds": 10, "containers": [{"name": "c"}]}));
    pod.at(60_000);
    assert_eq!(pod.told.phase.as_deref(), Some("Failed"));
    assert_eq!(pod.told.reason.as_deref(), Some("DeadlineExceeded"));
}

#[test]
fn readiness_gates_are_others_to_open() {
    let config = config();
    let gates = json!([{"conditionType": "example.com/gate"}]);
    let mut pod = Pod::new(&config, json!({"readinessGates": gates, "containers": [{"name": "c"}]}));
    assert_eq!(pod.line(5_000), "Running ready=False restarts=0");
    let gate = serde_json::from_value(json!({"type": "example.com/gate", "status": "True"})).unwrap();
    pod.told.conditions.as_mut().unwrap().push(gate);
    assert_eq!(pod.line(6_000), "Running ready=True restarts=0");
    let kept = pod.told.conditions.iter().flatten().any(|condition| condition.type_ == "example.com/gate");
    assert!(kept, "the condition of somebody else is left alone");
}

#[test]
fn unready_is_never_ready_and_what_was_crashed_comes_back() {
    let config = config();
    let value = json!({"containers": [{"name": "c", "readinessProbe": {}}]});
    let mut pod = Pod::ordered(&config, value.clone(), Some(Ordered::Unready));
    assert_eq!(pod.line(3_600_000), "Running ready=False restarts=0");
    let mut pod = Pod::new(&config, value);
    pod.at(10_000);
    pod.life.crash(&pod.spec, &pod.fate, 20_000);
    assert_eq!(pod.line(21_000), "Running ready=False restarts=1");
    assert_eq!(pod.line(24_000), "Running ready=True restarts=1");
}

prop_compose! {
    fn any_config()(
        seed in any::<u64>(),
        times in prop::array::uniform6(1_u64..30_000),
        fails in 0_u16..600,
        crash in 0_u16..600,
        code in 0_u16..800,
    ) -> Config {
        let spread = |ms| Spread::of(ms, ms * 3);
        let timings = Timings {
            pull: spread(times[0]), start: spread(times[1]), probe: spread(times[2]), init: spread(times[3]),
            run: spread(times[4]), stop: spread(times[5]), ..Timings::default()
        };
        let exit_codes = vec![ExitCode { code: 1, per_mille: code }];
        let failures =
            Failures { start_per_mille: fails, crash_per_mille: crash, exit_codes, ..Failures::default() };
        Config { seed, timings, failures }
    }
}

fn any_spec() -> impl Strategy<Value = Value> {
    let init = prop::collection::vec(any::<bool>(), 0..3);
    let policy = prop::sample::select(vec!["Always", "OnFailure", "Never"]);
    (init, 1_usize..3, policy, prop::option::of(1_i64..600), any::<bool>()).prop_map(
        |(init, main, policy, deadline, probe)| {
            let part = |name: String| {
                json!({"name": name, "image": "i", "readinessProbe": {"initialDelaySeconds": 2}})
            };
            let inits: Vec<_> = init
                .iter()
                .enumerate()
                .map(|(n, sidecar)| match sidecar {
                    true => json!({"name": format!("s{n}"), "restartPolicy": "Always"}),
                    false => json!({"name": format!("i{n}")}),
                })
                .collect();
            let plain = |name: String| json!({"name": name, "image": "i"});
            let mains: Vec<_> =
                (0..main).map(|n| if probe { part(format!("c{n}")) } else { plain(format!("c{n}")) }).collect();
            json!({"restartPolicy": policy, "activeDeadlineSeconds": deadline, "initContainers": inits, "containers": mains})
        },
    )
}

fn is_terminal(status: &PodStatus) -> bool {
    matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Looking often and looking once give the same life, and no look is missed.
    #[test]
    fn when_somebody_looks_does_not_matter(
        config in any_config(), value in any_spec(), steps in prop::collection::vec(1_i64..60_000, 1..30),
    ) {
        let mut often = Pod::new(&config, value.clone());
        let mut now = 0;
        for step in steps {
            let next = often.life.advance(&often.spec, &often.fate, now);
            let before = (often.life.clone(), status(&often.subject(), &PodStatus::default(), now));
            // Until then nothing changes but the clock.
            let just_before = next.map_or(now + step, |next| (next - 1).min(now + step)).max(now);
            often.life.advance(&often.spec, &often.fate, just_before);
            prop_assert_eq!(&before.0, &often.life);
            let containers = |status: &PodStatus| status.container_statuses.clone();
            let after = status(&often.subject(), &PodStatus::default(), just_before);
            prop_assert_eq!(containers(&before.1), containers(&after));
            prop_assert!(next.is_none_or(|next| next > now));
            now += step;
        }
        often.life.advance(&often.spec, &often.fate, now);
        let mut once = Pod::new(&config, value);
        once.life.advance(&once.spec, &once.fate, now);
        prop_assert_eq!(often.life, once.life);
    }

    /// A phase that is final stays; a pod that is stopped ends within its grace period; restarts are only counted up.
    #[test]
    fn phases_only_go_forward(
        config in any_config(), value in any_spec(), steps in prop::collection::vec(1_i64..60_000, 1..20),
        grace in 0_i64..40_000,
    ) {
        let mut pod = Pod::new(&config, value);
        let mut now = 0;
        let mut last = pod.at(0).clone();
        for step in steps {
            now += step;
            let told = pod.at(now).clone();
            if is_terminal(&last) {
                prop_assert_eq!(&last.phase, &told.phase);
            }
            let count = |status: &PodStatus| {
                status.container_statuses.iter().flatten().map(|c| c.restart_count).collect::<Vec<_>>()
            };
            prop_assert!(count(&last).iter().zip(count(&told)).all(|(old, new)| *old <= new));
            last = told;
        }
        pod.life.stop(&pod.fate, now, grace, Stop::Deleted);
        let told = pod.at(now + grace).clone();
        prop_assert!(pod.life.is_over() && !pod.life.runs());
        prop_assert!(is_terminal(&told), "{:?}", told.phase);
    }

    /// A new process that reads the status goes on with the same life, to the second.
    #[test]
    fn a_life_is_found_again_in_its_status(
        config in any_config(), value in any_spec(), seconds in 1_i64..600, later in 1_i64..600,
    ) {
        let mut pod = Pod::new(&config, value.clone());
        let told = pod.at(seconds * 1000).clone();
        let life = Life::recover(&pod.spec, &pod.fate, &told, seconds * 1000);
        let mut again = Pod { life, told: told.clone(), spec: spec(value), fate: pod.fate };
        // What was told stays true: nothing that ran is started again, nothing that ended comes back.
        let state = |status: &PodStatus| {
            let all = status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
            all.map(|c| (c.name.clone(), c.restart_count, c.state.as_ref().is_some_and(|s| s.running.is_some())))
                .collect::<Vec<_>>()
        };
        // A change within the same second may come a moment sooner; a whole second earlier nothing did.
        let at = again.at(seconds * 1000).clone();
        for ((name, count, ran), (_, recount, runs)) in state(&told).into_iter().zip(state(&at)) {
            prop_assert!(recount >= count && recount <= count + 1, "{name}");
            prop_assert!(!ran || runs || recount >= count, "{name}");
        }
        if is_terminal(&told) {
            prop_assert_eq!(&told.phase, &again.at((seconds + later) * 1000).phase);
        }
    }
}
