//! Progress on stderr: a line that moves on a terminal, plain lines elsewhere.
//!
//! Anything that takes longer than a moment says what it is doing and for how long; plain output repeats itself only
//! every few seconds, so that a log of a build stays readable.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{note, style};

/// Pause between two plain lines about the same step.
const PLAIN_PERIOD: Duration = Duration::from_secs(5);
/// What is done in less is said when it is done.
const MOMENT: Duration = Duration::from_millis(900);
/// Frames per second of the moving line are enough at this pace.
const TICK: Duration = Duration::from_millis(120);

/// Shows steps.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    began: Instant,
    step: Option<(String, Instant)>,
    said: Option<(String, Instant)>,
    quiet: bool,
}

impl Progress {
    /// On stderr; `quiet` shows nothing.
    pub fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            let template = ProgressStyle::with_template("{spinner} {wide_msg}");
            if let Ok(template) = template {
                bar.set_style(template);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { bar, began: Instant::now(), step: None, said: None, quiet }
    }

    /// Something is going on. To be called again now and then while it is: plain output speaks of nothing shorter
    /// than [`MOMENT`].
    pub fn doing(&mut self, what: &str) {
        if self.quiet {
            return;
        }
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{what} [{}]", clock(self.began.elapsed())));
            return;
        }
        let new = self.step.as_ref().is_none_or(|(step, _)| step != head(what));
        if new {
            self.step = Some((head(what).to_owned(), Instant::now()));
        }
        let long = self.step.as_ref().is_some_and(|(_, since)| since.elapsed() >= MOMENT);
        let due = match &self.said {
            None => true,
            // Another step is said at once; details of the same one now and then.
            Some((last, at)) => head(last) != head(what) || (last != what && at.elapsed() >= PLAIN_PERIOD),
        };
        if due && long {
            note(&format!("{what} [{}]", clock(self.began.elapsed())));
            self.said = Some((what.to_owned(), Instant::now()));
        }
    }

    /// Something is done.
    pub fn done(&mut self, what: &str, took: Duration) {
        if self.quiet {
            return;
        }
        let style = style::stderr();
        let line = format!("{} {what} {}", style.good("done"), style.dim(&format!("({})", seconds(took))));
        self.line(&line);
    }

    /// A line that stays.
    pub fn line(&mut self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| note(line)),
            None if self.quiet => {}
            None => note(line),
        }
    }

    /// Takes the moving line away.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The step without its detail.
fn head(text: &str) -> &str {
    text.split_once(": ").map_or(text, |(head, _)| head)
}

/// `0:07`, `12:30`.
fn clock(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// `0.3 s`, `12.0 s`.
pub fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
