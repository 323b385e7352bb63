//! Saying what is going on. Anything that takes longer than a moment reports at least every few seconds, so that a
//! person can tell work from a hang.

use std::fmt;
use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::image::ImageRef;

/// How often work that goes on without news repeats itself.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(4);

/// Receives what the engine is doing. Called from async code: it must not block for long.
pub trait Progress: Send + Sync {
    /// Takes one report. Reports of one image are in order; those of several images may be mixed.
    fn report(&self, update: &Update<'_>);
}

/// One report.
#[derive(Clone, Debug)]
pub struct Update<'a> {
    /// What is being made.
    pub image: &'a ImageRef,
    /// What is happening to it.
    pub phase: Phase,
    /// Time since this call of [`crate::Engine::ensure`] began to work.
    pub elapsed: Duration,
}

/// A step on the way to an image. `Display` is a short sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Somebody else is making it.
    Waiting {
        /// Who, as far as is known.
        holder: String,
    },
    /// Something a person should know: a source that was passed over, an entry that was damaged.
    Note(String),
    /// An official release is being fetched.
    Fetching {
        /// The file.
        file: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all, when the server says so.
        total: Option<u64>,
    },
    /// Go fetches modules.
    Modules {
        /// How many so far.
        count: usize,
    },
    /// Go compiles.
    Compiling {
        /// How many packages so far; those in Go's own cache are not counted.
        packages: usize,
        /// The one that came last.
        last: String,
    },
    /// Go links the program.
    Linking {
        /// The file that is being made.
        file: String,
    },
    /// The result is being checked.
    Checking,
    /// The image is there.
    Ready,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { holder } => write!(f, "waiting for {holder}, which is making it"),
            Self::Note(text) => f.write_str(text),
            Self::Fetching { file, done, total: Some(total) } => {
                write!(f, "fetching {file}: {} of {} MiB", done >> 20, total.div_ceil(1 << 20))
            }
            Self::Fetching { file, done, total: None } => write!(f, "fetching {file}: {} MiB", done >> 20),
            Self::Modules { count: 0 } => f.write_str("building: looking up Go modules"),
            Self::Modules { count } => write!(f, "building: fetching Go modules, {count} so far"),
            Self::Compiling { packages: 0, .. } => {
                f.write_str("building: compiling what Go has not yet in its cache")
            }
            Self::Compiling { packages, last } => {
                write!(f, "building: compiling, {packages} packages so far, now {last}")
            }
            Self::Linking { file } => write!(f, "building: linking {file}"),
            Self::Checking => f.write_str("checking it"),
            Self::Ready => f.write_str("ready"),
        }
    }
}

/// Says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn report(&self, _: &Update<'_>) {}
}

/// One line per report, for stderr and logs.
#[derive(Debug)]
pub struct Lines<W>(Mutex<W>);

impl Lines<std::io::Stderr> {
    /// Lines on stderr.
    pub fn stderr() -> Self {
        Self::new(std::io::stderr())
    }
}

impl<W: Write + Send> Lines<W> {
    /// Lines to a writer. Errors of the writer are ignored: progress must never fail the work.
    pub fn new(writer: W) -> Self {
        Self(Mutex::new(writer))
    }

    /// The writer back.
    pub fn into_inner(self) -> W {
        self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<W: Write + Send> Progress for Lines<W> {
    fn report(&self, update: &Update<'_>) {
        let mut writer = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let seconds = update.elapsed.as_secs();
        let _ = writeln!(
            writer,
            "{} {}: {} [{}:{:02}]",
            update.image.name(),
            update.image.tag(),
            update.phase,
            seconds / 60,
            seconds % 60
        );
    }
}

impl<F: Fn(&Update<'_>) + Send + Sync> Progress for F {
    fn report(&self, update: &Update<'_>) {
        self(update);
    }
}

/// Reports for one image, with its clock.
pub(crate) struct Reporter<'a> {
    progress: &'a dyn Progress,
    image: &'a ImageRef,
    started: Instant,
}

impl<'a> Reporter<'a> {
    pub(crate) fn new(progress: &'a dyn Progress, image: &'a ImageRef) -> Self {
        Self { progress, image, started: Instant::now() }
    }

    pub(crate) fn phase(&self, phase: Phase) {
        tracing::debug!(image = %self.image, "{phase}");
        self.progress.report(&Update { image: self.image, phase, elapsed: self.started.elapsed() });
    }

    pub(crate) fn note(&self, text: impl Into<String>) {
        self.phase(Phase::Note(text.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_how_far_and_since_when() {
        let image = "skep.dev/kube:v1.36.3".parse().unwrap();
        let lines = Lines::new(Vec::new());
        for (phase, seconds) in [
            (Phase::Modules { count: 12 }, 3),
            (Phase::Compiling { packages: 400, last: "k8s.io/api/core/v1".into() }, 83),
            (Phase::Fetching { file: "kubectl".into(), done: 5 << 20, total: Some((9 << 20) + 1) }, 3600),
        ] {
            lines.report(&Update { image: &image, phase, elapsed: Duration::from_secs(seconds) });
        }
        assert_eq!(
            String::from_utf8(lines.into_inner()).unwrap(),
            "kube v1.36.3: building: fetching Go modules, 12 so far [0:03]\n\
             kube v1.36.3: building: compiling, 400 packages so far, now k8s.io/api/core/v1 [1:23]\n\
             kube v1.36.3: fetching kubectl: 5 of 10 MiB [60:00]\n"
        );
    }
}
