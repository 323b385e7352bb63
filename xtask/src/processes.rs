//! CPU time and memory of processes, read from `/proc`.
//!
//! Memory is always PSS (a shared page is divided among those who share it): the control planes of all tenants share
//! one binary, and RSS would count its pages once for each of them.

use std::{collections::HashMap, fs, time::Duration};

/// One process as `/proc` shows it.
#[derive(Clone, Debug)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Parent's process id.
    pub parent: u32,
    /// Name of the program: the last part of argv[0].
    pub program: String,
    /// User and system time of the process itself.
    pub cpu: Duration,
    /// User and system time of the children it has waited for.
    pub reaped: Duration,
}

impl Process {
    /// The process with this id; `None` once it is gone.
    pub fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in parentheses and may hold anything, parentheses too.
        let fields: Vec<&str> = stat.get(stat.rfind(')')? + 2..)?.split(' ').collect();
        let ticks = |from: usize| -> Option<Duration> {
            let sum = fields.get(from)?.parse::<u64>().ok()? + fields.get(from + 1)?.parse::<u64>().ok()?;
            // USER_HZ is 100 on every Linux that Rust runs on (proc(5)).
            Some(Duration::from_millis(sum * 10))
        };
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let argv0 = String::from_utf8_lossy(line.split(|b| *b == 0).next()?).into_owned();
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            program: argv0.rsplit('/').next().unwrap_or_default().to_owned(),
            cpu: ticks(11)?,
            reaped: ticks(13)?,
        })
    }

    /// Its command line; empty once it is gone.
    pub fn arguments(&self) -> Vec<String> {
        let line = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    /// Proportional set size in bytes; `None` once the process is gone or when it belongs to somebody else.
    pub fn pss(&self) -> Option<u64> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).ok()?;
        let line = rollup.lines().find(|line| line.starts_with("Pss:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
    }
}

/// A process and all its descendants, the ancestor first.
pub fn tree(ancestor: u32) -> Vec<Process> {
    let mut children: HashMap<u32, Vec<Process>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(process) = pid.and_then(Process::read) {
            children.entry(process.parent).or_default().push(process);
        }
    }
    let mut found: Vec<Process> = Process::read(ancestor).into_iter().collect();
    let mut at = 0;
    while let Some(pid) = found.get(at).map(|process| process.pid) {
        found.extend(children.remove(&pid).unwrap_or_default());
        at += 1;
    }
    found
}

/// CPU time of a process and all its descendants, those that ended and were waited for included.
pub fn cpu(ancestor: u32) -> Duration {
    tree(ancestor).iter().map(|process| process.cpu + process.reaped).sum()
}
