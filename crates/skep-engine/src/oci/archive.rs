//! Images from and to archives: what `docker save`, `podman save --format oci-archive`, `buildx --output type=oci` and others
//! write and read.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::Path;

use super::layout::{Descriptor, INDEX, Index, LAYOUT, Layout, MANIFEST, MAX_INDEX};
use super::name::Name;
use crate::error::{Error, Result};

/// Blobs of an archive at most.
const MAX_BLOBS: usize = 10_000;
/// The largest manifest or configuration that is looked into, as registries have it.
const MAX_MANIFEST: u64 = 4 << 20;
/// How deep an index may name others.
const MAX_DEPTH: usize = 4;

impl Layout {
    /// Takes the images of an archive in; each gets its own name, or all of them `name`. What is damaged, or refers to a
    /// blob that is not in the archive, is refused, and nothing of it becomes known. Blocks.
    ///
    /// # Errors
    /// [`Error::Archive`] when it is not an archive of images, or one of them has no name; [`Error::Cache`].
    pub fn load(&self, archive: &Path, name: Option<&Name>) -> Result<Vec<Name>> {
        let refuse = |why: String| Error::Archive { path: archive.to_owned(), why };
        let file = std::fs::File::open(archive).map_err(Error::io("read", archive, 0))?;
        let index = self.take_blobs(file).map_err(|error| match error {
            Taken::Refused(why) => refuse(why),
            Taken::Failed(error) => error,
        })?;
        let mut named = Vec::new();
        for descriptor in index.manifests {
            let known = name.cloned().or_else(|| descriptor.name());
            let known =
                known.ok_or_else(|| refuse("an image in it has no name: give it one with --name".into()))?;
            self.blobs_of(&descriptor, 0).map_err(refuse)?;
            named.push((known.clone(), descriptor.named(&known)));
        }
        if named.is_empty() {
            return Err(refuse("there is no image in it".into()));
        }
        let (names, descriptors) = named.into_iter().unzip();
        self.publish(descriptors)?;
        Ok(names)
    }

    /// Writes images as an OCI archive, which container tools read. Blocks.
    ///
    /// # Errors
    /// [`Error::Archive`] about `to` when an image is not here whole; [`Error::Io`].
    pub fn save(&self, images: &[Descriptor], to: &Path) -> Result<()> {
        let refuse = |why: String| Error::Archive { path: to.to_owned(), why };
        let mut blobs = BTreeSet::new();
        for image in images {
            blobs.extend(self.blobs_of(image, 0).map_err(refuse)?);
        }
        let paths: Vec<_> = blobs.iter().filter_map(|digest| self.blob(digest)).collect();
        let index = serde_json::to_vec(&Index::of(images.to_vec())).unwrap_or_default();
        let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let write = || {
            // Whole or not at all.
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            let mut archive = tar::Builder::new(io::BufWriter::new(&mut file));
            archive.mode(tar::HeaderMode::Deterministic);
            for (name, content) in [("oci-layout", LAYOUT.as_bytes()), ("index.json", &index)] {
                let mut header = tar::Header::new_ustar();
                header.set_mode(0o644);
                header.set_size(content.len() as u64);
                archive.append_data(&mut header, name, content)?;
            }
            for path in paths {
                let name = path.file_name().unwrap_or_default();
                archive.append_path_with_name(&path, Path::new("blobs/sha256").join(name))?;
            }
            archive.into_inner()?.flush()?;
            file.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
            file.persist(to).map_err(|error| error.error).map(drop)
        };
        write().map_err(Error::io("write", to, 0))
    }

