//! Panics in what runs beside the agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use skep_testkit::World;

use super::life::{Installation, Run, until};
use crate::backend::{
    BackendError, EventHub, ExecRequest, ExecSession, HaltStage, LogOptions, LogStream, PodBackend,
    PodContext, PodLifecycle, PodRuntimeStatus, PodStats, PodUid, RecoveredPod, ResourceEnforcement,
};

/// Knows every pod as stopped until it is removed, which goes wrong at first.
struct Defective {
    hub: Arc<EventHub>,
    removals: AtomicUsize,
}

/// Removals that go wrong.
const PANICS: usize = 2;

#[async_trait]
impl PodBackend for Defective {
    fn name(&self) -> &'static str {
        "defective"
    }

    fn enforcement(&self) -> ResourceEnforcement {
        ResourceEnforcement::Accounted
    }

    async fn recover(&self) -> Result<Vec<RecoveredPod>, BackendError> {
        Ok(Vec::new())
    }

    fn sync_pod(&self, _: Arc<Pod>, _: PodContext) -> Result<(), BackendError> {
        Ok(())
    }

    fn stop_pod(&self, _: &PodUid, _: Duration) -> Result<(), BackendError> {
        Ok(())
    }

    async fn remove_pod(&self, _: &PodUid) -> Result<(), BackendError> {
        assert!(self.removals.fetch_add(1, Ordering::SeqCst) >= PANICS, "a defect");
        Ok(())
    }

    fn pods(&self) -> Vec<PodUid> {
        Vec::new()
    }

    fn status(&self, _: &PodUid) -> Option<Arc<PodRuntimeStatus>> {
        let known = self.removals.load(Ordering::SeqCst) <= PANICS;
        known.then(|| {
            Arc::new(PodRuntimeStatus { lifecycle: PodLifecycle::Stopped, ..PodRuntimeStatus::default() })
        })
    }

    fn events(&self) -> Arc<EventHub> {
        self.hub.clone()
    }

    async fn logs(&self, uid: &PodUid, _: &str, _: LogOptions) -> Result<LogStream, BackendError> {
        Err(BackendError::UnknownPod(uid.to_string()))
    }

    async fn exec(&self, uid: &PodUid, _: &str, _: ExecRequest) -> Result<ExecSession, BackendError> {
        Err(BackendError::UnknownPod(uid.to_string()))
    }

    async fn stats(&self) -> Result<Vec<PodStats>, BackendError> {
        Ok(Vec::new())
    }

    async fn halt(&self, _: &HaltStage) {}

    async fn release(&self) {}
}

#[tokio::test]
async fn a_panic_in_a_removal_is_one_that_failed() {
    let mut installation = Installation::new();
    let client = installation.fake.client();
    installation.set_up(&client).await.unwrap();
    installation.delete(&client).await.unwrap();
    let backend = Arc::new(Defective { hub: Arc::new(EventHub::new()), removals: AtomicUsize::new(0) });
    let _run = Run::start(client, backend.clone()).await.unwrap();
    until("the pod is gone", || installation.pod().is_none()).await.unwrap();
    assert_eq!(backend.removals.load(Ordering::SeqCst), PANICS + 1);
}
