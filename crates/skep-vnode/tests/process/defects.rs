//! Panics in what a pod's jobs call: the next try is made, and nothing stays as it was for ever.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use serde_json::json;
use skep_vnode::backend::{
    ImageError, ImageRoot, ImageSource, PodBackend, PodContext, PodSources, PodUid, ServiceAccountToken,
    SourceError, TokenRequest,
};

use crate::harness::*;

const PANICS: usize = 2;

/// Panics at first, then does what it should.
#[derive(Default)]
struct Defective {
    calls: AtomicUsize,
    objects: Objects,
}

impl Defective {
    fn call(&self) {
        assert!(self.calls.fetch_add(1, Ordering::SeqCst) >= PANICS, "a defect");
    }
}

#[async_trait]
impl ImageSource for Defective {
    async fn resolve(&self, image: &str) -> Result<ImageRoot, ImageError> {
        self.call();
        Images.resolve(image).await
    }
}

#[async_trait]
impl PodSources for Defective {
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Arc<ConfigMap>>, SourceError> {
        self.call();
        self.objects.config_map(namespace, name).await
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Arc<Secret>>, SourceError> {
        PodSources::secret(&self.objects, namespace, name).await
    }

    async fn claim(&self, namespace: &str, name: &str) -> Result<Option<PathBuf>, SourceError> {
        self.objects.claim(namespace, name).await
    }

    async fn token(&self, pod: &Pod, request: &TokenRequest) -> Result<ServiceAccountToken, SourceError> {
        self.objects.token(pod, request).await
    }
}

#[tokio::test]
async fn a_container_is_tried_again() {
    let images = Arc::new(Defective::default());
    let node = Node::with(quick(), images.clone());
    let uid = node.sync(&script("image", "exec sleep 1000"));
    node.event("Failed", "internal error").await;
    let status = node.until(&uid, "it runs", is("running")).await;
    assert_eq!(only(&status).restart_count, 0, "it never ran before");
    assert_eq!(images.calls.load(Ordering::SeqCst), PANICS + 1);
    node.end().await;
}

#[tokio::test]
async fn a_container_that_is_never_made_can_be_removed() {
    struct Never;
    #[async_trait]
    impl ImageSource for Never {
        async fn resolve(&self, _: &str) -> Result<ImageRoot, ImageError> {
            panic!("a defect")
        }
    }
    let node = Node::with(quick(), Arc::new(Never));
    let uid = node.sync(&script("never", "exec sleep 1000"));
    node.until(&uid, "it is told", is("waiting CreateContainerError: an internal error")).await;
    node.remove(&uid, Duration::from_secs(20)).await;
    node.end().await;
}

#[tokio::test]
async fn volumes_are_tried_again() {
    let node = Node::new();
    let sources = Arc::new(Defective::default());
    sources.objects.map("m", &[("key", "value")]);
    let spec = json!({"volumes": [{"name": "v", "configMap": {"name": "m"}}], "containers": [container("c", "exec sleep 1000")]});
    let pod = pod("volume", spec);
    let context = PodContext { sources: sources.clone(), ..context(node.objects.clone()) };
    node.backend.sync_pod(Arc::new(pod.clone()), context).unwrap();
    node.event("FailedMount", "internal error").await;
    node.until(&PodUid::of(&pod).unwrap(), "it runs", is("running")).await;
    assert_eq!(sources.calls.load(Ordering::SeqCst), PANICS + 1);
    node.end().await;
}
