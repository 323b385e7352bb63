//! Clients that write over kept HTTP/1.1 connections, as fast as they are answered, and never repeat a request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};
use skep_kubeops::ClientConfig;
use tokio::{runtime::Runtime, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::installation::eventually;

/// So many that without the gateway's help one nearly always has a request on its way when its API server closes.
const WRITERS: usize = 16;
/// Between an answer and the next request: leaves the machine to the API server that starts. Short beside the time for
/// which the gateway holds answers.
const PAUSE: Duration = Duration::from_millis(10);

pub struct Writers {
    runtime: Runtime,
    written: Arc<AtomicU32>,
    stop: CancellationToken,
    tasks: JoinSet<Vec<String>>,
}

impl Writers {
    /// Clients of the tenant that a kubeconfig is for.
    pub fn start(kubeconfig: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (written, stop, mut tasks) = (Arc::default(), CancellationToken::new(), JoinSet::new());
        for _ in 0..WRITERS {
            // kube speaks nothing but HTTP/1.1. With a client each, everyone has a connection.
            let client = runtime.block_on(async {
                ClientConfig::from_yaml(kubeconfig).await.unwrap().retries(0).build("skep-e2e").unwrap()
            });
            tasks.spawn_on(write(client, Arc::clone(&written), stop.clone()), runtime.handle());
        }
        Self { runtime, written, stop, tasks }
    }

    /// Waits until all is written that was on its way, and more.
    pub fn go_on(&self) {
        let last = self.written.load(Ordering::SeqCst);
        let enough = || (self.written.load(Ordering::SeqCst) > last + 1_000).then_some(());
        eventually("writes after the change", enough);
    }

    /// How many were written, and what failed.
    pub fn stop(mut self) -> (u32, Vec<String>) {
        self.stop.cancel();
        let failures = self.runtime.block_on(async {
            let mut failures = Vec::new();
            while let Some(writer) = self.tasks.join_next().await {
                failures.extend(writer.unwrap());
            }
            failures
        });
        (self.written.load(Ordering::SeqCst), failures)
    }
}

/// Posts what leaves nothing behind.
async fn write(client: Client, written: Arc<AtomicU32>, stop: CancellationToken) -> Vec<String> {
    let reviews = Api::<SelfSubjectAccessReview>::all(client);
    let attributes = ResourceAttributes {
        verb: Some("create".into()),
        resource: Some("configmaps".into()),
        ..ResourceAttributes::default()
    };
    let spec =
        SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), non_resource_attributes: None };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let mut failures = Vec::new();
    while !stop.is_cancelled() {
        match reviews.create(&PostParams::default(), &review).await {
            Ok(_) => written.fetch_add(1, Ordering::SeqCst),
            Err(error) => {
                failures.push(format!("{error:?}"));
                0
            }
        };
        tokio::time::sleep(PAUSE).await;
    }
    failures
}
