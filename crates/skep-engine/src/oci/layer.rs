//! A layer of an image: files, made into the same bytes every time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

/// Files of a layer by path. Directories that a path needs come by themselves; everything belongs to root; equal content
/// gives equal bytes.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    entries: BTreeMap<String, Entry>,
}

/// What a file says.
#[derive(Clone, Debug)]
pub enum Content {
    /// This.
    Bytes(Vec<u8>),
    /// What is in this file when the layer is written.
    Of(PathBuf),
}

#[derive(Clone, Debug)]
enum Entry {
    Directory { mode: u32 },
    File { mode: u32, content: Content },
    Link { target: String },
}

/// Mode of directories that nobody named.
const DIRECTORY: u32 = 0o755;

impl Layer {
    /// Adds a directory.
    pub fn directory(&mut self, path: &str, mode: u32) -> &mut Self {
        self.put(path, Entry::Directory { mode })
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, mode: u32, content: Content) -> &mut Self {
        self.put(path, Entry::File { mode, content })
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> &mut Self {
        self.put(path, Entry::Link { target: target.to_owned() })
    }

    /// Adds everything below a directory of this machine, with its modes, but for what `keep` refuses by its path.
    ///
    /// # Errors
    /// Something of it cannot be read.
    pub fn tree(&mut self, root: &Path, keep: &dyn Fn(&str) -> bool) -> io::Result<&mut Self> {
        let mut open = vec![root.to_owned()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory)? {
                let path = entry?.path();
                let inside = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                if !keep(&inside) {
                    continue;
                }
                let metadata = fs::symlink_metadata(&path)?;
                let mode = metadata.permissions().mode() & 0o7777;
                if metadata.is_symlink() {
                    self.link(&inside, &fs::read_link(&path)?.to_string_lossy());
                } else if metadata.is_dir() {
                    self.directory(&inside, mode);
                    open.push(path);
                } else if metadata.is_file() {
                    self.file(&inside, mode, Content::Of(path));
                }
            }
        }
        Ok(self)
    }

    /// Whether something is at this path.
    pub fn has(&self, path: &str) -> bool {
        self.entries.contains_key(path.trim_matches('/'))
    }

    fn put(&mut self, path: &str, entry: Entry) -> &mut Self {
        let path = path.trim_matches('/');
        for (slash, _) in path.match_indices('/') {
            let parent = path[..slash].to_owned();
            self.entries.entry(parent).or_insert(Entry::Directory { mode: DIRECTORY });
        }
        self.entries.insert(path.to_owned(), entry);
        self
    }

    /// Writes it as a tar archive.
    ///
    /// # Errors
    /// A file cannot be read, or `out` not written.
    pub fn write(&self, out: impl Write) -> io::Result<()> {
        let mut archive = Builder::new(out);
        for (path, entry) in &self.entries {
            let mut header = Header::new_ustar();
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            match entry {
                Entry::Directory { mode } => {
                    header.set_entry_type(EntryType::Directory);
                    header.set_mode(*mode);
                    header.set_size(0);
                    archive.append_data(&mut header, format!("{path}/"), io::empty())?;
                }
                Entry::Link { target } => {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_mode(0o777);
                    header.set_size(0);
                    archive.append_link(&mut header, path, target)?;
                }
                Entry::File { mode, content } => {
                    header.set_entry_type(EntryType::Regular);
                    header.set_mode(*mode);
                    match content {
                        Content::Bytes(bytes) => {
                            header.set_size(bytes.len() as u64);
                            archive.append_data(&mut header, path, bytes.as_slice())?;
                        }
                        Content::Of(source) => {
                            let file = File::open(source)?;
                            header.set_size(file.metadata()?.len());
                            archive.append_data(&mut header, path, file)?;
                        }
                    }
                }
            }
        }
        archive.into_inner()?.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(layer: &Layer) -> Vec<u8> {
        let mut bytes = Vec::new();
        layer.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn parents_come_first_and_by_themselves() {
        let mut layer = Layer::default();
        layer.file("/usr/bin/a", 0o4755, Content::Bytes(b"x".to_vec())).link("bin", "usr/bin");
        layer.directory("usr", 0o700);
        let bytes = written(&layer);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let seen: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                (entry.path().unwrap().display().to_string(), header.mode().unwrap(), header.size().unwrap())
            })
            .collect();
        let expected =
            [("bin", 0o777, 0), ("usr/", 0o700, 0), ("usr/bin/", 0o755, 0), ("usr/bin/a", 0o4755, 1)];
        assert_eq!(seen, expected.map(|(path, mode, size)| (path.to_owned(), mode, size)));
    }

    #[test]
    fn equal_content_gives_equal_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        std::fs::write(&path, "content").unwrap();
        let (mut one, mut other) = (Layer::default(), Layer::default());
        one.file("b", 0o644, Content::Of(path)).directory("a", 0o755);
        other.directory("a", 0o755).file("b", 0o644, Content::Bytes(b"content".to_vec()));
        assert_eq!(written(&one), written(&other));
    }

    #[test]
    fn long_paths_are_kept() {
        let long = format!("{}/file", "directory/".repeat(40));
        let mut layer = Layer::default();
        layer.file(&long, 0o644, Content::Bytes(Vec::new()));
        let bytes = written(&layer);
        let last = tar::Archive::new(bytes.as_slice())
            .entries()
            .unwrap()
            .last()
            .unwrap()
            .unwrap()
            .path()
            .unwrap()
            .into_owned();
        assert_eq!(last.to_str().unwrap().replace("//", "/"), long.replace("//", "/"));
    }

    #[test]
    fn a_tree_is_taken_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/c"), "x").unwrap();
        fs::write(dir.path().join("left-out"), "x").unwrap();
        fs::set_permissions(dir.path().join("a/b/c"), fs::Permissions::from_mode(0o4711)).unwrap();
        std::os::unix::fs::symlink("a/b", dir.path().join("d")).unwrap();
        let mut layer = Layer::default();
        layer.tree(dir.path(), &|path| path != "left-out").unwrap();
        let paths: Vec<_> = layer.entries.keys().map(String::as_str).collect();
        assert_eq!(paths, ["a", "a/b", "a/b/c", "d"]);
        assert!(matches!(layer.entries["a/b/c"], Entry::File { mode: 0o4711, .. }));
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error() {
        let mut layer = Layer::default();
        layer.file("a", 0o644, Content::Of("/nowhere/at/all".into()));
        assert!(layer.write(io::sink()).is_err());
    }
}
