//! What Go says while it builds, and what that means.

use std::collections::VecDeque;

use crate::progress::Phase;
use crate::recipe::{Output, Verb};

/// Longer lines are cut: nobody reads them, and they must not fill the memory.
const MAX_LINE: usize = 2048;
/// How many lines of complaint are kept for the error.
const MAX_TAIL: usize = 20;

/// The state of a build, from its output.
pub(super) struct State {
    file: String,
    /// The package that is asked for. A path in the module (`.`) is printed below the name of the module.
    package: String,
    /// That package came: it comes last, and then the linker runs.
    main: bool,
    verb: Verb,
    line: Vec<u8>,
    modules: usize,
    packages: usize,
    last: String,
    tail: VecDeque<String>,
}

/// Why a build failed, as far as it is one of the usual reasons.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Diagnosis {
    DiskFull,
    /// A newer Go is needed and could not be had.
    Toolchain,
    /// Modules could not be fetched.
    Modules,
    Other,
}

impl State {
    pub(super) fn new(output: &Output) -> Self {
        Self {
            file: output.file.clone(),
            package: output.package.clone(),
            main: false,
            verb: output.verb,
            line: Vec::new(),
            modules: 0,
            packages: 0,
            last: String::new(),
            tail: VecDeque::new(),
        }
    }

    /// Takes more output. Whether it began a new phase, which is worth a report at once.
    pub(super) fn take(&mut self, bytes: &[u8]) -> bool {
        let mut news = false;
        for &byte in bytes {
            match byte {
                b'\n' => news |= self.end_line(),
                _ if self.line.len() < MAX_LINE => self.line.push(byte),
                _ => {}
            }
        }
        news
    }

    /// The output has ended.
    pub(super) fn finish(&mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
    }

    fn end_line(&mut self) -> bool {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if line.starts_with("go: downloading ") {
            self.modules += 1;
            return self.modules == 1;
        }
        if is_package(line) {
            self.packages += 1;
            self.main = match self.package.strip_prefix('.') {
                Some(path) => line.starts_with("skep.dev/engine/") && line.ends_with(path),
                None => line == self.package,
            };
            line.clone_into(&mut self.last);
            return self.packages == 1 || self.main;
        }
        if !line.is_empty() {
            if self.tail.len() == MAX_TAIL {
                self.tail.pop_front();
            }
            self.tail.push_back(line.to_owned());
        }
        false
    }

    pub(super) fn phase(&self) -> Phase {
        if self.packages == 0 && self.modules > 0 && self.verb == Verb::Build {
            return Phase::Modules { count: self.modules };
        }
        if self.main {
            return Phase::Linking { file: self.file.clone() };
        }
        Phase::Compiling { packages: self.packages, last: self.last.clone() }
    }

    /// The last lines that were not about progress.
    pub(super) fn tail(&self) -> String {
        self.tail.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// `go build -v` prints the import path of each package that it compiles, alone on a line.
fn is_package(line: &str) -> bool {
    !line.is_empty()
        && !line.starts_with('#')
        && !line.ends_with([':', '.'])
        && line.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '~' | '+'))
}

