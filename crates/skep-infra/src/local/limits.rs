//! What a machine may use of the host, from its class.

use serde::{Deserialize, Serialize};
use skep_api::machine_class::MachineCapacity;

/// Processes of a machine besides those of pods: its own programs and their threads, which the kernel counts alike.
const OWN_PIDS: u64 = 4096;
/// Processes and threads per pod; upstream's kubelet sets no limit of its own, so a pod may take all of its machine's.
const PIDS_PER_POD: u64 = 1024;
/// Largest number the kernel knows (`PID_MAX_LIMIT` of `linux/threads.h`).
const MAX_PIDS: u64 = 4 << 20;
/// The least a machine can start with.
const LEAST_MEMORY: u64 = 64 << 20;
const LEAST_CPU: u64 = 50;

/// Limits of a machine.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Limits {
    /// Thousandths of a processor.
    pub cpu_milli: u64,
    /// Memory in bytes, page cache included.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
}

impl Limits {
    /// Limits for a capacity, or what is wrong with it.
    pub(super) fn of(capacity: &MachineCapacity) -> Result<Self, String> {
        let cpu_milli = scaled(&capacity.cpu, 1000)
            .ok_or_else(|| format!("its class has cpu {:?}, which is no quantity", capacity.cpu))?;
        let memory_bytes = scaled(&capacity.memory, 1)
            .ok_or_else(|| format!("its class has memory {:?}, which is no quantity", capacity.memory))?;
        if memory_bytes < LEAST_MEMORY {
            return Err(format!("its class has memory {}, and 64Mi are the least", capacity.memory));
        }
        if cpu_milli < LEAST_CPU {
            return Err(format!("its class has cpu {}, and 50m are the least", capacity.cpu));
        }
        let pods = u64::try_from(capacity.pods).unwrap_or(0);
        let pids = (OWN_PIDS + pods.saturating_mul(PIDS_PER_POD)).min(MAX_PIDS);
        Ok(Self { cpu_milli, memory_bytes, pids })
    }
}

/// A quantity as the schema allows it ([`skep_api::resources::QUANTITY`]) in parts of `unit`, rounded up.
fn scaled(text: &str, unit: u128) -> Option<u64> {
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = [whole, fraction].concat();
    if whole.is_empty() || digits.len() > 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (multiplier, divisor): (u128, u128) = match suffix {
        "" => (1, 1),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        _ => return None,
    };
    let divisor = divisor.checked_mul(10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    let amount = digits.parse::<u128>().ok()?.checked_mul(multiplier)?.checked_mul(unit)?;
    u64::try_from(amount.div_ceil(divisor)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn capacity(cpu: &str, memory: &str) -> MachineCapacity {
        MachineCapacity {
            cpu: cpu.into(),
            memory: memory.into(),
            ephemeral_storage: "10Gi".into(),
            pods: 110,
        }
    }

    #[test]
    fn a_class_becomes_limits() {
        let limits = Limits::of(&capacity("1.5", "1.5Gi")).unwrap();
        assert_eq!(limits, Limits { cpu_milli: 1500, memory_bytes: 1_610_612_736, pids: 4096 + 110 * 1024 });
        assert_eq!(Limits::of(&capacity("500m", "128M")).unwrap().memory_bytes, 128_000_000);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let refused = |cpu, memory| Limits::of(&capacity(cpu, memory)).unwrap_err();
        assert_eq!(refused("many", "1Gi"), "its class has cpu \"many\", which is no quantity");
        assert_eq!(refused("1", "1Xi"), "its class has memory \"1Xi\", which is no quantity");
        assert_eq!(refused("1", "1Mi"), "its class has memory 1Mi, and 64Mi are the least");
        assert_eq!(refused("1m", "1Gi"), "its class has cpu 1m, and 50m are the least");
    }

    proptest! {
        #[test]
        fn noise_never_panics(text in "\\PC{0,24}") {
            let _ = scaled(&text, 1000);
        }

        #[test]
        fn parts_are_rounded_up(n in 0_u64..1_000_000_000) {
            prop_assert_eq!(scaled(&format!("{n}m"), 1000), Some(n));
            prop_assert_eq!(scaled(&format!("{n}m"), 1), Some(n.div_ceil(1000)));
            prop_assert_eq!(scaled(&format!("{n}Ki"), 1), Some(n * 1024));
        }
    }
}
