//! Reading `/proc`: who runs, since when, in which session, with which environment.
//!
//! Every function takes "it has just gone" as an ordinary answer (`None`), never as an error.

use std::io;
use std::sync::OnceLock;

/// `/proc/PID/stat`, the fields that are needed (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Process id.
    pub pid: i32,
    /// `R`, `S`, `Z` …
    pub state: u8,
    /// Parent.
    pub parent: i32,
    /// Process group.
    pub group: i32,
    /// Session.
    pub session: i32,
    /// CPU time in clock ticks, own and of children that were waited for, user and system.
    pub cpu_ticks: u64,
    /// When it started, in clock ticks after boot. Together with the pid this names one process for ever.
    pub start_ticks: u64,
    /// Wait status; meaningful in state `Z` only.
    pub wait_status: i32,
}

impl Stat {
    /// Whether it has ended and only waits for its parent.
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

/// The state of a process, `None` when there is none with this pid.
pub fn stat(pid: i32) -> Option<Stat> {
    parse_stat(pid, &std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The program name is in parentheses and may itself hold spaces and parentheses: fields count from the last `)`.
fn parse_stat(pid: i32, text: &[u8]) -> Option<Stat> {
    let close = text.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // `fields[0]` is field 3 of the manual page.
    let number = |field: usize| fields.get(field - 3)?.parse::<i64>().ok();
    let ticks = |field: usize| number(field).and_then(|n| u64::try_from(n).ok());
    Some(Stat {
        pid,
        state: *fields.first()?.as_bytes().first()?,
        parent: i32::try_from(number(4)?).ok()?,
        group: i32::try_from(number(5)?).ok()?,
        session: i32::try_from(number(6)?).ok()?,
        cpu_ticks: ticks(14)? + ticks(15)? + ticks(16)? + ticks(17)?,
        start_ticks: ticks(22)?,
        wait_status: number(52).and_then(|n| i32::try_from(n).ok()).unwrap_or(0),
    })
}

/// Pids of all processes.
pub fn pids() -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        if let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Value of a variable in the environment a process was started with. `None` when it has none, has gone, or belongs to
/// somebody else.
pub fn environment_variable(pid: i32, name: &str) -> Option<String> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = environment
        .split(|&b| b == 0)
        .find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// The whole environment a process was started with.
pub fn environment(pid: i32) -> io::Result<Vec<(std::ffi::OsString, std::ffi::OsString)>> {
    use std::os::unix::ffi::OsStringExt;
    let text = std::fs::read(format!("/proc/{pid}/environ"))?;
    let pairs = text.split(|&b| b == 0).filter_map(|pair| {
        let at = pair.iter().position(|&b| b == b'=')?;
        let (name, value) = (pair.get(..at)?, pair.get(at + 1..)?);
        Some((std::ffi::OsString::from_vec(name.to_vec()), std::ffi::OsString::from_vec(value.to_vec())))
    });
    Ok(pairs.collect())
}

/// Anonymous plus shared memory, and all mapped pages, in bytes.
pub fn memory(pid: i32) -> Option<(u64, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| -> u64 {
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|v| v.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    Some((field("RssAnon") + field("RssShmem"), field("VmRSS")))
}

/// Names this boot of the machine; start times of different boots do not compare.
pub fn boot_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        id.trim().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_called_anything() {
        let line = b"42 (a) b ) R 1 42 41 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 998 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 256";
        let stat = parse_stat(42, line).unwrap();
        assert_eq!((stat.parent, stat.group, stat.session, stat.state), (1, 42, 41, b'R'));
        assert_eq!((stat.cpu_ticks, stat.start_ticks, stat.wait_status), (5 + 6 + 7 + 8, 998, 256));
        assert_eq!(parse_stat(1, b"1 (x"), None);
        assert_eq!(parse_stat(1, b""), None);
    }

    #[test]
    fn reads_ourselves() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(pids().unwrap().contains(&me));
        assert!(stat(me).unwrap().start_ticks > 0);
        assert!(memory(me).unwrap().1 > 0);
        assert!(!boot_id().is_empty());
        assert!(stat(i32::MAX).is_none());
    }
}
