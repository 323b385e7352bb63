//! What there is: for `skep engine list`, and for messages about images that do not exist.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::Serialize;

use crate::cache::Lookup;
use crate::catalogue;
use crate::engine::{Engine, Source};
use crate::image::ImageRef;

/// One image that can be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EngineEntry {
    /// The image.
    #[serde(serialize_with = "as_text")]
    pub image: ImageRef,
    /// Whether it is there.
    pub state: EntryState,
    /// The programs in it, sorted.
    pub programs: Vec<String>,
}

/// Whether an image is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum EntryState {
    /// It can be used at once.
    #[serde(rename_all = "camelCase")]
    Ready {
        /// How it came about.
        source: Source,
        /// Where its programs are.
        bin_dir: PathBuf,
        /// What its files take, bytes.
        size: u64,
    },
    /// It will be fetched or built when it is first asked for.
    Absent,
    /// It is there but will be made again when it is next asked for.
    #[serde(rename_all = "camelCase")]
    Unusable {
        /// Why.
        reason: String,
    },
}

fn as_text<S: serde::Serializer>(image: &ImageRef, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(image)
}

impl Engine {
    /// Every image that can be had: given ones first, then those this version knows. Reads directories, no file
    /// contents.
    pub fn list(&self) -> Vec<EngineEntry> {
        let mut entries = BTreeMap::new();
        for image in self.known() {
            let recipe = match self.recipe(image) {
                Some(Ok(recipe)) => recipe,
                Some(Err(error)) => {
                    let state = EntryState::Unusable { reason: error.to_string() };
                    let entry = EngineEntry { image: image.clone(), state, programs: Vec::new() };
                    entries.insert(image.clone(), entry);
                    continue;
                }
                None => continue,
            };
            let state = match self.cache().lookup(&recipe) {
                Lookup::Ready(manifest) | Lookup::Touched(manifest) => {
                    self.ready(manifest.source, self.cache().bin(image))
                }
                Lookup::Unusable(reason) => EntryState::Unusable { reason },
                Lookup::Absent => EntryState::Absent,
            };
            let mut programs = recipe.programs();
            programs.sort();
            entries.insert(image.clone(), EngineEntry { image: image.clone(), state, programs });
        }
        for image in self.given_images().into_iter().chain([catalogue::skep_image()]) {
            let Some(artifact) = self.find(&image) else { continue };
            let state = self.ready(artifact.source, artifact.bin_dir.clone());
            let mut programs: Vec<String> = fs::read_dir(&artifact.bin_dir)
                .into_iter()
                .flatten()
                .flatten()
                .filter(|item| item.path().is_file())
                .map(|item| item.file_name().to_string_lossy().into_owned())
                .collect();
            programs.sort();
            entries.insert(image.clone(), EngineEntry { image, state, programs });
        }
        entries.into_values().collect()
    }

    fn ready(&self, source: Source, bin_dir: PathBuf) -> EntryState {
        let files = fs::read_dir(&bin_dir).into_iter().flatten().flatten();
        // The metadata of a directory item is the link's own, so a file with six names counts once.
        let size =
            files.filter_map(|item| item.metadata().ok()).filter(|m| m.is_file()).map(|m| m.len()).sum();
        EntryState::Ready { source, bin_dir, size }
    }

    /// The images in given directories. Their directory says a name and a version; the registry is ours.
    fn given_images(&self) -> Vec<ImageRef> {
        let mut images = Vec::new();
        for dir in &self.config().given {
            for name in fs::read_dir(dir).into_iter().flatten().flatten() {
                for tag in fs::read_dir(name.path()).into_iter().flatten().flatten() {
                    let repository =
                        format!("{}/{}", catalogue::REGISTRY, name.file_name().to_string_lossy());
                    if tag.path().join("bin").is_dir()
                        && let Ok(image) = ImageRef::new(&repository, &tag.file_name().to_string_lossy())
                    {
                        images.push(image);
                    }
                }
            }
        }
        images
    }
}
