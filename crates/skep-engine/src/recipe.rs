//! How an image is made, as data. The product's own recipes are in the catalogue; repository tasks bring theirs.

use std::borrow::Cow;

use crate::digest::Hasher;
use crate::image::ImageRef;
use crate::release::Release;

/// How one image is made and checked.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The image.
    pub image: ImageRef,
    /// The Go module it is built from.
    pub module: GoModule,
    /// What is built out of the module.
    pub outputs: Vec<Output>,
    /// How to see that the result runs here and is the right version. Each must pass.
    pub checks: Vec<VersionCheck>,
    /// Bytes that must be free in the cache before anything is begun. Go's own caches are not counted: they may be
    /// on another file system, and Go says so itself when they are full.
    pub need_bytes: u64,
    /// Where an official release is, if there is one.
    pub(crate) release: Option<Release>,
}

/// The sources of a small Go module.
#[derive(Clone, Debug)]
pub struct GoModule {
    /// Its directory name.
    pub name: String,
    /// All of its files.
    pub files: Vec<SourceFile>,
    /// The module file to build by, when it is not `go.mod`.
    pub modfile: Option<String>,
}

/// One source file.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Its path in the module: `main.go`, `node/main.go`. It never leads out of the module.
    pub name: String,
    /// Its content.
    pub content: Cow<'static, [u8]>,
}

/// One binary.
#[derive(Clone, Debug)]
pub struct Output {
    /// The file name in `bin/`.
    pub file: String,
    /// How Go makes it.
    pub verb: Verb,
    /// The package: `.`, `./node` or an import path.
    pub package: String,
    /// Build tags, also of the packages it imports.
    pub tags: Vec<String>,
    /// Linker flags besides `-s -w`.
    pub ldflags: String,
    /// Names that are links to the file. A binary with links chooses what to be by its name.
    pub links: Vec<String>,
}

/// How Go makes an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `go build`: a program.
    Build,
    /// `go test -c`: a package's tests as a program.
    Test,
}

/// A program that is run once after an image was made.
#[derive(Clone, Debug)]
pub struct VersionCheck {
    /// The program's name.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// What its output must contain, on stdout or stderr.
    pub expect: String,
}

impl Recipe {
    /// A recipe that can only be built.
    pub fn built(image: ImageRef, module: GoModule, outputs: Vec<Output>) -> Self {
        Self { image, module, outputs, checks: Vec::new(), need_bytes: 256 << 20, release: None }
    }

    /// The programs the image has: every link, and every output without links.
    pub fn programs(&self) -> Vec<String> {
        self.outputs
            .iter()
            .flat_map(|o| if o.links.is_empty() { vec![o.file.clone()] } else { o.links.clone() })
            .collect()
    }

    /// Changes when a build would give something else (a newer Go aside).
    pub(crate) fn digest(&self) -> String {
        let mut hasher = Hasher::default();
        hasher.field(self.image.to_string().as_bytes());
        hasher.field(self.module.digest().as_bytes());
        hasher.field(self.module.modfile.as_deref().unwrap_or_default().as_bytes());
        for output in &self.outputs {
            hasher.field(format!("{:?}", output.verb).as_bytes());
            for text in [&output.file, &output.package, &output.ldflags] {
                hasher.field(text.as_bytes());
            }
            if !output.tags.is_empty() {
                // No file that could be a link has such a name.
                hasher.field(format!("-tags={}", output.tags.join(",")).as_bytes());
            }
            output.links.iter().for_each(|link| hasher.field(link.as_bytes()));
        }
        hasher.finish()
    }
}

impl GoModule {
    /// Digest of all names and contents.
    pub(crate) fn digest(&self) -> String {
        let mut hasher = Hasher::default();
        for file in &self.files {
            hasher.field(file.name.as_bytes());
            hasher.field(&file.content);
        }
        hasher.finish()
    }

    /// The oldest Go that takes this module, from the `go` lines of the module files in use.
    pub(crate) fn go_version(&self) -> GoVersion {
        let used = ["go.mod", self.modfile.as_deref().unwrap_or("go.mod")];
        self.files
            .iter()
            .filter(|file| used.contains(&file.name.as_str()))
            .flat_map(|file| String::from_utf8_lossy(&file.content).lines().filter_map(go_line).max())
            .max()
            .unwrap_or(GoVersion(1, 21, 0))
    }
}

fn go_line(line: &str) -> Option<GoVersion> {
    GoVersion::parse(line.strip_prefix("go ")?.trim())
}

/// A Go version: `1.26.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GoVersion(pub u32, pub u32, pub u32);

impl GoVersion {
    /// Reads `1.26`, `1.26.8`, `go1.26.8`, `go1.27rc1`, `go1.26.8-custom`. `None` for development versions.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix("go").unwrap_or(text);
        let mut parts = text.splitn(3, '.').map(|part| {
            let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            part[..digits].parse::<u32>().ok()
        });
        Some(Self(parts.next()??, parts.next()??, parts.next().flatten().unwrap_or(0)))
    }
}

impl std::fmt::Display for GoVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions() {
        for (text, version) in [
            ("1.26", Some(GoVersion(1, 26, 0))),
            ("go1.26.8", Some(GoVersion(1, 26, 8))),
            ("go1.27rc1", Some(GoVersion(1, 27, 0))),
            ("go1.22.2-local x", Some(GoVersion(1, 22, 2))),
            ("devel go1.27-abc", None),
            ("", None),
        ] {
            assert_eq!(GoVersion::parse(text), version, "{text}");
        }
        assert!(GoVersion(1, 9, 9) < GoVersion(1, 26, 0));
    }

    fn module(files: &[(&str, &str)]) -> GoModule {
        let files = files
            .iter()
            .map(|(name, text)| SourceFile {
                name: (*name).into(),
                content: Cow::Owned(text.as_bytes().to_vec()),
            })
            .collect();
        GoModule { name: "m".into(), files, modfile: Some("x.mod".into()) }
    }

    #[test]
    fn the_strictest_go_line_in_use_counts() {
        let m = module(&[
            ("go.mod", "module m\n\ngo 1.24\n"),
            ("x.mod", "module m\ngo 1.25.3\n"),
            ("y.mod", "go 1.99\n"),
        ]);
        assert_eq!(m.go_version(), GoVersion(1, 25, 3));
    }

    #[test]
    fn any_change_changes_the_digest() {
        let output = Output {
            file: "a".into(),
            verb: Verb::Build,
            package: ".".into(),
            tags: vec![],
            ldflags: String::new(),
            links: vec!["b".into()],
        };
        let recipe =
            Recipe::built("x/a:v1".parse().unwrap(), module(&[("go.mod", "go 1.24")]), vec![output.clone()]);
        let mut changed = vec![recipe.clone(); 5];
        changed[0].module = module(&[("go.mod", "go 1.25")]);
        changed[1].outputs[0].verb = Verb::Test;
        changed[2].outputs[0].ldflags = "-X a=b".into();
        changed[3].outputs[0].links = vec![];
        changed[4].outputs[0].tags = vec!["t".into()];
        for other in changed {
            assert_ne!(other.digest(), recipe.digest());
        }
        assert_eq!(recipe.clone().digest(), recipe.digest());
    }
}