    /// Copies the blobs, each under the digest it really has, and gives back the index.
    fn take_blobs(&self, archive: impl Read) -> std::result::Result<Index, Taken> {
        let damaged =
            |error: io::Error| Taken::Refused(format!("it cannot be read as a tar archive: {error}"));
        let mut archive = tar::Archive::new(archive);
        let (mut index, mut blobs) = (None, 0);
        for entry in archive.entries().map_err(damaged)? {
            let mut entry = entry.map_err(damaged)?;
            let path = entry.path().map_err(damaged)?.into_owned();
            let path = path.strip_prefix(".").unwrap_or(&path);
            if path == Path::new("index.json") {
                let mut text = Vec::new();
                entry.take(MAX_INDEX).read_to_end(&mut text).map_err(damaged)?;
                let parsed = serde_json::from_slice(&text);
                index = Some(parsed.map_err(|error| Taken::Refused(format!("its index.json: {error}")))?);
            } else if path.starts_with("blobs/sha256") && entry.header().entry_type().is_file() {
                blobs += 1;
                if blobs > MAX_BLOBS {
                    return Err(Taken::Refused(format!("it has more than {MAX_BLOBS} blobs")));
                }
                self.write_blob(|out| io::copy(&mut entry, &mut { out }).map(drop)).map_err(Taken::Failed)?;
            }
        }
        index.ok_or_else(|| {
            Taken::Refused("it has no index.json: save it as an OCI archive (docker 25 and later do)".into())
        })
    }

    /// Digests of everything an image consists of, all of which is there. Of an index the images for other machines may
    /// be missing.
    fn blobs_of(&self, descriptor: &Descriptor, depth: usize) -> std::result::Result<Vec<String>, String> {
        let digest = &descriptor.digest;
        let missing =
            || format!("the blob {} is missing or damaged", digest.chars().take(80).collect::<String>());
        let path = self.blob(digest).ok_or_else(missing)?;
        let file = std::fs::File::open(&path).map_err(|_| missing())?;
        let mut text = Vec::new();
        file.take(MAX_MANIFEST).read_to_end(&mut text).map_err(|_| missing())?;
        let content: Refers =
            serde_json::from_slice(&text).map_err(|error| format!("{digest} is no manifest: {error}"))?;
        if depth > MAX_DEPTH {
            return Err(format!("{digest} is an index in an index in an index"));
        }
        match descriptor.media_type.as_str() {
            INDEX | "application/vnd.docker.distribution.manifest.list.v2+json" => {
                let there = content.manifests.iter().filter(|inner| self.blob(&inner.digest).is_some());
                let parts: Vec<Vec<String>> =
                    there.map(|inner| self.blobs_of(inner, depth + 1)).collect::<Result<_, _>>()?;
                if parts.is_empty() {
                    return Err(format!("none of the images of {digest} is in it"));
                }
                Ok(parts.into_iter().flatten().chain([digest.clone()]).collect())
            }
            MANIFEST | "application/vnd.docker.distribution.manifest.v2+json" => {
                let parts = content.config.iter().chain(&content.layers);
                match parts.clone().find(|part| self.blob(&part.digest).is_none()) {
                    Some(part) => Err(format!("the blob {} is missing or damaged", part.digest)),
                    None => Ok(parts.map(|part| part.digest.clone()).chain([digest.clone()]).collect()),
                }
            }
            other => Err(format!("{digest} is of the unknown kind {other}")),
        }
    }
}

enum Taken {
    Refused(String),
    Failed(Error),
}

/// What a manifest or an index refers to.
#[derive(serde::Deserialize)]
struct Refers {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[cfg(test)]
mod tests {
    use super::super::image::Image;
    use super::super::layer::{Content, Layer};
    use super::*;
    use crate::oci::layout::hex;
    use std::fs;

