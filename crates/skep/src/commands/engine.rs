//! `skep engine`

use skep_engine::{Engine, EngineEntry, EntryState, ImageRef, Update};

use crate::{
    cli::{Global, installation},
    error::{Error, Result, code},
    exit::Exit,
    output::{
        self,
        format::{Format, Show, show},
        progress::Progress,
        table::Table,
    },
};

pub async fn run(global: &Global, args: &installation::Engine) -> Result<()> {
    let engine = Engine::from_env()?;
    match args {
        installation::Engine::List { output } => list(&engine, *output),
        installation::Engine::Build { images } => build(global, &engine, images).await,
        installation::Engine::Path { image } => path(global, &engine, image).await,
    }
}

fn list(engine: &Engine, output: Format) -> Result<()> {
    show(&Entries(engine.list()), output)
}

async fn build(global: &Global, engine: &Engine, names: &[String]) -> Result<()> {
    let images: Vec<ImageRef> = if names.is_empty() {
        engine.list().into_iter().map(|entry| entry.image).collect()
    } else {
        names.iter().map(|name| image(name)).collect::<Result<_>>()?
    };
    for image in images {
        let artifact = ensure(global, engine, &image).await?;
        output::print(&format!("{image} ({}) {}\n", artifact.source, artifact.bin_dir.display()))?;
    }
    Ok(())
}

async fn path(global: &Global, engine: &Engine, name: &str) -> Result<()> {
    let artifact = ensure(global, engine, &image(name)?).await?;
    output::print(&format!("{}\n", artifact.bin_dir.display()))
}

/// Gives an image, with progress on stderr.
pub async fn ensure(global: &Global, engine: &Engine, image: &ImageRef) -> Result<skep_engine::Artifact> {
    Ok(engine.ensure(image, &progress(global)).await?)
}

/// Shows on stderr what the engine does.
pub fn progress(global: &Global) -> impl Fn(&Update<'_>) + Send + Sync + 'static {
    let progress = std::sync::Mutex::new(Progress::new(global.quiet));
    move |update| {
        if let Ok(mut progress) = progress.lock() {
            progress.doing(&format!("{} {}: {}", update.image.name(), update.image.tag(), update.phase));
        }
    }
}

/// An image, or the Kubernetes version people think of.
fn image(name: &str) -> Result<ImageRef> {
    if name.starts_with('v') && !name.contains([':', '/']) {
        if name == skep_engine::ETCD {
            return Ok(skep_engine::etcd_image());
        }
        return Ok(skep_engine::kubernetes_image(name)?);
    }
    Ok(name.parse()?)
}

struct Entries(Vec<EngineEntry>);

impl Show for Entries {
    fn document(&self) -> Result<serde_json::Value> {
        serde_json::to_value(&self.0).map_err(|error| Error::new(code::API, Exit::Failure, error))
    }

    fn table(&self, wide: bool) -> Table {
        let head = ["IMAGE", "STATE", "SOURCE", "SIZE", "PATH"];
        let mut table = Table::new(if wide { [&head[..], &["PROGRAMS"]].concat() } else { head.to_vec() });
        for entry in &self.0 {
            let (state, source, size, path) = match &entry.state {
                EntryState::Ready { source, bin_dir, size } => (
                    "Ready".to_owned(),
                    source.to_string(),
                    format!("{} MiB", size >> 20),
                    bin_dir.display().to_string(),
                ),
                EntryState::Absent => ("Absent".to_owned(), String::new(), String::new(), String::new()),
                EntryState::Unusable { reason } => {
                    (format!("Unusable: {reason}"), String::new(), String::new(), String::new())
                }
            };
            let mut row = vec![entry.image.to_string(), state, source, size, path];
            if wide {
                row.push(entry.programs.join(","));
            }
            table.row(row);
        }
        table
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|entry| entry.image.to_string()).collect()
    }

    fn empty(&self) -> String {
        "no programs are known".to_owned()
    }
}
