//! Facts about the machine, from `/proc` and `/etc`. What cannot be read is empty or zero, never an error: a node
//! without a machine id is still a node.

use std::path::Path;

/// Facts that do not change while the machine runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Processors this process may use.
    pub cpus: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of the file system below a directory.
    pub disk: u64,
    /// Kernel release.
    pub kernel: String,
    /// `PRETTY_NAME` of the distribution.
    pub os_image: String,
    /// As Go names it: `amd64`, `arm64`.
    pub architecture: String,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// Differs after every boot.
    pub boot_id: String,
    /// Of the firmware, where readable.
    pub system_uuid: String,
}

impl Machine {
    /// Looks at the machine; `dir` says which file system counts.
    #[must_use]
    pub fn look(dir: &Path) -> Self {
        let line =
            |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let os_release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let machine_id = line("/etc/machine-id");
        let system_uuid = line("/sys/class/dmi/id/product_uuid");
        Self {
            cpus: std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64),
            memory: meminfo("MemTotal").unwrap_or_default(),
            disk: disk(dir).map_or(0, |disk| disk.bytes),
            kernel: line("/proc/sys/kernel/osrelease"),
            os_image: pretty_name(&os_release),
            architecture: go_architecture(std::env::consts::ARCH).to_owned(),
            system_uuid: if system_uuid.is_empty() { machine_id.clone() } else { system_uuid },
            machine_id,
            boot_id: line("/proc/sys/kernel/random/boot_id"),
        }
    }
}

/// A field of `/proc/meminfo` in bytes.
#[must_use]
pub fn meminfo(field: &str) -> Option<u64> {
    parse_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?, field)
}

fn parse_meminfo(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Its size.
    pub bytes: u64,
    /// What an ordinary user may still write.
    pub available: u64,
    /// Its inodes; zero where they are not counted.
    pub inodes: u64,
    /// Inodes left.
    pub inodes_free: u64,
}

/// The file system that holds `dir`.
#[must_use]
pub fn disk(dir: &Path) -> Option<Disk> {
    let stat = nix::sys::statvfs::statvfs(dir).ok()?;
    let fragment = stat.fragment_size();
    Some(Disk {
        bytes: stat.blocks().saturating_mul(fragment),
        available: stat.blocks_available().saturating_mul(fragment),
        inodes: stat.files(),
        inodes_free: stat.files_available(),
    })
}

/// Tasks that exist and tasks that may exist.
#[must_use]
pub fn pids() -> Option<(u64, u64)> {
    let load = std::fs::read_to_string("/proc/loadavg").ok()?;
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let most = number("/proc/sys/kernel/pid_max")?.min(number("/proc/sys/kernel/threads-max")?);
    Some((parse_tasks(&load)?, most))
}

/// `0.00 0.01 0.05 1/234 5678`: the number after the slash.
fn parse_tasks(load: &str) -> Option<u64> {
    load.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

fn pretty_name(os_release: &str) -> String {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    value.map(|value| value.trim_matches('"').to_owned()).unwrap_or_else(|| "Linux".to_owned())
}

fn go_architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_understood() {
        assert_eq!(parse_meminfo("MemTotal:       1024 kB\nMemFree: 1 kB\n", "MemTotal"), Some(1 << 20));
        assert_eq!(parse_meminfo("MemTotal: x kB", "MemTotal"), None);
        assert_eq!(parse_tasks("0.10 0.20 0.30 2/345 6789\n"), Some(345));
        assert_eq!(pretty_name("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"), "Debian GNU/Linux 12");
        assert_eq!((go_architecture("x86_64"), go_architecture("riscv64")), ("amd64", "riscv64"));
    }

    #[test]
    fn this_machine_has_memory_and_a_kernel() {
        let machine = Machine::look(Path::new("/"));
        assert!(machine.cpus > 0 && machine.memory > 0 && !machine.kernel.is_empty());
        assert!(pids().is_some_and(|(now, most)| now > 0 && most > now));
    }
}
