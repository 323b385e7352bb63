//! The phase of a pod.

use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus, PodSpec};

use super::restart::{is_sidecar, restarts};

/// `status.phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not all containers have started yet.
    Pending,
    /// At least one container runs, or will again.
    Running,
    /// All containers ended well and for good.
    Succeeded,
    /// All containers ended for good, one of them badly, or the node gave the pod up.
    Failed,
}

impl Phase {
    /// As the API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }

    /// What the API says; anything unknown counts as not started.
    #[must_use]
    pub fn parse(text: Option<&str>) -> Self {
        match text {
            Some("Running") => Self::Running,
            Some("Succeeded") => Self::Succeeded,
            Some("Failed") => Self::Failed,
            _ => Self::Pending,
        }
    }

    /// Whether the pod never leaves this phase.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// Whether the API says that the pod has ended.
#[must_use]
pub fn is_terminal(phase: Option<&str>) -> bool {
    Phase::parse(phase).is_terminal()
}

/// One container as far as the phase cares.
enum Seen {
    /// Nothing is known about it.
    Unknown,
    /// Waits to be started for the first time.
    Waiting,
    Running {
        started: bool,
    },
    /// Ended with this code, or waits to be started again after it.
    Ended(i32),
}

fn seen(container: &Container, statuses: &[ContainerStatus]) -> Seen {
    let Some(status) = statuses.iter().find(|status| status.name == container.name) else {
        return Seen::Unknown;
    };
    let last_code = |state: &Option<ContainerState>| {
        state.as_ref().and_then(|state| state.terminated.as_ref()).map(|ended| ended.exit_code)
    };
    let Some(state) = &status.state else { return Seen::Unknown };
    if state.running.is_some() {
        Seen::Running { started: status.started.unwrap_or(false) }
    } else if let Some(ended) = &state.terminated {
        Seen::Ended(ended.exit_code)
    } else if state.waiting.is_some() {
        last_code(&status.last_state).map_or(Seen::Waiting, Seen::Ended)
    } else {
        Seen::Unknown
    }
}

/// The phase that follows from the containers alone. `stopped`: none of them will ever be started again.
#[must_use]
pub fn phase(spec: &PodSpec, init: &[ContainerStatus], main: &[ContainerStatus], stopped: bool) -> Phase {
    let mut init_pending = false;
    let mut sidecar_pending = false;
    let mut running = 0_usize;
    let mut waiting = 0_usize;
    let mut unknown = 0_usize;
    for container in spec.init_containers.iter().flatten() {
        match (is_sidecar(container), seen(container, init)) {
            (false, Seen::Ended(code)) => {
                if code != 0 && !restarts(container, spec, code) {
                    return Phase::Failed;
                }
            }
            (false, _) => init_pending = true,
            (true, Seen::Running { started }) => {
                sidecar_pending |= !started;
                running += 1;
            }
            (true, Seen::Waiting) => {
                sidecar_pending = true;
                waiting += 1;
            }
            (true, Seen::Unknown) => {
                sidecar_pending = true;
                unknown += 1;
            }
            // A sidecar that ended has no say: it is stopped after the others.
            (true, Seen::Ended(_)) => {}
        }
    }
    let (mut ended, mut succeeded, mut for_good) = (0_usize, 0_usize, 0_usize);
    let mut initialized = false;
    for container in &spec.containers {
        match seen(container, main) {
            Seen::Unknown => unknown += 1,
            Seen::Waiting => waiting += 1,
            Seen::Running { .. } => {
                running += 1;
                initialized = true;
            }
            Seen::Ended(code) => {
                initialized = true;
                ended += 1;
                succeeded += usize::from(code == 0);
                for_good += usize::from(!restarts(container, spec, code));
            }
        }
    }
    if init_pending || (sidecar_pending && !initialized) || waiting > 0 || unknown > 0 {
        Phase::Pending
    } else if running > 0 {
        Phase::Running
    } else if ended == 0 {
        Phase::Pending
    } else if !stopped && for_good < ended {
        Phase::Running
    } else if ended == succeeded {
        Phase::Succeeded
    } else {
        Phase::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn spec(policy: &str, init: usize, sidecars: usize, main: usize) -> PodSpec {
        let containers = |prefix: &str, count: usize, extra: serde_json::Value| {
            (0..count)
                .map(|n| {
                    let mut container = json!({"name": format!("{prefix}{n}")});
                    if let Some(fields) = extra.as_object() {
                        container.as_object_mut().unwrap().extend(fields.clone());
                    }
                    container
                })
                .collect::<Vec<_>>()
        };
        let mut inits = containers("i", init, json!({}));
        inits.extend(containers("s", sidecars, json!({"restartPolicy": "Always"})));
        let main = containers("c", main, json!({}));
        serde_json::from_value(json!({"restartPolicy": policy, "initContainers": inits, "containers": main}))
            .unwrap()
    }

    fn status(name: &str, state: serde_json::Value) -> ContainerStatus {
        let mut status = json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0});
        status.as_object_mut().unwrap().extend(state.as_object().unwrap().clone());
        serde_json::from_value(status).unwrap()
    }

    fn running(name: &str) -> ContainerStatus {
        status(name, json!({"started": true, "state": {"running": {}}}))
    }

    fn ended(name: &str, code: i32) -> ContainerStatus {
        status(name, json!({"state": {"terminated": {"exitCode": code}}}))
    }

