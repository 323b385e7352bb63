//! The conditions a node owns on a pod.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::phase::Phase;
use super::restart::is_sidecar;

/// Types a node writes; every other condition belongs to somebody else and is left alone.
const OWNED: [&str; 7] = [
    "PodScheduled",
    "PodReadyToStartContainers",
    "Initialized",
    "ContainersReady",
    "Ready",
    "PodResizePending",
    "PodResizeInProgress",
];

/// Whether conditions of this type are the node's.
#[must_use]
pub fn owned(type_: &str) -> bool {
    OWNED.contains(&type_)
}

/// A condition before it has a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    type_: &'static str,
    status: bool,
    reason: Option<String>,
    message: Option<String>,
}

impl Verdict {
    /// `True` without a reason, as most are.
    pub fn yes(type_: &'static str) -> Self {
        Self { type_, status: true, reason: None, message: None }
    }

    /// `False`.
    pub fn no(type_: &'static str) -> Self {
        Self { status: false, ..Self::yes(type_) }
    }

    /// With a reason.
    pub fn because(self, reason: &str) -> Self {
        Self { reason: Some(reason.to_owned()), ..self }
    }

    /// With a text for people; an empty one is none.
    pub fn saying(self, message: &str) -> Self {
        Self { message: (!message.is_empty()).then(|| message.to_owned()), ..self }
    }

    /// The condition, with the time of `old` when the status is the same as there.
    pub fn at(self, now: Timestamp, generation: Option<i64>, old: &[PodCondition]) -> PodCondition {
        let status = if self.status { "True" } else { "False" };
        let unchanged =
            old.iter().find(|condition| condition.type_ == self.type_ && condition.status == status);
        PodCondition {
            type_: self.type_.to_owned(),
            status: status.to_owned(),
            reason: self.reason,
            message: self.message,
            observed_generation: generation,
            last_transition_time: unchanged
                .and_then(|condition| condition.last_transition_time.clone())
                .or(Some(Time(now))),
            last_probe_time: None,
        }
    }
}

fn find<'a>(statuses: &'a [ContainerStatus], name: &str) -> Option<&'a ContainerStatus> {
    statuses.iter().find(|status| status.name == name)
}

/// Names as Go prints a slice of strings; controllers and people know the text.
fn listed(what: &str, names: &[&str]) -> Option<String> {
    (!names.is_empty()).then(|| format!("containers with {what} status: [{}]", names.join(" ")))
}

