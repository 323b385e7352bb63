//! Watches claims and volumes and works on them one at a time.
//!
//! Nothing is kept of either but the names of those that still need work.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;

use super::claim::{Verdict, deletes, judge, node_of};
use super::directory::Directories;
use crate::events::Recorder;

/// One pass over one claim or volume, the deletion of its files included.
const DEADLINE: Duration = Duration::from_secs(600);
/// Waits after failures: doubled from the first to the last.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// What a provisioner needs.
#[derive(Debug, Clone)]
pub struct ProvisionerConfig {
    /// Where volumes lie; of this process alone.
    pub root: PathBuf,
    /// Names of the nodes whose disk that is.
    pub nodes: BTreeSet<String>,
}

/// A claim or a volume that needs a look.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Claim {
        namespace: String,
        name: String,
    },
    Volume {
        name: String,
    },
    /// A volume that was deleted together with its data.
    Gone {
        name: String,
    },
}

/// The provisioner.
pub struct Provisioner {
    pub(super) client: Client,
    pub(super) recorder: Recorder,
    pub(super) host: Arc<str>,
    pub(super) nodes: BTreeSet<String>,
    pub(super) directories: Directories,
    /// Uid of the cluster, known once it could be asked.
    pub(super) cluster: String,
}

impl Provisioner {
    /// For these nodes.
    #[must_use]
    pub fn new(client: Client, recorder: Recorder, host: Arc<str>, config: ProvisionerConfig) -> Self {
        let directories = Directories::new(config.root);
        Self { client, recorder, host, nodes: config.nodes, directories, cluster: String::new() }
    }

    /// Works until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        tokio::select! {
            () = self.work() => {}
            () = shutdown.cancelled() => {}
        }
    }

    async fn work(&mut self) {
        let mut failures = 0;
        while let Err(error) = self.prepare().await {
            failures += 1;
            tracing::warn!(error, "the volume provisioner waits for the API server");
            tokio::time::sleep(retry_after(failures)).await;
        }
        let claims = Api::<PersistentVolumeClaim>::all(self.client.clone());
        let volumes = Api::<PersistentVolume>::all(self.client.clone());
        let config = watcher::Config::default;
        let claims =
            watcher(claims, config()).default_backoff().filter_map(|event| async { self.claim_key(event) });
        let volumes =
            watcher(volumes, config()).default_backoff().filter_map(|event| async { self.volume_key(event) });
        let events = futures::stream::select(claims, volumes);
        futures::pin_mut!(events);
        let mut queue: DelayQueue<Key> = DelayQueue::new();
        let mut waiting: HashMap<Key, Waiting> = HashMap::new();
        loop {
            tokio::select! {
                key = events.next() => {
                    let Some(key) = key else { return };
                    enqueue(&mut queue, &mut waiting, key, Duration::ZERO);
                }
                Some(due) = queue.next(), if !queue.is_empty() => {
                    let key = due.into_inner();
                    let failures = waiting.remove(&key).map_or(0, |waiting| waiting.failures);
                    let done = tokio::time::timeout(DEADLINE, self.reconcile(&key)).await;
                    let problem = match done {
                        Ok(Ok(())) => continue,
                        Ok(Err(problem)) => problem,
                        Err(_) => "it takes too long".to_owned(),
                    };
                    tracing::warn!(?key, problem, "a local volume is not ready");
                    let again = enqueue(&mut queue, &mut waiting, key, retry_after(failures + 1));
                    again.failures = failures + 1;
                }
            }
        }
    }

    async fn reconcile(&self, key: &Key) -> Result<(), String> {
        match key {
            Key::Claim { namespace, name } => self.provision(namespace, name).await,
            Key::Volume { name } => self.reclaim(name).await,
            Key::Gone { name } => self.gone(name).await,
        }
    }

    /// Cluster uid, class, and whatever an earlier run left unfinished.
    async fn prepare(&mut self) -> Result<(), String> {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        let system = namespaces.get_metadata("kube-system").await.map_err(|error| error.to_string())?;
        self.cluster = system.metadata.uid.unwrap_or_default();
        let classes = Api::<StorageClass>::all(self.client.clone());
        let class = super::volume::storage_class();
        match classes.create(&kube::api::PostParams::default(), &class).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(error.to_string()),
        }
        self.sweep().await
    }

    fn claim_key(&self, event: Result<Event<PersistentVolumeClaim>, watcher::Error>) -> Option<Key> {
        let (Event::Apply(claim) | Event::InitApply(claim)) = event.ok()? else { return None };
        let ours = match judge(&claim) {
            Verdict::Leave => false,
            Verdict::Make(wish) => self.nodes.contains(&wish.node),
            Verdict::Refuse(_) => true,
        };
        let metadata = claim.metadata;
        ours.then_some(Key::Claim { namespace: metadata.namespace?, name: metadata.name? })
    }

    fn volume_key(&self, event: Result<Event<PersistentVolume>, watcher::Error>) -> Option<Key> {
        let (volume, gone) = match event.ok()? {
            Event::Apply(volume) | Event::InitApply(volume) => (volume, false),
            // With policy Retain somebody may want the data although the object is gone.
            Event::Delete(volume) if deletes(&volume) => (volume, true),
            Event::Delete(_) | Event::Init | Event::InitDone => return None,
        };
        let ours = node_of(&volume).is_some_and(|node| self.nodes.contains(node));
        let name = volume.metadata.name.filter(|_| ours)?;
        Some(if gone { Key::Gone { name } } else { Key::Volume { name } })
    }
}

/// An entry of the queue.
struct Waiting {
    timer: tokio_util::time::delay_queue::Key,
    failures: u32,
}

/// Puts a key into the queue, once; news bring an entry that waits for its retry forward.
fn enqueue<'a>(
    queue: &mut DelayQueue<Key>,
    waiting: &'a mut HashMap<Key, Waiting>,
    key: Key,
    after: Duration,
) -> &'a mut Waiting {
    let entry = waiting
        .entry(key.clone())
        .or_insert_with(|| Waiting { timer: queue.insert(key, after), failures: 0 });
    if after.is_zero() {
        queue.reset(&entry.timer, after);
    }
    entry
}

fn retry_after(failures: u32) -> Duration {
    let doubled =
        FIRST_RETRY.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1).min(16)).unwrap_or(u32::MAX));
    doubled.min(LONGEST_RETRY)
}
