//! An engine in a temporary directory, and its reports.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use skep_engine::{
    Artifact, Engine, EngineConfig, Error, ImageRef, Progress, Releases, Update, kubernetes_image,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use crate::fake_go::FakeGo;

/// A directory with a cache in it.
pub struct Bed {
    pub dir: tempfile::TempDir,
    pub config: EngineConfig,
    pub go: FakeGo,
}

/// All reports, as lines.
#[derive(Default)]
pub struct Reports(Mutex<Vec<String>>);

impl Progress for Reports {
    fn report(&self, update: &Update<'_>) {
        self.0.lock().unwrap().push(format!("{} {}", update.image.name(), update.phase));
    }
}

impl Reports {
    pub fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

impl Bed {
    /// Releases are off and `go` is a fake that works.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let go = FakeGo::new(dir.path());
        let mut config = EngineConfig::new(dir.path().join("cache"));
        config.releases = Releases::Off;
        config.go = Some(go.path.clone());
        // A machine with much to do is not a release host that does not answer.
        config.limits.connect = Duration::from_secs(60);
        config.limits.head = Duration::from_secs(60);
        config.limits.idle = Duration::from_secs(60);
        Self { dir, config, go }
    }

    /// For a host that does not answer, which has to be waited for.
    pub fn impatient(mut self) -> Self {
        self.config.limits.head = Duration::from_secs(2);
        self.config.limits.idle = Duration::from_secs(2);
        self
    }

    pub fn engine(&self) -> Engine {
        Engine::new(self.config.clone())
    }

    pub async fn ensure(&self, image: &ImageRef) -> (Result<Artifact, Error>, String) {
        let reports = Reports::default();
        let result = self.engine().ensure(image, &reports).await;
        (result, reports.text())
    }

    /// Asks for Kubernetes in a task of its own; gives that and what it says.
    pub fn ensure_aside(&self) -> (JoinHandle<Result<Artifact, Error>>, UnboundedReceiver<String>) {
        let (sender, receiver) = unbounded_channel();
        let engine = self.engine();
        let task = tokio::spawn(async move {
            let progress = move |update: &Update<'_>| {
                let _ = sender.send(update.phase.to_string());
            };
            engine.ensure(&kube(), &progress).await
        });
        (task, receiver)
    }

    pub fn cached(&self, path: &str) -> PathBuf {
        self.config.cache_dir.join(path)
    }

    /// Nothing but empty directories, locks, sources and logs: no entry, no half entry, no leftover.
    pub fn assert_no_entry(&self) {
        assert_eq!(names(&self.cached("tmp")), Vec::<String>::new(), "leftovers");
        let entries: Vec<_> = names(&self.config.cache_dir)
            .into_iter()
            .filter(|name| !["locks", "logs", "src", "tmp"].contains(&name.as_str()))
            .collect();
        assert_eq!(entries, Vec::<String>::new(), "entries");
    }
}

pub fn kube() -> ImageRef {
    kubernetes_image("v1.36.3").unwrap()
}

pub fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .map(|item| item.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
