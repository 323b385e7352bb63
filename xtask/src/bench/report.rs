//! Figures of a bench: a table for people, JSON for machines.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use serde::Serialize;

/// Minimum, median and maximum of several runs, in the unit of the row.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// Smallest.
    pub min: f64,
    /// Middle one; of an even number the mean of the two.
    pub median: f64,
    /// Largest.
    pub max: f64,
}

impl Spread {
    /// Of at least one figure; zeros of none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
        let last = sorted.len().saturating_sub(1);
        Self { min: at(0), median: f64::midpoint(at(last / 2), at(last.div_ceil(2))), max: at(last) }
    }

    /// Of durations, in seconds.
    pub fn seconds(durations: impl IntoIterator<Item = Duration>) -> Self {
        Self::of(durations.into_iter().map(|d| d.as_secs_f64()))
    }
}

/// One line of a report.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// Unit of the figures.
    pub unit: &'static str,
    /// The figures.
    pub figures: Spread,
    /// How many runs they are from.
    pub runs: usize,
    /// The goal, with the ratio that was reached, where there is one.
    pub goal: Option<Goal>,
}

/// A goal and what was reached.
#[derive(Clone, Debug, Serialize)]
pub struct Goal {
    /// The goal in words: `<= 1.25 x bare`.
    pub text: String,
    /// What was reached, in the goal's unit.
    pub reached: f64,
    /// Whether that is enough.
    pub met: bool,
}

impl Goal {
    /// A goal that is met by `reached` or less.
    pub fn at_most(limit: f64, reached: f64, of: &str) -> Self {
        Self { text: format!("<= {limit} {of}"), reached, met: reached <= limit }
    }
}

/// Everything one bench measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The bench.
    pub bench: &'static str,
    /// Processor, cores, memory, kernel.
    pub machine: String,
    /// The lines.
    pub rows: Vec<Row>,
    /// What the reader must know.
    pub notes: Vec<String>,
}

impl Report {
    /// An empty report of this bench on this machine.
    pub fn new(bench: &'static str) -> Self {
        Self { bench, machine: machine(), ..Self::default() }
    }

    /// Adds a line.
    pub fn row(&mut self, what: &str, unit: &'static str, figures: Spread, runs: usize, goal: Option<Goal>) {
        self.rows.push(Row { what: what.to_owned(), unit, figures, runs, goal });
    }

    /// Prints the table and writes `<dir>/<bench>.json`.
    pub fn finish(&self, dir: &Path) -> anyhow::Result<()> {
        println!("\n{}: {}\n", self.bench, self.machine);
        println!("| what | unit | min | median | max | runs | goal | reached |");
        println!("|---|---|---|---|---|---|---|---|");
        for row in &self.rows {
            let Spread { min, median, max } = row.figures;
            let (goal, reached) = row.goal.as_ref().map_or((String::new(), String::new()), |goal| {
                let verdict = if goal.met { "met" } else { "MISSED" };
                (goal.text.clone(), format!("{:.2} {verdict}", goal.reached))
            });
            println!(
                "| {} | {} | {min:.2} | {median:.2} | {max:.2} | {} | {goal} | {reached} |",
                row.what, row.unit, row.runs
            );
        }
        for note in &self.notes {
            println!("\n{note}");
        }
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let file = dir.join(format!("{}.json", self.bench));
        std::fs::write(&file, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
        println!("\nwritten to {}", file.display());
        Ok(())
    }
}

fn machine() -> String {
    let field = |file: &str, key: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{}, {cores} cores, {} memory, Linux {}",
        field("/proc/cpuinfo", "model name"),
        field("/proc/meminfo", "MemTotal"),
        kernel.trim()
    )
}