    /// Archives a layout, but for what `keep` refuses.
    fn archive(layout: &Path, keep: impl Fn(&str) -> bool) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut builder = tar::Builder::new(file.as_file());
        for (dir, inside) in [(layout.to_owned(), ""), (layout.join("blobs/sha256"), "blobs/sha256/")] {
            for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
                let name = format!("{inside}{}", entry.file_name().to_str().unwrap());
                if entry.path().is_file() && keep(&name) {
                    builder.append_path_with_name(entry.path(), name).unwrap();
                }
            }
        }
        builder.finish().unwrap();
        drop(builder);
        file
    }

    fn source() -> (tempfile::TempDir, Descriptor) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::open(dir.path()).unwrap();
        let mut layer = Layer::default();
        layer.file("a", 0o644, Content::Bytes(b"x".to_vec()));
        let image = Image { layers: vec![layer], ..Image::default() };
        let made = layout.add(&image, &["example.org/app:1".parse().unwrap()], "").unwrap();
        (dir, made)
    }

    fn target() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::open(dir.path()).unwrap();
        (dir, layout)
    }

    #[test]
    fn an_archive_keeps_its_names() {
        let ((from, made), (_dir, layout)) = (source(), target());
        let names = layout.load(archive(from.path(), |_| true).path(), None).unwrap();
        assert_eq!(names, ["example.org/app:1".parse().unwrap()]);
        assert_eq!(layout.find(&names[0]).unwrap().unwrap().digest, made.digest);
    }

    #[test]
    fn what_is_saved_can_be_loaded() {
        let ((from, made), (dir, layout)) = (source(), target());
        let name: Name = "example.org/app:1".parse().unwrap();
        let saved = dir.path().join("saved.tar");
        let source = Layout::open(from.path()).unwrap();
        source.save(&[source.find(&name).unwrap().unwrap()], &saved).unwrap();
        assert_eq!(layout.load(&saved, None).unwrap(), std::slice::from_ref(&name));
        assert_eq!(layout.find(&name).unwrap().unwrap().digest, made.digest);
        // What is not here whole is not written at all.
        fs::remove_file(source.blob(&made.digest).unwrap()).unwrap();
        fs::remove_file(&saved).unwrap();
        assert!(matches!(source.save(&[made], &saved), Err(Error::Archive { .. })));
        assert!(!saved.exists());
    }

    #[test]
    fn or_gets_another() {
        let ((from, _), (_dir, layout)) = (source(), target());
        let name = "other/app:2".parse().unwrap();
        let names = layout.load(archive(from.path(), |_| true).path(), Some(&name)).unwrap();
        assert_eq!(names, std::slice::from_ref(&name));
        assert_eq!(layout.list().unwrap().len(), 1);
    }

    #[test]
    fn nothing_of_an_incomplete_archive_becomes_known() {
        let (from, made) = source();
        let blobs: Vec<_> = fs::read_dir(from.path().join("blobs/sha256")).unwrap().collect();
        assert_eq!(blobs.len(), 3);
        for blob in blobs {
            let (_dir, layout) = target();
            let left_out = blob.unwrap().file_name().into_string().unwrap();
            let archive = archive(from.path(), |name| !name.ends_with(&left_out));
            let error = layout.load(archive.path(), None).unwrap_err().to_string();
            assert!(error.contains(&left_out), "{error}");
            assert_eq!(layout.list().unwrap(), []);
            assert!(layout.find(&"example.org/app:1".parse().unwrap()).unwrap().is_none(), "{made:?}");
        }
    }

    #[test]
    fn damaged_blobs_do_not_pass_for_others() {
        let ((from, made), (_dir, layout)) = (source(), target());
        let blob = from.path().join("blobs/sha256").join(hex(&made.digest).unwrap());
        let text = fs::read_to_string(&blob).unwrap();
        fs::write(&blob, text.replace("layers", "LAYERS")).unwrap();
        assert!(layout.load(archive(from.path(), |_| true).path(), None).is_err());
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let (_dir, layout) = target();
        let file = tempfile::NamedTempFile::new().unwrap();
        for content in [&b""[..], b"no tar at all", &[0; 4096]] {
            fs::write(file.path(), content).unwrap();
            assert!(matches!(layout.load(file.path(), None), Err(Error::Archive { .. })));
        }
    }
}
