//! Calls for one pod that take time: they run beside the agent and report back.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::Value;
use tokio::task::JoinError;

use crate::backend::{PodBackend, PodUid};
use crate::pods::sources::text;

use super::Agent;

/// One call to the API server.
const CALL: Duration = Duration::from_secs(10);
/// Deleting what a backend keeps: a volume may hold many files.
const REMOVAL: Duration = Duration::from_secs(300);

/// What is to be done.
pub enum Task {
    /// Write a status.
    Patch(Value),
    /// Delete what the backend keeps.
    Remove,
    /// Write the last status, delete what the backend keeps, delete the object.
    Finish {
        /// The last status, when it differs.
        patch: Option<Value>,
        /// The backend knows the pod.
        known: bool,
    },
}

/// How it went.
pub enum Done {
    /// The object after the patch.
    Patched(Box<Pod>),
    /// The backend has forgotten the pod.
    Removed,
    /// The API server took the final deletion.
    Deleted,
    /// The API server has no pod of this uid any more.
    Gone,
    /// The API server could not write because others wrote, or a pod of another uid has the name.
    Conflict(String),
    /// To be tried again.
    Failed(String),
}

/// A task that ended.
pub struct Finished {
    /// The pod.
    pub uid: PodUid,
    /// How it went.
    pub done: Done,
}

impl Agent {
    /// Runs a task for a pod; until it ends nothing else happens to the pod.
    pub(super) fn call(&mut self, uid: &PodUid, task: Task) {
        let Some(entry) = self.entries.get(uid) else { return };
        let call = Call {
            client: self.config.client.clone(),
            backend: self.config.backend.clone(),
            uid: uid.clone(),
            namespace: entry.pod.metadata.namespace.clone().unwrap_or_default(),
            name: entry.pod.metadata.name.clone().unwrap_or_default(),
        };
        let permits = self.config.permits.clone();
        let running = self.calls.spawn(async move {
            // The semaphore is never closed; without a permit the call is merely not counted.
            let _permit = permits.acquire_owned().await.ok();
            let done = call.run(task).await.unwrap_or_else(|done| done);
            Finished { uid: call.uid, done }
        });
        if let Some(entry) = self.entries.get_mut(uid) {
            entry.call = Some(running.id());
        }
    }

    /// A call that ended without an answer, by a defect of ours, is one that failed.
    pub(super) fn lost(&mut self, error: &JoinError) {
        let found = self.entries.iter().find(|(_, entry)| entry.call == Some(error.id()));
        if let Some(uid) = found.map(|(uid, _)| uid.clone()) {
            self.finished(Finished { uid, done: Done::Failed(error.to_string()) });
        }
    }
}

struct Call {
    client: Client,
    backend: Arc<dyn PodBackend>,
    uid: PodUid,
    namespace: String,
    name: String,
}

impl Call {
    async fn run(&self, task: Task) -> Result<Done, Done> {
        match task {
            Task::Patch(patch) => self.patch(patch).await,
            Task::Remove => self.remove().await.map(|()| Done::Removed),
            Task::Finish { patch, known } => {
                if let Some(patch) = patch {
                    match self.patch(patch).await {
                        Ok(_) | Err(Done::Gone) => {}
                        Err(failed) => return Err(failed),
                    }
                }
                if known {
                    self.remove().await?;
                }
                self.delete().await
            }
        }
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn patch(&self, patch: Value) -> Result<Done, Done> {
        let (api, patch, parameters) = (self.api(), Patch::Strategic(patch), PatchParams::default());
        let call = api.patch_status(&self.name, &parameters, &patch);
        answer(call).await.map(|pod| Done::Patched(Box::new(pod)))
    }

    async fn remove(&self) -> Result<(), Done> {
        match tokio::time::timeout(REMOVAL, self.backend.remove_pod(&self.uid)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Done::Failed(error.to_string())),
            Err(_) => Err(Done::Failed("removing the pod's files takes too long".to_owned())),
        }
    }

    async fn delete(&self) -> Result<Done, Done> {
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: Some(self.uid.to_string()), resource_version: None }),
            ..DeleteParams::default()
        };
        match answer(self.api().delete(&self.name, &parameters)).await {
            // The precondition: a pod of another uid has the name by now.
            Err(Done::Conflict(_)) => Err(Done::Gone),
            other => other.map(|_| Done::Deleted),
        }
    }
}

async fn answer<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Done> {
    match tokio::time::timeout(CALL, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if status.is_not_found() => Err(Done::Gone),
        Ok(Err(kube::Error::Api(status))) if status.is_conflict() => {
            Err(Done::Conflict(status.message.clone()))
        }
        Ok(Err(error)) => Err(Done::Failed(text(&error))),
        Err(_) => Err(Done::Failed(format!("the API server did not answer in {} s", CALL.as_secs()))),
    }
}
