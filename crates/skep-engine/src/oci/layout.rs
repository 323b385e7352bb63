//! An OCI image layout on disk: blobs by digest, names in `index.json`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;
use tempfile::NamedTempFile;

use super::image::Image;
use super::name::Name;
use crate::digest::Hasher;
use crate::error::{Error, Result};

/// Annotation with an image's full name; containerd's own, which its tools and those of others write and read.
const NAME: &str = "io.containerd.image.name";
/// Annotation with the tag, or with the full name.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation with what an image was made from.
const MADE_FROM: &str = "dev.skep.made-from";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// What the file `oci-layout` says.
pub(super) const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// More than an index with some thousand images.
pub(super) const MAX_INDEX: u64 = 4 << 20;

/// A directory of images. Any number of processes may read and add at once; an image is there whole or not at all.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

/// Something that is there: what it is, by which digest, how large.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// `sha256:` and 64 digits.
    pub digest: String,
    /// Bytes.
    pub size: u64,
    /// Names and the like.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// For which machines; one of an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<serde_json::Value>,
}

/// An image of a [`Layout`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its full name.
    pub name: Name,
    /// Of its manifest.
    pub digest: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    schema_version: u32,
    #[serde(default = "index_type")]
    media_type: String,
    pub manifests: Vec<Descriptor>,
}

fn index_type() -> String {
    INDEX.to_owned()
}

impl Index {
    pub(super) fn of(manifests: Vec<Descriptor>) -> Self {
        Self { schema_version: 2, media_type: index_type(), manifests }
    }
}

impl Descriptor {
    /// The full name that it is known by, if it has one.
    pub(super) fn name(&self) -> Option<Name> {
        let full =
            self.annotations.get(NAME).or_else(|| self.annotations.get(REF_NAME).filter(|n| n.contains('/')));
        full.and_then(|name| name.parse().ok())
    }

    pub(super) fn named(mut self, name: &Name) -> Self {
        self.annotations.insert(NAME.to_owned(), name.to_string());
        self.annotations.insert(REF_NAME.to_owned(), name.tag().to_owned());
        self
    }

    /// What it was made from, as told to [`Layout::add`].
    pub(super) fn made_from(&self) -> Option<&str> {
        self.annotations.get(MADE_FROM).map(String::as_str)
    }
}

/// The 64 digits of `sha256:…`, if that is what it is: nothing else becomes a path.
pub(super) fn hex(digest: &str) -> Option<&str> {
    let hex = digest.strip_prefix("sha256:")?;
    (hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))).then_some(hex)
}

impl Layout {
    /// The layout in this directory, which is made if it is not there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(root: &Path) -> Result<Self> {
        let layout = Self { root: root.to_owned() };
        let blobs = layout.blobs();
        fs::create_dir_all(&blobs).map_err(Error::io("create", &blobs, 0))?;
        let marker = root.join("oci-layout");
        if !marker.exists() {
            layout.replace(&marker, LAYOUT.as_bytes())?;
        }
        Ok(layout)
    }

    fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    fn index_file(&self) -> PathBuf {
        self.root.join("index.json")
    }

    /// All images with a name, in the order of names.
    ///
    /// # Errors
    /// [`Error::Io`], also when `index.json` is damaged.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let named = |d: Descriptor| d.name().map(|name| Listed { name, digest: d.digest });
        let mut all: Vec<_> = self.index()?.manifests.into_iter().filter_map(named).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The image of this name.
    ///
    /// # Errors
    /// As [`Layout::list`].
    pub fn find(&self, name: &Name) -> Result<Option<Descriptor>> {
        Ok(self.index()?.manifests.into_iter().find(|d| d.name().as_ref() == Some(name)))
    }

    /// The file of a blob, if there is one of this digest.
    pub fn blob(&self, digest: &str) -> Option<PathBuf> {
        hex(digest).map(|hex| self.blobs().join(hex)).filter(|path| path.is_file())
    }

    /// Writes an image and gives it these names; whoever had a name loses it. `made_from` can be asked for later.
    ///
    /// # Errors
    /// [`Error::Io`]: a file of a layer cannot be read, the disk is full.
    pub fn add(&self, image: &Image, names: &[Name], made_from: &str) -> Result<Descriptor> {
        let mut layers = Vec::new();
        for layer in &image.layers {
            let (digest, size) = self.write_blob(|out| layer.write(out))?;
            layers.push(json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size}));
        }
        let diffs: Vec<_> = layers.iter().map(|layer| layer["digest"].clone()).collect();
        let config = json!({
            "architecture": crate::release::architecture().unwrap_or("unknown"), "os": "linux",
            "created": "1970-01-01T00:00:00Z", "config": image.config,
            "rootfs": {"type": "layers", "diff_ids": diffs},
        });
        let (digest, size) = self.write_blob(|out| out.write_all(config.to_string().as_bytes()))?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": size},
            "layers": layers,
        });
        let (digest, size) = self.write_blob(|out| out.write_all(manifest.to_string().as_bytes()))?;
        let annotations = BTreeMap::from([(MADE_FROM.to_owned(), made_from.to_owned())]);
        let descriptor =
            Descriptor { media_type: MANIFEST.to_owned(), digest, size, annotations, platform: None };
        self.publish(names.iter().map(|name| descriptor.clone().named(name)).collect())?;
        Ok(descriptor)
    }

    /// Makes images known. Their blobs must be there.
    pub(super) fn publish(&self, new: Vec<Descriptor>) -> Result<()> {
        let path = self.index_file();
        let lock = self.root.join("lock");
        let lock = File::create(&lock).map_err(Error::io("create", &lock, 0))?;
        lock.lock().map_err(Error::io("lock", &path, 0))?;
        let mut index = self.index()?;
        let names: Vec<_> = new.iter().map(Descriptor::name).collect();
        index.manifests.retain(|old| old.name().is_none() || !names.contains(&old.name()));
        index.manifests.extend(new);
        self.replace(&path, &serde_json::to_vec(&index).unwrap_or_default())
    }

    fn index(&self) -> Result<Index> {
        let path = self.index_file();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::io("read", &path, 0)(e.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Index::of(Vec::new())),
            Err(error) => Err(Error::io("read", &path, 0)(error)),
        }
    }

    /// Digest and size of what `content` writes, which is a blob from now on.
    pub(super) fn write_blob(
        &self,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(String, u64)> {
        let dir = self.blobs();
        let failed = |error| Error::io("write", &dir, 0)(error);
        let file = NamedTempFile::new_in(&dir).map_err(failed)?;
        let mut out = Counted { out: BufWriter::new(file), hasher: Hasher::default(), size: 0 };
        content(&mut out).map_err(failed)?;
        let file = out.out.into_inner().map_err(|error| failed(error.into_error()))?;
        let hex = out.hasher.finish();
        // A blob that is there has the same content.
        file.persist(dir.join(&hex)).map_err(|error| failed(error.error))?;
        Ok((format!("sha256:{hex}"), out.size))
    }

    fn replace(&self, path: &Path, content: &[u8]) -> Result<()> {
        let write = || {
            let mut file = NamedTempFile::new_in(&self.root)?;
            file.write_all(content)?;
            file.persist(path).map_err(|error| error.error).map(drop)
        };
        write().map_err(Error::io("write", path, 0))
    }
}

