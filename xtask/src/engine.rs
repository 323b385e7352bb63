//! `cargo xtask engine`: the engine without the product, to fill a cache before anything else is compiled.

use skep_engine::{Engine, ImageRef, Lines};

/// Which images.
#[derive(clap::Args)]
pub struct Options {
    /// Images to make; all that this version knows when none is named.
    images: Vec<ImageRef>,
    /// Only list them.
    #[arg(long)]
    list: bool,
}

/// Lists or makes images.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let engine = Engine::from_env()?;
    if options.list {
        println!("{}", serde_json::to_string_pretty(&engine.list())?);
        return Ok(());
    }
    let known = || engine.list().into_iter().map(|entry| entry.image).collect();
    let images: Vec<ImageRef> = if options.images.is_empty() { known() } else { options.images };
    make(&images).await
}

/// Makes images, one after the other, and prints where they are.
pub async fn make(images: &[ImageRef]) -> anyhow::Result<()> {
    let engine = Engine::from_env()?;
    for image in images {
        let artifact = engine
            .ensure(image, &Lines::stderr())
            .await
            .map_err(|error| anyhow::anyhow!("{}: {error} ({})", error.code(), error.code().page()))?;
        println!("{image}\t{}\t{}", artifact.source, artifact.bin_dir.display());
    }
    Ok(())
}
