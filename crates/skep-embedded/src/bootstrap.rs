//! What a hub needs before anything of ours can run on it: CRDs, roles, namespaces, catalogue, datastore.
//!
//! Everything is applied again at every start (server-side, as field manager `skep`), so that a new version brings its
//! own definitions; what people changed in other fields stays. Waiting is done on watches.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::{
    api::{core::v1::Namespace, rbac::v1::ClusterRoleBinding},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Client;
use serde::Serialize;
use skep_api::labels;
use skep_kubeops::{
    Applier, Cache, Object,
    watch::{Change, Select, changes},
};
use tokio::time::{Instant, sleep, timeout};

use crate::{Error, Result, catalogue, roles};

/// Field manager of everything applied here.
const MANAGER: &str = "skep";
/// Requests at a time.
const PARALLEL: usize = 8;
/// For one thing to appear.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Pauses between attempts where upstream has no event: from the first to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// Waits until the rights of upstream's own components exist: their programs would start, be refused and wait.
///
/// # Errors
/// [`Error::Hub`] when they do not appear in time.
pub async fn upstream_roles(client: &Client) -> Result<()> {
    let what = "rights of upstream's controllers";
    wait_for::<ClusterRoleBinding>(client, Select::named("system:kube-scheduler"), what, PATIENCE, |_| true)
        .await
}

/// Applies the CRDs and waits until their kinds are served.
///
/// # Errors
/// [`Error::Hub`].
pub async fn crds(client: &Client) -> Result<()> {
    let applier = Applier::new(client.clone(), MANAGER);
    let crds = skep_api::crds();
    apply_all(&applier, &crds).await?;
    let mut missing: Vec<String> = crds.into_iter().filter_map(|crd| crd.metadata.name).collect();
    let what = "custom resource definitions";
    wait_for::<CustomResourceDefinition>(client, Select::all(), what, PATIENCE, |crd| {
        if established(crd) {
            missing.retain(|name| crd.metadata.name.as_ref() != Some(name));
        }
        missing.is_empty()
    })
    .await
}

fn established(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
}

/// Applies roles, the system namespace and the starter catalogue with its datastore.
///
/// # Errors
/// [`Error::Hub`].
pub async fn objects(client: &Client) -> Result<()> {
    let applier = Applier::new(client.clone(), MANAGER);
    let catalogue = catalogue::starter()?;
    for grant in roles::grants(roles::Subjects::Users) {
        apply(&applier, &grant.role).await?;
        apply(&applier, &grant.binding).await?;
    }
    apply(&applier, &namespace(skep_api::SYSTEM_NAMESPACE)).await?;
    futures::try_join!(
        apply_all(&applier, &catalogue.size_classes),
        apply_all(&applier, &catalogue.machine_classes),
        apply_all(&applier, &catalogue.profiles),
        apply_all(&applier, &catalogue.releases),
        apply_all(&applier, &catalogue.storage_classes),
    )?;
    apply_all(&applier, &catalogue.datastores).await
}

/// A namespace of ours.
pub fn namespace(name: &str) -> Namespace {
    let labels = BTreeMap::from([(labels::MANAGED_BY.to_owned(), labels::MANAGED_BY_SKEP.to_owned())]);
    let metadata = ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
    Namespace { metadata, ..Namespace::default() }
}

async fn apply_all<K: Object + Serialize>(applier: &Applier, objects: &[K]) -> Result<()> {
    stream::iter(objects).map(|object| apply(applier, object)).buffer_unordered(PARALLEL).try_collect().await
}

async fn apply<K: Object + Serialize>(applier: &Applier, object: &K) -> Result<()> {
    let name = format!("{} {}", K::kind(&()), object.meta().name.clone().unwrap_or_default());
    until_served(&name, || async { applier.apply(object).await.map(drop) }).await
}

/// Does `attempt` until its kind is served: that is a moment after the kind is established, and there is no event for it.
///
/// # Errors
/// [`Error::Hub`] about `what`: anything but "not found", and that when it lasts.
pub async fn until_served<F>(what: &str, attempt: impl Fn() -> F) -> Result<()>
where
    F: Future<Output = skep_kubeops::Result<()>>,
{
    let began = Instant::now();
    let mut pause = PAUSES.0;
    loop {
        match attempt().await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_not_found() && began.elapsed() < PATIENCE => sleep(pause).await,
            Err(error) => return Err(Error::Hub { what: what.to_owned(), reason: error.to_string() }),
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Watches until an object satisfies `done`, for at most `patience`.
///
/// # Errors
/// [`Error::Hub`] when none does in time; the reason says what the watch met last.
pub async fn wait_for<K: Object>(
    client: &Client,
    select: Select,
    what: &str,
    patience: Duration,
    mut done: impl FnMut(&K) -> bool,
) -> Result<()> {
    let mut watch = changes::<K>(client.clone(), select, Cache::new());
    let mut trouble = None;
    let seen = async {
        while let Some(change) = watch.next().await {
            match change {
                Change::Applied(object) if done(&object) => return,
                Change::Interrupted(reason) => trouble = Some(reason),
                _ => {}
            }
        }
    };
    timeout(patience, seen).await.map_err(|_| Error::Hub {
        what: what.to_owned(),
        reason: trouble.unwrap_or_else(|| format!("not there after {} s", patience.as_secs())),
    })
}
