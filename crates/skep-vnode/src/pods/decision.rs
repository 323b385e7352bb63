//! What to do next with a pod. Pure: from what is known to one step, looked at again after every change.
//!
//! Guarantees: nothing of a pod is forgotten while the backend knows it; a pod that is being deleted, has ended or was
//! given up is never started; a pod leaves the API server only after its last process.

use std::time::Duration;

use crate::backend::PodLifecycle;

/// What is known about a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The API server still has it.
    pub in_api: bool,
    /// Somebody deletes it, with this long to stop.
    pub deleting: Option<Duration>,
    /// How long it gets when it has to stop for another reason.
    pub grace: Duration,
    /// Its phase is final.
    pub terminal: bool,
    /// The node refused it or gave it up.
    pub given_up: bool,
    /// What the backend says; `None`: it does not know the pod.
    pub lifecycle: Option<PodLifecycle>,
    /// The backend was given another version of the pod, or nothing yet in this process.
    pub changed: bool,
    /// Its final deletion was already asked for.
    pub deleted: bool,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Bring the status up to date.
    Report,
    /// Check it, give it an address and hand it to the backend.
    Start,
    /// Tell the backend what has changed, then report.
    Sync,
    /// Make the backend stop it within this time, then report.
    Stop(Duration),
    /// Delete what the backend keeps of it.
    Remove,
    /// Report the end, delete what the backend keeps, and let the API server delete the object.
    Finish,
    /// There is nothing left of it.
    Forget,
    /// Nothing until something changes.
    Wait,
}

/// The next step.
#[must_use]
pub fn decide(view: &View) -> Decision {
    use PodLifecycle::{Preparing, Running, Stopped, Stopping};
    if !view.in_api {
        return match view.lifecycle {
            None => Decision::Forget,
            Some(Stopped) => Decision::Remove,
            Some(Preparing | Running | Stopping) => Decision::Stop(view.deleting.unwrap_or(view.grace)),
        };
    }
    if let Some(grace) = view.deleting {
        return match view.lifecycle {
            None if view.deleted => Decision::Wait,
            None | Some(Stopped) => Decision::Finish,
            Some(Preparing | Running | Stopping) => Decision::Stop(grace),
        };
    }
    match view.lifecycle {
        Some(Preparing | Running) if view.terminal || view.given_up => Decision::Stop(view.grace),
        Some(Preparing | Running) if view.changed => Decision::Sync,
        None if !(view.terminal || view.given_up) => Decision::Start,
        _ => Decision::Report,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GRACE: Duration = Duration::from_secs(30);

    fn running() -> View {
        View {
            in_api: true,
            deleting: None,
            grace: GRACE,
            terminal: false,
            given_up: false,
            lifecycle: Some(PodLifecycle::Running),
            changed: false,
            deleted: false,
        }
    }

    #[test]
    fn the_life_of_a_pod() {
        let new = View { lifecycle: None, changed: true, ..running() };
        assert_eq!(decide(&new), Decision::Start);
        assert_eq!(decide(&running()), Decision::Report);
        assert_eq!(decide(&View { changed: true, ..running() }), Decision::Sync);
        let deleting = View { deleting: Some(Duration::from_secs(5)), ..running() };
        assert_eq!(decide(&deleting), Decision::Stop(Duration::from_secs(5)));
        assert_eq!(decide(&View { lifecycle: Some(PodLifecycle::Stopped), ..deleting }), Decision::Finish);
        assert_eq!(decide(&View { lifecycle: None, deleted: true, ..deleting }), Decision::Wait);
        assert_eq!(decide(&View { lifecycle: None, in_api: false, ..deleting }), Decision::Forget);
    }

    #[test]
    fn a_pod_deleted_while_the_node_was_away_is_stopped_and_removed() {
        let orphan = View { in_api: false, ..running() };
        assert_eq!(decide(&orphan), Decision::Stop(GRACE));
        assert_eq!(decide(&View { lifecycle: Some(PodLifecycle::Stopped), ..orphan }), Decision::Remove);
    }

    #[test]
    fn a_pod_deleted_before_it_started_just_goes() {
        let never = View { lifecycle: None, deleting: Some(GRACE), ..running() };
        assert_eq!(decide(&never), Decision::Finish);
    }

    #[test]
    fn a_pod_that_ended_is_kept_until_somebody_deletes_it() {
        let ended = View { terminal: true, lifecycle: Some(PodLifecycle::Stopped), ..running() };
        assert_eq!(decide(&ended), Decision::Report);
        assert_eq!(decide(&View { lifecycle: None, ..ended }), Decision::Report);
        assert_eq!(decide(&View { terminal: true, ..running() }), Decision::Stop(GRACE));
    }

    prop_compose! {
        fn any_view()(
            in_api: bool, deleting: bool, terminal: bool, given_up: bool, changed: bool, deleted: bool,
            lifecycle in prop::sample::select(vec![
                None, Some(PodLifecycle::Preparing), Some(PodLifecycle::Running),
                Some(PodLifecycle::Stopping), Some(PodLifecycle::Stopped),
            ]),
        ) -> View {
            let deleting = deleting.then_some(GRACE);
            View { in_api, deleting, grace: GRACE, terminal, given_up, lifecycle, changed, deleted }
        }
    }

    proptest! {
        #[test]
        fn nothing_is_forgotten_deleted_or_started_wrongly(view in any_view()) {
            let live = matches!(
                view.lifecycle,
                Some(PodLifecycle::Preparing | PodLifecycle::Running | PodLifecycle::Stopping)
            );
            match decide(&view) {
                Decision::Forget => prop_assert!(view.lifecycle.is_none() && !view.in_api),
                Decision::Remove | Decision::Finish => prop_assert!(!live),
                Decision::Start | Decision::Sync => {
                    prop_assert!(view.in_api && view.deleting.is_none() && !view.terminal && !view.given_up);
                }
                Decision::Stop(_) => prop_assert!(live),
                Decision::Report | Decision::Wait => {}
            }
        }

        /// From any state, when the backend does what it is told, a deleted pod disappears in a few steps.
        #[test]
        fn deletion_always_ends(start in any_view()) {
            let mut view = View { deleting: Some(GRACE), ..start };
            for _ in 0..8 {
                match decide(&view) {
                    Decision::Stop(_) => view.lifecycle = Some(PodLifecycle::Stopped),
                    Decision::Remove => view.lifecycle = None,
                    Decision::Finish => { view.lifecycle = None; view.deleted = true; view.in_api = false; }
                    Decision::Forget => return Ok(()),
                    Decision::Wait => view.in_api = false,
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            prop_assert!(false, "never forgotten: {:?}", view);
        }
    }
}