/// Recognises the usual reasons by what Go, the compiler and the system call them.
pub(super) fn diagnose(tail: &str) -> Diagnosis {
    let tail = tail.to_lowercase();
    let has = |needles: &[&str]| needles.iter().any(|needle| tail.contains(needle));
    if has(&["no space left on device", "disk quota exceeded"]) {
        Diagnosis::DiskFull
    } else if has(&["toolchain not available", "gotoolchain=local)", "go: download go1"]) {
        Diagnosis::Toolchain
    } else if has(&[
        "dial tcp",
        "no such host",
        "i/o timeout",
        "tls handshake",
        "connection refused",
        "module lookup disabled by goproxy=off",
        "proxyconnect",
        "unexpected eof",
        "net/http:",
        "reading http",
    ]) {
        Diagnosis::Modules
    } else {
        Diagnosis::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn state() -> State {
        state_of(".")
    }

    fn state_of(package: &str) -> State {
        State::new(&Output {
            file: "kube".into(),
            verb: Verb::Build,
            package: package.into(),
            tags: vec![],
            ldflags: String::new(),
            links: vec![],
        })
    }

    #[test]
    fn the_phases_of_a_build() {
        let mut state = state();
        assert_eq!(state.phase(), Phase::Compiling { packages: 0, last: String::new() });
        assert!(state.take(b"go: downloading k8s.io/api v0.36.3\ngo: downl"));
        assert!(!state.take(b"oading k8s.io/client-go v0.36.3\n"));
        assert_eq!(state.phase(), Phase::Modules { count: 2 });
        assert!(state.take(b"internal/goarch\nk8s.io/api/core/v1\n"));
        assert_eq!(state.phase(), Phase::Compiling { packages: 2, last: "k8s.io/api/core/v1".into() });
        assert!(state.take(b"skep.dev/engine/kube\n"));
        assert_eq!(state.phase(), Phase::Linking { file: "kube".into() });
        assert_eq!(state.tail(), "");
    }

    #[test]
    fn the_package_that_is_asked_for_comes_last() {
        for (package, before, last) in [
            (".", "k8s.io/api/core/v1\n", "skep.dev/engine/kube\n"),
            ("./node", "skep.dev/engine/kube\n", "skep.dev/engine/kube/node\n"),
            ("github.com/a/cmd/b", "github.com/a/cmd/b/builtins\n", "github.com/a/cmd/b\n"),
        ] {
            let mut state = state_of(package);
            state.take(before.as_bytes());
            assert!(matches!(state.phase(), Phase::Compiling { packages: 1, .. }), "{package}");
            assert!(state.take(last.as_bytes()), "{package}: not worth a report");
            assert_eq!(state.phase(), Phase::Linking { file: "kube".into() }, "{package}");
        }
    }

    #[test]
    fn complaints_are_kept_and_bounded() {
        let mut state = state();
        state.take(b"# skep.dev/engine/kube\n./main.go:1:2: undefined: x\n");
        state.take(&vec![b'y'; 1 << 20]);
        state.take(b" z\n");
        for n in 0..30 {
            state.take(format!("note {n}\n").as_bytes());
        }
        state.take(b"the end");
        state.finish();
        let tail = state.tail();
        assert_eq!(tail.lines().count(), MAX_TAIL);
        assert!(tail.ends_with("note 29\nthe end"), "{tail}");
    }

    #[test]
    fn the_usual_reasons() {
        for (text, diagnosis) in [
            ("write /x/b.a: no space left on device", Diagnosis::DiskFull),
            ("cp: error writing 'x': No space left on device", Diagnosis::DiskFull),
            ("go: download go1.26 for linux/amd64: toolchain not available", Diagnosis::Toolchain),
            ("go: go.mod requires go >= 1.26.0 (running go 1.22.2; GOTOOLCHAIN=local)", Diagnosis::Toolchain),
            (
                "go: k8s.io/api@v0.36.3: Get \"https://p/x\": dial tcp: lookup p: no such host",
                Diagnosis::Modules,
            ),
            ("go: x@v1: module lookup disabled by GOPROXY=off", Diagnosis::Modules),
            ("./main.go:1:2: undefined: x", Diagnosis::Other),
        ] {
            assert_eq!(diagnose(text), diagnosis, "{text}");
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "([a-z/.: #]{0,30}\n){0,30}", cut in 0_usize..400) {
            let (mut whole, mut pieces) = (state(), state());
            whole.take(text.as_bytes());
            let cut = cut.min(text.len());
            pieces.take(&text.as_bytes()[..cut]);
            pieces.take(&text.as_bytes()[cut..]);
            prop_assert_eq!(whole.phase(), pieces.phase());
            prop_assert_eq!(whole.tail(), pieces.tail());
        }
    }
}
