//! `skep image`

use std::path::{Path, PathBuf};

use serde_json::json;
use skep_embedded::Layout as DataDir;
use skep_engine::{
    Engine,
    oci::{Layout, Listed, Name},
};

use crate::{
    cli::{Global, installation},
    error::{Error, Result, code},
    exit::Exit,
    output::{
        self,
        format::{Show, show},
        table::Table,
    },
};

pub async fn run(global: &Global, args: &installation::Image) -> Result<()> {
    let data = DataDir::resolve(global.data_dir.as_deref())?;
    if !data.exists() {
        let text = "there is no installation whose nodes could use images: start one with `skep up`";
        return Err(Error::new(code::UNREACHABLE, Exit::NotRunning, text));
    }
    let images = Layout::open(&data.images())?;
    match args {
        installation::Image::List { output } => show(&Images(images.list()?), *output),
        installation::Image::Load { name, archives } => load(images, name.as_deref(), archives).await,
        installation::Image::Save { output, names } => save(global, images, names, output).await,
    }
}

async fn save(global: &Global, images: Layout, names: &[String], to: &Path) -> Result<()> {
    let engine = Engine::from_env()?;
    let progress = super::engine::progress(global);
    let mut found = Vec::new();
    for name in names {
        let name: Name = name.parse()?;
        let image = images.find_or_make(&engine, &name, &progress).await?;
        let missing = || {
            Error::new(code::NOT_FOUND, Exit::NotFound, format!("image {name} is not here"))
                .help("see what there is with `skep image list` and `skep engine list`")
        };
        found.push(image.ok_or_else(missing)?);
    }
    let to = to.to_owned();
    let saved = tokio::task::spawn_blocking(move || images.save(&found, &to)).await;
    Ok(saved.map_err(|error| Error::new(code::API, Exit::Failure, error))??)
}

async fn load(images: Layout, name: Option<&str>, archives: &[PathBuf]) -> Result<()> {
    let name = name.map(str::parse::<Name>).transpose()?;
    for archive in archives {
        let (images, name, archive) = (images.clone(), name.clone(), archive.clone());
        let loaded = tokio::task::spawn_blocking(move || images.load(&archive, name.as_ref())).await;
        let loaded = loaded.map_err(|error| Error::new(code::API, Exit::Failure, error))??;
        for name in loaded {
            output::print(&format!("{name}\n"))?;
        }
    }
    Ok(())
}

struct Images(Vec<Listed>);

impl Show for Images {
    fn document(&self) -> Result<serde_json::Value> {
        let row = |image: &Listed| json!({"name": image.name.to_string(), "digest": image.digest});
        Ok(self.0.iter().map(row).collect())
    }

    fn table(&self, _wide: bool) -> Table {
        let mut table = Table::new(vec!["NAME", "DIGEST"]);
        for image in &self.0 {
            table.row(vec![image.name.to_string(), image.digest.clone()]);
        }
        table
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|image| image.name.to_string()).collect()
    }

    fn empty(&self) -> String {
        "no images; `skep image load FILE` brings some".to_owned()
    }
}
