//! What to start next. Pure.
//!
//! Init containers run one after the other; a sidecar among them must have *started* before the next one, and goes on.
//! The others start together when all of that is done. What ended is started again or not by its restart policy. When
//! nothing is left that runs or will run again, the pod is done and its sidecars are to be stopped.

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::Kind;
use crate::backend::restart::restarts;

/// How a container stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Has not been run.
    Fresh,
    /// Is being created, runs, or is being stopped.
    Busy {
        /// Has come up: startup probe and postStart hook are done.
        started: bool,
    },
    /// Has ended.
    Ended {
        /// How.
        exit_code: i32,
        /// Before the machine was restarted or the node halted.
        earlier: bool,
        /// Must be started again whatever the policy says: its definition has changed.
        forced: bool,
    },
}

/// A container as it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub container: &'a Container,
    pub kind: Kind,
    pub standing: Standing,
}

/// How the pod stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Init containers are not done.
    Initializing,
    /// The others are up or on their way.
    Running,
    /// Nothing will run any more; what still does (sidecars) is to be stopped.
    Over,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Positions of the containers to start (their back-off permitting).
    pub start: Vec<usize>,
    pub progress: Progress,
}

impl View<'_> {
    fn again(&self, spec: &PodSpec) -> bool {
        match self.standing {
            Standing::Ended { exit_code, forced, .. } => forced || restarts(self.container, spec, exit_code),
            Standing::Fresh => true,
            Standing::Busy { .. } => false,
        }
    }

    fn is_busy(&self) -> bool {
        matches!(self.standing, Standing::Busy { .. })
    }

    /// Has been run since the machine was started.
    fn is_touched(&self) -> bool {
        !matches!(self.standing, Standing::Fresh | Standing::Ended { earlier: true, .. })
    }
}

