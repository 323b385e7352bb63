//! What a node says first after it was away.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use skep_testkit::World;

use super::life::{HostImage, Installation, PATIENCE, Run, condition, until};
use crate::backend::{HaltStage, ImageError, ImageRoot, ImageSource, PodBackend};
use crate::process::{marker, procfs};

/// No container comes up again while this is asked.
struct NoImage;

#[async_trait]
impl ImageSource for NoImage {
    async fn resolve(&self, _: &str) -> Result<ImageRoot, ImageError> {
        std::future::pending().await
    }
}

async fn ready_pod() -> Installation {
    let mut installation = Installation::new();
    let client = installation.fake.client();
    installation.set_up(&client).await.unwrap();
    installation.converge(client).await.unwrap();
    assert_eq!(condition(&installation.pod().unwrap(), "Ready"), "True");
    installation
}

/// The status at the moment the node has told how its pods stand.
async fn first_word(installation: &mut Installation, images: Arc<dyn ImageSource>) -> String {
    let backend = installation.processes(images).await.unwrap();
    let run = Run::start(installation.fake.client(), backend).await.unwrap();
    tokio::time::timeout(PATIENCE, run.told.cancelled()).await.unwrap();
    condition(&installation.pod().unwrap(), "Ready")
}

#[tokio::test]
async fn a_halted_pod_is_not_ready_before_anybody_acts_on_it() {
    let mut installation = ready_pod().await;
    let backend = installation.processes(Arc::new(HostImage)).await.unwrap();
    backend.recover().await.unwrap();
    backend.halt(&HaltStage { pods: |_| true, grace: Duration::from_secs(20) }).await;
    assert_eq!(marker::find(&installation.marker()).unwrap(), []);
    assert_eq!(
        condition(&installation.pod().unwrap(), "Ready"),
        "True",
        "what the API server still believes"
    );
    assert_eq!(first_word(&mut installation, Arc::new(NoImage)).await, "False");
}

#[tokio::test]
async fn so_is_one_whose_processes_were_killed() {
    let mut installation = ready_pod().await;
    installation.processes(Arc::new(HostImage)).await.unwrap().release().await;
    for found in marker::find(&installation.marker()).unwrap() {
        let pid = rustix::process::Pid::from_raw(found.id.pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        // They are this process's children here: until they are reaped they can be adopted.
        until("it is dead and buried", || procfs::stat(found.id.pid).is_none()).await.unwrap();
    }
    assert_eq!(first_word(&mut installation, Arc::new(NoImage)).await, "False");
}