fn both(one: Option<String>, other: Option<String>) -> String {
    [one, other].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Condition `Initialized`.
pub fn initialized(
    spec: &PodSpec,
    init: &[ContainerStatus],
    main: &[ContainerStatus],
    phase: Phase,
) -> Verdict {
    const TYPE: &str = "Initialized";
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    for container in spec.init_containers.iter().flatten() {
        match find(init, &container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) => {
                let done = if is_sidecar(container) { status.started.unwrap_or(false) } else { status.ready };
                if !done {
                    incomplete.push(container.name.as_str());
                }
            }
        }
    }
    if phase == Phase::Succeeded && unknown.is_empty() {
        return Verdict::yes(TYPE).because("PodCompleted");
    }
    let has_run = |status: &ContainerStatus| {
        status.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    // Once a regular container has run, the pod was initialized, whatever its sidecars do now.
    if main.iter().any(has_run) || (unknown.is_empty() && incomplete.is_empty()) {
        return Verdict::yes(TYPE);
    }
    let message = both(listed("unknown", &unknown), listed("incomplete", &incomplete));
    Verdict::no(TYPE).because("ContainersNotInitialized").saying(&message)
}

/// Condition `ContainersReady`.
pub fn containers_ready(
    spec: &PodSpec,
    init: &[ContainerStatus],
    main: &[ContainerStatus],
    phase: Phase,
) -> Verdict {
    const TYPE: &str = "ContainersReady";
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    let sidecars = spec.init_containers.iter().flatten().filter(|container| is_sidecar(container));
    let wanted = sidecars.map(|c| (c, init)).chain(spec.containers.iter().map(|c| (c, main)));
    for (container, statuses) in wanted {
        match find(statuses, &container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !status.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    if phase == Phase::Succeeded && unknown.is_empty() {
        return Verdict::no(TYPE).because("PodCompleted");
    }
    if phase == Phase::Failed {
        return Verdict::no(TYPE).because("PodFailed");
    }
    if unknown.is_empty() && unready.is_empty() {
        return Verdict::yes(TYPE);
    }
    let message = both(listed("unknown", &unknown), listed("unready", &unready));
    Verdict::no(TYPE).because("ContainersNotReady").saying(&message)
}

/// Condition `Ready`: the containers are, and so is every readiness gate.
pub fn ready(spec: &PodSpec, containers: &Verdict, conditions: &[PodCondition]) -> Verdict {
    const TYPE: &str = "Ready";
    if !containers.status {
        return Verdict { type_: TYPE, ..containers.clone() };
    }
    let missing: Vec<String> = spec
        .readiness_gates
        .iter()
        .flatten()
        .filter_map(|gate| match conditions.iter().find(|condition| condition.type_ == gate.condition_type) {
            None => Some(format!(
                "corresponding condition of pod readiness gate {:?} does not exist.",
                gate.condition_type
            )),
            Some(condition) if condition.status != "True" => Some(format!(
                "the status of pod readiness gate {:?} is not \"True\", but {}",
                gate.condition_type, condition.status
            )),
            Some(_) => None,
        })
        .collect();
    if missing.is_empty() {
        Verdict::yes(TYPE)
    } else {
        Verdict::no(TYPE).because("ReadinessGatesNotReady").saying(&missing.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec() -> PodSpec {
        serde_json::from_value(json!({
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
            "containers": [{"name": "a"}, {"name": "b"}],
            "readinessGates": [{"conditionType": "example.com/gate"}],
        }))
        .unwrap()
    }

    fn status(name: &str, ready: bool, state: &str) -> ContainerStatus {
        serde_json::from_value(
            json!({"name": name, "image": "", "imageID": "", "restartCount": 0, "ready": ready,
            "started": ready, "state": {state: {"exitCode": 0}}}),
        )
        .unwrap()
    }

    #[test]
    fn initialized_names_what_is_missing() {
        let verdict = initialized(&spec(), &[status("i", false, "running")], &[], Phase::Pending);
        assert_eq!(
            verdict.message.as_deref(),
            Some("containers with unknown status: [s], containers with incomplete status: [i]")
        );
        let done = [status("i", true, "terminated"), status("s", true, "running")];
        assert_eq!(initialized(&spec(), &done, &[], Phase::Pending), Verdict::yes("Initialized"));
        let running = [status("a", true, "running")];
        assert_eq!(initialized(&spec(), &[], &running, Phase::Running), Verdict::yes("Initialized"));
    }

    #[test]
    fn containers_ready_counts_sidecars_and_not_init_containers() {
        let init = [status("i", false, "terminated"), status("s", true, "running")];
        let main = [status("a", true, "running"), status("b", true, "running")];
        assert_eq!(containers_ready(&spec(), &init, &main, Phase::Running), Verdict::yes("ContainersReady"));
        let main = [status("a", true, "running"), status("b", false, "running")];
        let verdict = containers_ready(&spec(), &init, &main, Phase::Running);
        assert_eq!(verdict.message.as_deref(), Some("containers with unready status: [b]"));
        let verdict = containers_ready(&spec(), &init, &main, Phase::Failed);
        assert_eq!(verdict.reason.as_deref(), Some("PodFailed"));
    }

    #[test]
    fn ready_waits_for_the_gates() {
        let yes = Verdict::yes("ContainersReady");
        let verdict = ready(&spec(), &yes, &[]);
        assert_eq!(verdict.reason.as_deref(), Some("ReadinessGatesNotReady"));
        let gate = |status: &str| PodCondition {
            type_: "example.com/gate".into(),
            status: status.into(),
            ..PodCondition::default()
        };
        assert!(!ready(&spec(), &yes, &[gate("False")]).status);
        assert_eq!(ready(&spec(), &yes, &[gate("True")]), Verdict::yes("Ready"));
        let no = Verdict::no("ContainersReady").because("PodCompleted");
        assert_eq!(ready(&spec(), &no, &[gate("True")]), Verdict::no("Ready").because("PodCompleted"));
    }

    #[test]
    fn the_time_moves_only_with_the_status() {
        let then: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let old = [Verdict::no("Ready").because("A").at(then, Some(1), &[])];
        let same = Verdict::no("Ready").because("B").at(now, Some(2), &old);
        assert_eq!(same.last_transition_time, Some(Time(then)));
        assert_eq!(Verdict::yes("Ready").at(now, Some(2), &old).last_transition_time, Some(Time(now)));
    }
}