    fn waiting(name: &str) -> ContainerStatus {
        status(name, json!({"state": {"waiting": {"reason": "ContainerCreating"}}}))
    }

    fn crashed(name: &str) -> ContainerStatus {
        status(
            name,
            json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1}}}),
        )
    }

    #[test]
    fn the_cases_of_upstream() {
        use Phase::{Failed, Pending, Running, Succeeded};
        let two = |policy| spec(policy, 0, 0, 2);
        let cases = [
            ("nothing known", two("Always"), vec![], Pending),
            ("one waits", two("Always"), vec![running("c0"), waiting("c1")], Pending),
            ("all run", two("Always"), vec![running("c0"), running("c1")], Running),
            ("one ended, restarts", two("Always"), vec![running("c0"), ended("c1", 1)], Running),
            ("all in back-off", two("Always"), vec![crashed("c0"), crashed("c1")], Running),
            ("all ended, always", two("Always"), vec![ended("c0", 0), ended("c1", 0)], Running),
            ("all ended well", two("OnFailure"), vec![ended("c0", 0), ended("c1", 0)], Succeeded),
            ("one failed, restarts", two("OnFailure"), vec![ended("c0", 0), ended("c1", 1)], Running),
            ("one failed, never", two("Never"), vec![ended("c0", 0), ended("c1", 1)], Failed),
            ("one runs, never", two("Never"), vec![running("c0"), ended("c1", 1)], Running),
            ("one unknown", two("Never"), vec![ended("c0", 0)], Pending),
        ];
        for (what, spec, main, expected) in cases {
            assert_eq!(phase(&spec, &[], &main, false), expected, "{what}");
        }
    }

    #[test]
    fn init_containers_hold_the_pod_pending_and_can_fail_it() {
        let with_init = spec("Never", 1, 0, 1);
        assert_eq!(phase(&with_init, &[running("i0")], &[waiting("c0")], false), Phase::Pending);
        assert_eq!(phase(&with_init, &[ended("i0", 3)], &[waiting("c0")], false), Phase::Failed);
        assert_eq!(phase(&with_init, &[ended("i0", 0)], &[running("c0")], false), Phase::Running);
        let retried = spec("Always", 1, 0, 1);
        assert_eq!(phase(&retried, &[crashed("i0")], &[waiting("c0")], false), Phase::Pending);
    }

    #[test]
    fn a_restarting_sidecar_does_not_undo_the_start() {
        let with_sidecar = spec("Always", 0, 1, 1);
        let restarting = status("s0", json!({"started": false, "state": {"running": {}}}));
        assert_eq!(
            phase(&with_sidecar, std::slice::from_ref(&restarting), &[waiting("c0")], false),
            Phase::Pending
        );
        assert_eq!(phase(&with_sidecar, &[restarting], &[running("c0")], false), Phase::Running);
    }

    #[test]
    fn a_stopped_pod_is_judged_by_its_exit_codes() {
        let pod = spec("Always", 0, 1, 2);
        let sidecar = [ended("s0", 137)];
        assert_eq!(phase(&pod, &sidecar, &[ended("c0", 0), ended("c1", 0)], true), Phase::Succeeded);
        assert_eq!(phase(&pod, &sidecar, &[ended("c0", 0), ended("c1", 143)], true), Phase::Failed);
    }

    #[test]
    fn rules_of_a_container_come_before_the_policy() {
        let mut pod = spec("Never", 0, 0, 1);
        pod.containers[0] =
            serde_json::from_value(json!({"name": "c0", "restartPolicy": "Never", "restartPolicyRules":
            [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]}))
            .unwrap();
        assert_eq!(phase(&pod, &[], &[ended("c0", 42)], false), Phase::Running);
        assert_eq!(phase(&pod, &[], &[ended("c0", 1)], false), Phase::Failed);
    }

    fn any_status(name: &'static str) -> impl Strategy<Value = ContainerStatus> {
        prop_oneof![
            Just(running(name)),
            Just(waiting(name)),
            Just(crashed(name)),
            (0..3).prop_map(move |code| ended(name, code)),
        ]
    }

    proptest! {
        #[test]
        fn a_pod_with_something_running_is_never_terminal(
            policy in prop::sample::select(vec!["Always", "OnFailure", "Never"]),
            other in any_status("c1"),
            stopped: bool,
        ) {
            let phase = phase(&spec(policy, 0, 0, 2), &[], &[running("c0"), other], stopped);
            prop_assert!(!phase.is_terminal());
        }

        #[test]
        fn success_needs_every_container_to_succeed(
            policy in prop::sample::select(vec!["Always", "OnFailure", "Never"]),
            one in any_status("c0"), two in any_status("c1"), stopped: bool,
        ) {
            let good = |status: &ContainerStatus| matches!(
                seen(&Container { name: status.name.clone(), ..Default::default() }, std::slice::from_ref(status)),
                Seen::Ended(0)
            );
            let all_good = good(&one) && good(&two);
            let found = phase(&spec(policy, 0, 0, 2), &[], &[one, two], stopped);
            prop_assert!(found != Phase::Succeeded || all_good);
        }

        #[test]
        fn with_policy_always_only_a_stop_ends_a_pod(one in any_status("c0"), two in any_status("c1")) {
            prop_assert!(!phase(&spec("Always", 0, 0, 2), &[], &[one, two], false).is_terminal());
        }
    }
}
