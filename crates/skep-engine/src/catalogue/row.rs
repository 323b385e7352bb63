//! What a row of the table says, and how it becomes a recipe.
//!
//! Texts of a row may contain `{version}` (`v1.36.3`), `{number}` (`1.36.3`), `{major}` (`1`) and `{minor}` (`36`); those about a
//! release also `{arch}` (`amd64`) and, where they are about one program, `{program}`.

use crate::recipe::{Output, Recipe, Verb, VersionCheck};
use crate::release::{self, Release, Upstream};
use crate::sources;

/// One image in each of its versions.
pub(super) struct Row {
    /// `kube` of `skep.dev/kube`.
    pub name: &'static str,
    pub versions: &'static [&'static str],
    /// The directory under `engine/`.
    pub module: &'static str,
    /// The files of that directory that it is built from, and no others: what an image does not need must not make it be
    /// built again.
    pub files: &'static [&'static str],
    /// The module file, when it is not `go.mod`.
    pub modfile: Option<&'static str>,
    pub binaries: &'static [Binary],
    /// Program, arguments, and what it must say then.
    pub checks: &'static [(&'static str, &'static [&'static str], &'static str)],
    /// MiB that must be free for it, built or released, whichever is larger.
    pub need_mib: u64,
    /// `None`: nobody publishes it.
    pub published: Option<Published>,
}

/// One file that Go makes.
pub(super) struct Binary {
    pub file: &'static str,
    pub package: &'static str,
    pub tags: &'static [&'static str],
    /// Packages, and their variables that the linker sets.
    pub stamps: &'static [(&'static str, &'static [(&'static str, &'static str)])],
    /// Names that it is called by.
    pub links: &'static [&'static str],
}

/// Where upstream's own build is.
pub(super) struct Published {
    pub upstream: Upstream,
    /// The file, below the publisher's URL.
    pub path: &'static str,
    /// The file with its digest; `{path}` is the path above.
    pub digests: &'static str,
    /// Where the programs are in it. `None`: each file *is* a program.
    pub member: Option<&'static str>,
}

impl Row {
    /// Its recipes, one for each version.
    pub(super) fn recipes(&self) -> impl Iterator<Item = Recipe> {
        self.versions.iter().map(|version| self.recipe(version))
    }

    fn recipe(&self, version: &str) -> Recipe {
        let fill = |text: &str| fill(text, version);
        let files: Vec<_> = self.files.iter().map(|file| fill(file)).collect();
        let module = sources::module(self.module, &files, self.modfile.map(fill));
        let outputs = self.binaries.iter().map(|binary| binary.output(version)).collect();
        let mut recipe = Recipe::built(super::fixed(self.name, version), module, outputs);
        recipe.checks = self
            .checks
            .iter()
            .map(|(program, args, expect)| VersionCheck {
                program: (*program).to_owned(),
                args: args.iter().map(|arg| (*arg).to_owned()).collect(),
                expect: fill(expect),
            })
            .collect();
        recipe.need_bytes = self.need_mib << 20;
        recipe.release = self.published.as_ref().and_then(|p| p.release(version, &recipe.programs()));
        recipe
    }
}

impl Binary {
    fn output(&self, version: &str) -> Output {
        let stamps = self.stamps.iter().flat_map(|(package, variables)| {
            variables.iter().map(move |(name, value)| format!("-X {package}.{name}={}", fill(value, version)))
        });
        Output {
            file: self.file.to_owned(),
            verb: Verb::Build,
            package: self.package.to_owned(),
            tags: self.tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ldflags: stamps.collect::<Vec<_>>().join(" "),
            links: self.links.iter().map(|link| (*link).to_owned()).collect(),
        }
    }
}

impl Published {
    /// `None` for machines that upstream builds nothing for.
    fn release(&self, version: &str, programs: &[String]) -> Option<Release> {
        let arch = release::architecture()?;
        let of = |text: &str, program: &str| {
            fill(&text.replace("{path}", self.path), version)
                .replace("{arch}", arch)
                .replace("{program}", program)
        };
        Some(match self.member {
            Some(member) => {
                let members = programs.iter().map(|p| (of(member, p), p.clone())).collect();
                Release::archive(self.upstream, of(self.path, ""), of(self.digests, ""), members)
            }
            None => {
                let file = |p: &String| (p.clone(), of(self.path, p), of(self.digests, p));
                Release::programs(self.upstream, programs.iter().map(file))
            }
        })
    }
}

fn fill(text: &str, version: &str) -> String {
    let number = version.trim_start_matches('v');
    let mut parts = number.splitn(3, '.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    text.replace("{version}", version)
        .replace("{number}", number)
        .replace("{major}", major)
        .replace("{minor}", minor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::table::ROWS;

    #[test]
    fn texts_are_filled_in() {
        assert_eq!(
            fill("{version} {number} {major}.{minor} {program}", "v1.36.3"),
            "v1.36.3 1.36.3 1.36 {program}"
        );
    }

    #[test]
    fn nothing_stays_unfilled() {
        for recipe in ROWS.iter().flat_map(Row::recipes) {
            let text = format!("{:?} {:?} {:?}", recipe.outputs, recipe.checks, recipe.release);
            for open in ["{version}", "{number}", "{major}", "{minor}", "{arch}", "{program}", "{path}"] {
                assert!(!text.contains(open), "{}: {open} in {text}", recipe.image);
            }
            assert!(recipe.module.files.iter().all(|file| !file.name.contains('{')), "{}", recipe.image);
        }
    }

    /// Every file that a row names is embedded: a name that is misspelt is not just left out.
    #[test]
    fn every_file_is_there() {
        for row in ROWS {
            for recipe in row.recipes() {
                assert_eq!(recipe.module.files.len(), row.files.len(), "{}", recipe.image);
            }
        }
    }
}
