//! What an agent knows of one pod.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::Value;
use tokio::task::Id;
use tokio_util::time::delay_queue;

use crate::backend::{PodLifecycle, PodUid};
use crate::pods::decision::View;
use crate::pods::requests::Amounts;
use crate::pods::status::{Failure, ResizePending, is_terminal};
use crate::pods::strip;
use crate::pods::table::Row;

/// Kubernetes' default for `terminationGracePeriodSeconds`.
const DEFAULT_GRACE: u64 = 30;
/// Even a forced deletion lets a process go in order: the kubelet's smallest grace period.
const SHORTEST_GRACE: u64 = 1;
/// Waits after failed calls: doubled from the first to the last.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// One pod.
pub struct Entry {
    /// As the API server wants it, without status.
    pub pod: Arc<Pod>,
    /// The status the API server has.
    pub status: Arc<PodStatus>,
    /// Version of the object that `status` was read from.
    pub version: Option<String>,
    /// The API server still has it.
    pub in_api: bool,
    /// It ran before this process did.
    pub adopted: bool,
    /// What the backend was last given; `None` when it has to be given again.
    pub given: Option<Arc<Pod>>,
    /// What it runs with: the last spec whose resources were granted.
    pub granted: Option<Arc<Pod>>,
    /// Requests of what it runs with; `None` while it holds nothing.
    pub holds: Option<Amounts>,
    /// Its address.
    pub ip: Option<IpAddr>,
    /// When the node took it.
    pub start_time: Timestamp,
    /// Why the node gave it up.
    pub failure: Option<Failure>,
    /// Why it has no address; kept so that the event is written once.
    pub no_address: Option<String>,
    /// A resize that waits.
    pub resize_pending: Option<ResizePending>,
    /// Generation of a resize that is being carried out.
    pub resizing: Option<i64>,
    /// The API server took its final deletion, or said that it is gone: nothing is written about it any more.
    pub deleted: bool,
    /// The status patch that is on its way.
    pub sent: Option<Value>,
    /// A patch that changed nothing although the API server took it; sending it again would go on for ever.
    pub futile: Option<Value>,
    /// The call for it that is on its way.
    pub call: Option<Id>,
    /// Failed calls in a row.
    pub failures: u32,
    /// When it is looked at again by itself.
    pub timer: Option<delay_queue::Key>,
}

impl Entry {
    /// A pod the API server named.
    pub fn new(pod: Arc<Pod>, status: Arc<PodStatus>) -> Self {
        let start_time = status.start_time.as_ref().map_or_else(super::Agent::now, |time| time.0);
        Self {
            version: pod.metadata.resource_version.clone(),
            pod,
            status,
            in_api: true,
            adopted: false,
            given: None,
            granted: None,
            holds: None,
            ip: None,
            start_time,
            failure: None,
            no_address: None,
            resize_pending: None,
            resizing: None,
            deleted: false,
            sent: None,
            futile: None,
            call: None,
            failures: 0,
            timer: None,
        }
    }

    /// A pod the backend found; whether the API server has it is known after the first list.
    pub fn recovered(pod: Arc<Pod>, ip: IpAddr) -> Self {
        let holds = pod.spec.as_ref().map(crate::pods::requests::requests);
        let granted = Some(pod.clone());
        Self {
            in_api: false,
            version: None,
            adopted: true,
            granted,
            holds,
            ip: Some(ip),
            ..Self::new(pod, Arc::default())
        }
    }

    /// Takes what the API server says now; older news than what is known is left.
    pub fn apply(&mut self, pod: Arc<Pod>, status: Arc<PodStatus>) {
        let version = pod.metadata.resource_version.clone();
        if self.in_api && strip::is_older(version.as_deref(), self.version.as_deref()) {
            return;
        }
        // What was recovered is the pod as it was when it was last given to the backend, whatever came since.
        let first = !std::mem::replace(&mut self.in_api, true);
        self.version = version;
        if let Some(time) = &status.start_time {
            self.start_time = time.0;
        }
        // The backend holds the same object; keeping it while nothing in it changed keeps one copy.
        if (first && self.pod.spec != pod.spec) || strip::differs(&self.pod, &pod) {
            self.pod = pod;
        }
        self.status = status;
    }

