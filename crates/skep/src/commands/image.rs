//! `skep image`

use std::path::PathBuf;

use serde_json::json;
use skep_embedded::Layout as DataDir;
use skep_engine::oci::{Layout, Listed, Name};

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
    }
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