struct Counted<W> {
    out: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::layer::{Content, Layer};
    use super::*;

    fn image(text: &str) -> Image {
        let mut layer = Layer::default();
        layer.file("a", 0o644, Content::Bytes(text.into()));
        Image { layers: vec![layer], ..Image::default() }
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_added_is_found_whole() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::open(dir.path()).unwrap();
        let names = [name("a.b/c:1"), name("a.b/c:2")];
        let made = layout.add(&image("x"), &names, "this").unwrap();
        for name in &names {
            let found = layout.find(name).unwrap().unwrap();
            assert_eq!((found.digest.as_str(), found.made_from()), (made.digest.as_str(), Some("this")));
        }
        let manifest: serde_json::Value =
            serde_json::from_slice(&fs::read(layout.blob(&made.digest).unwrap()).unwrap()).unwrap();
        for part in [&manifest["config"], &manifest["layers"][0]] {
            let blob = layout.blob(part["digest"].as_str().unwrap()).unwrap();
            assert_eq!(fs::metadata(blob).unwrap().len(), part["size"].as_u64().unwrap());
        }
        assert_eq!(layout.find(&name("a.b/c:3")).unwrap(), None);
    }

    #[test]
    fn a_name_has_one_image_and_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::open(dir.path()).unwrap();
        let old = layout.add(&image("x"), &[name("a.b/c:1"), name("a.b/c:2")], "").unwrap();
        let new = layout.add(&image("y"), &[name("a.b/c:1")], "").unwrap();
        assert_ne!(old.digest, new.digest);
        let digests: Vec<_> =
            layout.list().unwrap().into_iter().map(|l| (l.name.to_string(), l.digest)).collect();
        assert_eq!(digests, [("a.b/c:1".to_owned(), new.digest), ("a.b/c:2".to_owned(), old.digest)]);
        // Again is not twice.
        layout.add(&image("y"), &[name("a.b/c:1")], "").unwrap();
        assert_eq!(layout.list().unwrap().len(), 2);
    }

    #[test]
    fn only_digests_are_paths() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::open(dir.path()).unwrap();
        for bad in
            ["", "sha256:", "sha256:../../index.json", "sha512:00", &format!("sha256:{}", "A".repeat(64))]
        {
            assert_eq!(layout.blob(bad), None, "{bad}");
        }
    }

    #[test]
    fn many_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for i in 0..8 {
                let root = dir.path().to_owned();
                scope.spawn(move || {
                    let layout = Layout::open(&root).unwrap();
                    layout.add(&image(&i.to_string()), &[name(&format!("a.b/c:{i}"))], "").unwrap();
                });
            }
        });
        assert_eq!(Layout::open(dir.path()).unwrap().list().unwrap().len(), 8);
    }
}