    /// The API server no longer has it.
    pub fn gone(&mut self, last: Option<Arc<Pod>>) {
        self.in_api = false;
        if let Some(last) = last {
            self.pod = last;
        }
    }

    /// When it was created; for the order of admission.
    pub fn created(&self) -> Option<Timestamp> {
        self.pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
    }

    /// `namespace/name`.
    pub fn name(&self) -> String {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{}/{}", part(&self.pod.metadata.namespace), part(&self.pod.metadata.name))
    }

    /// For readers.
    pub fn row(&self, uid: &PodUid) -> Row {
        Row { uid: uid.clone(), pod: self.pod.clone(), status: self.status.clone(), ip: self.ip }
    }

    /// What the decision looks at.
    pub fn view(&self, lifecycle: Option<PodLifecycle>) -> View {
        let metadata = &self.pod.metadata;
        let seconds = |seconds: i64| u64::try_from(seconds).unwrap_or_default().max(SHORTEST_GRACE);
        let of_spec = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        let grace = Duration::from_secs(of_spec.map_or(DEFAULT_GRACE, seconds));
        let deleting = metadata.deletion_timestamp.is_some().then(|| {
            metadata.deletion_grace_period_seconds.map_or(grace, |s| Duration::from_secs(seconds(s)))
        });
        View {
            in_api: self.in_api,
            deleting,
            grace,
            terminal: is_terminal(self.status.phase.as_deref()),
            given_up: self.failure.is_some(),
            lifecycle,
            changed: self.given.as_ref().is_none_or(|given| strip::differs(given, &self.pod)),
            deleted: self.deleted,
        }
    }

    /// Seconds until `activeDeadlineSeconds` are over; `None` without such a limit.
    pub fn deadline(&self, now: Timestamp) -> Option<Duration> {
        let limit = self.pod.spec.as_ref()?.active_deadline_seconds?;
        let over_at = self.start_time.as_second().saturating_add(limit);
        Some(Duration::from_secs(u64::try_from(over_at.saturating_sub(now.as_second())).unwrap_or_default()))
    }
}

/// How long to wait after so many failures in a row.
pub fn retry_after(failures: u32) -> Duration {
    let doubled =
        FIRST_RETRY.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1).min(16)).unwrap_or(u32::MAX));
    let spread = rand::random_range(0.8..1.2);
    doubled.min(LONGEST_RETRY).mul_f64(spread)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(metadata: Value) -> Entry {
        let pod =
            json!({"metadata": metadata, "spec": {"containers": [], "terminationGracePeriodSeconds": 7}});
        Entry::new(Arc::new(serde_json::from_value(pod).unwrap()), Arc::default())
    }

    #[test]
    fn a_deletion_brings_its_own_grace_period() {
        let deleting = |grace: i64| {
            entry(json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace}))
                .view(None)
        };
        assert_eq!(deleting(3).deleting, Some(Duration::from_secs(3)));
        assert_eq!(deleting(0).deleting, Some(Duration::from_secs(SHORTEST_GRACE)));
        assert_eq!(entry(json!({})).view(None).deleting, None);
        assert_eq!(entry(json!({})).view(None).grace, Duration::from_secs(7));
    }

    #[test]
    fn older_news_is_left() {
        let mut entry = entry(json!({"resourceVersion": "10", "generation": 1}));
        let older =
            serde_json::from_value(json!({"metadata": {"resourceVersion": "9", "generation": 2}})).unwrap();
        entry.apply(Arc::new(older), Arc::default());
        assert_eq!(entry.pod.metadata.generation, Some(1));
    }

    #[test]
    fn retries_slow_down_and_stop_slowing() {
        assert!(retry_after(1) < Duration::from_millis(400));
        assert!(retry_after(40) <= LONGEST_RETRY.mul_f64(1.2));
    }
}
