//! Which of a control plane's programs may be brought to their goal now.
//!
//! Upstream's order: *all* copies of kube-apiserver first, then kube-controller-manager and kube-scheduler, which may
//! never be newer than the API server they talk to. So a controller is touched only when every copy of the API server
//! that exists is at least of the controller's goal; until then it stays exactly as it is. While nothing serves yet
//! (creation, or recovery from nothing) there is nothing to protect and all start together.

use skep_api::KubeVersion;

use crate::flags::Program;
use crate::skew;

/// One copy of kube-apiserver that exists, ready or not, on its way out or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Its version.
    pub version: KubeVersion,
    /// It serves.
    pub ready: bool,
}

/// Whether a program may be applied now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// Yes.
    Open,
    /// Not yet.
    Waits {
        /// For the condition: one of [`BEHIND`] and [`QUEUED`].
        reason: &'static str,
        /// What has to happen first.
        message: String,
    },
}

/// API servers come first.
pub const BEHIND: &str = "WaitsForApiServers";
/// Others are starting.
pub const QUEUED: &str = "WaitsForItsTurn";

impl Gate {
    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        *self == Self::Open
    }
}

/// What a rollout pass has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Copies of kube-apiserver.
    pub api_servers: Vec<Copy>,
    /// Version of the controller's workload as it was applied last, `None` if there is none yet.
    pub controller: Option<KubeVersion>,
}

/// Whether `program` may be brought to version `goal` now.
pub fn gate(program: Program, goal: &KubeVersion, observed: &Observed) -> Gate {
    if program == Program::KubeApiserver {
        return Gate::Open;
    }
    let Some(lowest) = observed.api_servers.iter().map(|copy| &copy.version).min() else {
        return Gate::Open;
    };
    // Flags and sizes of a controller do not depend on the API server's version: only a change of minor or patch waits.
    if observed.controller.as_ref() == Some(goal) {
        return Gate::Open;
    }
    // A copy that never became ready serves nobody: a controller that is not there yet does not wait for it.
    let serves = observed.api_servers.iter().any(|copy| copy.ready);
    if observed.controller.is_none() && !serves {
        return Gate::Open;
    }
    if lowest >= goal || (observed.controller.as_ref() > Some(goal) && skew::controller_fits(goal, lowest)) {
        return Gate::Open;
    }
    let left = observed.api_servers.iter().filter(|copy| copy.version < *goal).count();
    let plural = if left == 1 { "copy" } else { "copies" };
    Gate::Waits {
        reason: BEHIND,
        message: format!(
            "{program} waits for {left} {plural} of kube-apiserver to move from {lowest} to {goal}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v(text: &str) -> KubeVersion {
        text.parse().unwrap()
    }

    fn copy(version: &str, ready: bool) -> Copy {
        Copy { version: v(version), ready }
    }

    fn open(goal: &str, controller: Option<&str>, api_servers: &[Copy]) -> bool {
        let observed = Observed { api_servers: api_servers.to_vec(), controller: controller.map(v) };
        gate(Program::KubeControllerManager, &v(goal), &observed).is_open()
    }

    #[test]
    fn at_creation_everything_starts_together() {
        assert!(open("v1.36.3", None, &[]));
        assert!(open("v1.36.3", None, &[copy("v1.36.3", false)]));
    }

    #[test]
    fn an_upgrade_waits_for_the_last_old_api_server() {
        let old = [copy("v1.35.4", true), copy("v1.36.3", true)];
        assert!(!open("v1.36.3", Some("v1.35.4"), &old));
        assert!(open("v1.36.3", Some("v1.35.4"), &old[1..]));
    }

    #[test]
    fn other_changes_do_not_wait() {
        assert!(open("v1.35.4", Some("v1.35.4"), &[copy("v1.35.4", true), copy("v1.36.3", false)]));
    }

    #[test]
    fn a_patch_goes_back_without_waiting() {
        // A controller may be older than the API servers it talks to.
        assert!(open("v1.36.1", Some("v1.36.3"), &[copy("v1.36.3", true)]));
    }

    #[test]
    fn the_message_says_who_waits_for_what() {
        let observed = Observed { api_servers: vec![copy("v1.35.4", true)], controller: Some(v("v1.35.4")) };
        assert_eq!(
            gate(Program::KubeScheduler, &v("v1.36.3"), &observed),
            Gate::Waits {
                reason: BEHIND,
                message: "kube-scheduler waits for 1 copy of kube-apiserver to move from v1.35.4 to v1.36.3"
                    .into()
            }
        );
    }

    proptest! {
        /// A controller is never started beside a serving API server that is older than it.
        #[test]
        fn a_controller_is_never_newer_than_a_serving_api_server(
            goal in 30u64..34, controller in prop::option::of(30u64..34), copies in prop::collection::vec((30u64..34, any::<bool>()), 0..4),
        ) {
            let minor = |m: u64| v(&format!("v1.{m}.0"));
            let observed = Observed {
                api_servers: copies.iter().map(|(m, ready)| Copy { version: minor(*m), ready: *ready }).collect(),
                controller: controller.map(minor),
            };
            let changes = controller != Some(goal);
            if changes && gate(Program::KubeScheduler, &minor(goal), &observed).is_open() {
                let serving = copies.iter().filter(|(_, ready)| *ready).map(|(m, _)| *m).min();
                prop_assert!(serving.is_none_or(|lowest| goal <= lowest));
            }
        }
    }
}
