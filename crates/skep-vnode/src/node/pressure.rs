//! Whether the machine runs out of something: memory, disk, process ids.
//!
//! Thresholds are the kubelet's defaults for hard eviction, with one difference: on a large disk ten per cent free is
//! plenty, so the disk threshold never exceeds [`Limits::disk_enough`].

use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::machine::{self, Disk};

/// When something counts as scarce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory that must be available.
    pub memory: u64,
    /// Hundredths of the file system that must be free.
    pub disk_percent: u64,
    /// Bytes that are enough however large the file system is.
    pub disk_enough: u64,
    /// Hundredths of the inodes that must be free.
    pub inodes_percent: u64,
    /// Hundredths of the process ids that must be free.
    pub pids_percent: u64,
    /// How long a pressure is reported after it has passed, so that it does not flap.
    pub settle: SignedDuration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 100 << 20,
            disk_percent: 10,
            disk_enough: 1 << 30,
            inodes_percent: 5,
            pids_percent: 5,
            settle: SignedDuration::from_mins(5),
        }
    }
}

/// What was measured; `None` where the machine does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Measure {
    /// Bytes of memory available.
    pub memory: Option<u64>,
    /// The file system of the data directory.
    pub disk: Option<Disk>,
    /// Tasks that exist and that may exist.
    pub pids: Option<(u64, u64)>,
}

impl Measure {
    /// Measures now.
    #[must_use]
    pub fn take(dir: &Path) -> Self {
        Self { memory: machine::meminfo("MemAvailable"), disk: machine::disk(dir), pids: machine::pids() }
    }

    /// What is scarce now. What is not known is not scarce.
    #[must_use]
    pub fn scarce(&self, limits: &Limits) -> Pressures<bool> {
        let percent = |part: u64, whole: u64| part.saturating_mul(100) / whole.max(1);
        let disk = self.disk.is_some_and(|disk| {
            let wanted = (disk.bytes / 100 * limits.disk_percent).min(limits.disk_enough);
            disk.available < wanted
                || (disk.inodes > 0 && percent(disk.inodes_free, disk.inodes) < limits.inodes_percent)
        });
        Pressures {
            memory: self.memory.is_some_and(|available| available < limits.memory),
            disk,
            pids: self
                .pids
                .is_some_and(|(now, most)| percent(most.saturating_sub(now), most) < limits.pids_percent),
        }
    }
}

/// One value for each of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pressures<T> {
    /// Memory.
    pub memory: T,
    /// Disk.
    pub disk: T,
    /// Process ids.
    pub pids: T,
}

/// Remembers pressures until they have been gone for a while.
#[derive(Debug, Default)]
pub struct Memory {
    last: Pressures<Option<Timestamp>>,
}

impl Memory {
    /// What to report now.
    pub fn report(
        &mut self,
        now: Timestamp,
        scarce: Pressures<bool>,
        settle: SignedDuration,
    ) -> Pressures<bool> {
        let one = |last: &mut Option<Timestamp>, scarce: bool| {
            if scarce {
                *last = Some(now);
            } else if last.is_some_and(|then| now.duration_since(then) >= settle) {
                *last = None;
            }
            last.is_some()
        };
        Pressures {
            memory: one(&mut self.last.memory, scarce.memory),
            disk: one(&mut self.last.disk, scarce.disk),
            pids: one(&mut self.last.pids, scarce.pids),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn with_disk(bytes: u64, available: u64) -> Measure {
        let disk = Disk { bytes, available, inodes: 100, inodes_free: 50 };
        Measure { memory: Some(GIB), disk: Some(disk), pids: Some((100, 1000)) }
    }

    #[test]
    fn a_large_disk_is_not_full_at_nine_per_cent_free() {
        let limits = Limits::default();
        assert!(!with_disk(1000 * GIB, 90 * GIB).scarce(&limits).disk);
        assert!(with_disk(1000 * GIB, GIB / 2).scarce(&limits).disk);
        assert!(with_disk(4 * GIB, GIB / 4).scarce(&limits).disk);
        let mut no_inodes = with_disk(1000 * GIB, 90 * GIB);
        no_inodes.disk = no_inodes.disk.map(|disk| Disk { inodes_free: 4, ..disk });
        assert!(no_inodes.scarce(&limits).disk);
    }

    #[test]
    fn memory_and_pids_have_their_limits() {
        let limits = Limits::default();
        let calm = with_disk(GIB, GIB);
        assert_eq!(calm.scarce(&limits), Pressures::default());
        assert!(Measure { memory: Some(50 << 20), ..calm }.scarce(&limits).memory);
        assert!(Measure { pids: Some((970, 1000)), ..calm }.scarce(&limits).pids);
        assert_eq!(Measure::default().scarce(&limits), Pressures::default());
    }

    #[test]
    fn a_pressure_is_reported_until_it_has_been_gone_for_a_while() {
        let at = |seconds: i64| Timestamp::from_second(1_700_000_000 + seconds).unwrap();
        let settle = SignedDuration::from_mins(5);
        let mut memory = Memory::default();
        let low = Pressures { memory: true, ..Pressures::default() };
        assert!(memory.report(at(0), low, settle).memory);
        assert!(memory.report(at(299), Pressures::default(), settle).memory);
        assert!(!memory.report(at(300), Pressures::default(), settle).memory);
        assert!(!memory.report(at(301), Pressures::default(), settle).memory);
    }
}