/// Decides for containers in the order of the pod, init containers first.
pub(super) fn plan(spec: &PodSpec, views: &[View<'_>]) -> Plan {
    let main = || views.iter().enumerate().filter(|(_, v)| v.kind == Kind::Main);
    if !main().any(|(_, v)| v.is_busy() || v.again(spec)) {
        return Plan { start: Vec::new(), progress: Progress::Over };
    }
    let mut start = Vec::new();
    for (position, view) in views.iter().enumerate().filter(|(_, v)| v.kind != Kind::Main) {
        // Something after it has been run, so it was passed once.
        let passed = views.iter().skip(position + 1).any(View::is_touched);
        let goes_on = match (view.kind, view.standing) {
            (Kind::Sidecar, Standing::Busy { started }) => started || passed,
            (Kind::Sidecar, _) => {
                start.push(position);
                passed
            }
            (_, _) if passed => true,
            (_, Standing::Busy { .. }) => false,
            (_, Standing::Ended { exit_code: 0, earlier: false, forced: false }) => true,
            (_, Standing::Ended { earlier: false, .. }) if !view.again(spec) => {
                return Plan { start: Vec::new(), progress: Progress::Over };
            }
            (_, _) => {
                start.push(position);
                false
            }
        };
        if !goes_on {
            return Plan { start, progress: Progress::Initializing };
        }
    }
    start.extend(main().filter(|(_, v)| v.again(spec)).map(|(position, _)| position));
    Plan { start, progress: Progress::Running }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spec(policy: &str) -> PodSpec {
        PodSpec { restart_policy: Some(policy.into()), ..PodSpec::default() }
    }

    /// `i`, `s`, `m`: kind; then `f`resh, `b`usy, `B`usy and started, `0`/`1` ended so, `e` ended with 1 earlier,
    /// `z` ended with 0 earlier, `!` ended with 0 and changed.
    fn decide(policy: &str, containers: &str) -> String {
        let parsed: Vec<(Container, Kind, Standing)> = containers
            .split(' ')
            .map(|word| {
                let mut container = Container::default();
                let kind = match word.as_bytes()[0] {
                    b'i' => Kind::Init,
                    b's' => {
                        container.restart_policy = Some("Always".into());
                        Kind::Sidecar
                    }
                    _ => Kind::Main,
                };
                let ended = |exit_code, earlier, forced| Standing::Ended { exit_code, earlier, forced };
                let standing = match word.as_bytes()[1] {
                    b'f' => Standing::Fresh,
                    b'b' => Standing::Busy { started: false },
                    b'B' => Standing::Busy { started: true },
                    b'0' => ended(0, false, false),
                    b'1' => ended(1, false, false),
                    b'e' => ended(1, true, false),
                    b'z' => ended(0, true, false),
                    _ => ended(0, false, true),
                };
                (container, kind, standing)
            })
            .collect();
        let views: Vec<View<'_>> = parsed
            .iter()
            .map(|(container, kind, standing)| View { container, kind: *kind, standing: *standing })
            .collect();
        let plan = plan(&spec(policy), &views);
        let start: Vec<String> = plan.start.iter().map(ToString::to_string).collect();
        format!("{} {:?}", start.join(","), plan.progress)
    }

    #[test]
    fn init_containers_run_in_order() {
        for (containers, expected) in [
            ("mf", "0 Running"),
            ("if if mf", "0 Initializing"),
            ("ib if mf", " Initializing"),
            ("i0 if mf", "1 Initializing"),
            ("i0 i0 mf mf", "2,3 Running"),
            ("i1 if mf", "0 Initializing"),
            ("sf if mf", "0 Initializing"),
            ("sb if mf", " Initializing"),
            ("sB if mf", "1 Initializing"),
            ("sB i0 mf", "2 Running"),
            ("sB i0 sf mf", "2 Initializing"),
        ] {
            assert_eq!(decide("Always", containers), expected, "{containers}");
        }
    }

    #[test]
    fn a_sidecar_that_ends_is_restarted_and_stops_nobody() {
        assert_eq!(decide("Never", "s1 ib mf"), "0 Initializing");
        assert_eq!(decide("Never", "s0 i0 mB"), "0 Running");
        assert_eq!(decide("Never", "sb i0 mf"), "2 Running", "coming up again, but it was passed before");
        assert_eq!(decide("Never", "s1 mf"), "0 Initializing", "never passed: the others wait for it");
    }

    #[test]
    fn restart_policies() {
        for (policy, containers, expected) in [
            ("Always", "m0 m1", "0,1 Running"),
            ("OnFailure", "m0 m1", "1 Running"),
            ("Never", "m0 m1", " Over"),
            ("Never", "m0 mB", " Running"),
            ("OnFailure", "m0 m0", " Over"),
            ("Never", "i1 mf", " Over"),
            ("OnFailure", "i1 mf", "0 Initializing"),
            ("Never", "sB m1", " Over"),
            ("Never", "s1 m1", " Over"),
            ("Never", "m!", "0 Running"),
        ] {
            assert_eq!(decide(policy, containers), expected, "{policy} {containers}");
        }
    }

    #[test]
    fn after_a_reboot_everything_begins_anew_unless_the_pod_was_done() {
        for (policy, containers, expected) in [
            ("Always", "iz sz mz", "0 Initializing"),
            ("Always", "i0 sz mz", "1 Initializing"),
            ("Always", "i0 sB me", "2 Running"),
            ("Never", "iz me", " Over"),
            ("OnFailure", "iz me mz", "0 Initializing"),
            ("OnFailure", "i0 me mz", "1 Running"),
        ] {
            assert_eq!(decide(policy, containers), expected, "{policy} {containers}");
        }
    }

    proptest! {
        #[test]
        fn nothing_busy_is_started_and_nothing_main_before_its_time(
            policy in "Always|OnFailure|Never",
            init in proptest::collection::vec("[is][fbB01ez]", 0..4),
            main in proptest::collection::vec("m[fbB01ez]", 1..4),
        ) {
            let words: Vec<&String> = init.iter().chain(&main).collect();
            let text = words.iter().map(|w| w.as_str()).collect::<Vec<_>>().join(" ");
            let answer = decide(&policy, &text);
            let (start, progress) = answer.split_once(' ').unwrap();
            for position in start.split(',').filter(|p| !p.is_empty()) {
                let position: usize = position.parse().unwrap();
                prop_assert!(!words[position].ends_with(['b', 'B']));
                prop_assert!(position < init.len() || progress == "Running");
            }
            prop_assert!(progress != "Over" || start.is_empty());
        }
    }
}
