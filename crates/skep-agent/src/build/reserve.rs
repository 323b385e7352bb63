//! What is kept from pods, so that a node offers what its class says whatever the machine has.
//!
//! A kubelet reports the machine as capacity and offers `capacity - kubeReserved - systemReserved - evictionHard`
//! (`pkg/kubelet/cm/node_container_manager_linux.go`). What the machine has beyond its class goes into `systemReserved`, so
//! that what is offered is the class less the template's own reservation. A machine that has less offers less.

use std::collections::BTreeMap;

use crate::{config::Join, facts::Facts, quantity};

/// Upstream's thresholds (`pkg/kubelet/apis/config/v1beta1/defaults_linux.go`).
const UPSTREAM: [(&str, &str); 5] = [
    (MEMORY_AVAILABLE, "100Mi"),
    (DISK_AVAILABLE, "10%"),
    ("nodefs.inodesFree", "5%"),
    (IMAGES_AVAILABLE, "15%"),
    ("imagefs.inodesFree", "5%"),
];
const MEMORY_AVAILABLE: &str = "memory.available";
const DISK_AVAILABLE: &str = "nodefs.available";
const IMAGES_AVAILABLE: &str = "imagefs.available";

/// Amounts for a `KubeletConfiguration`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reserve {
    /// `systemReserved`.
    pub system: BTreeMap<&'static str, String>,
    /// `kubeReserved`.
    pub kube: BTreeMap<&'static str, String>,
    /// `evictionHard`.
    pub eviction: BTreeMap<String, String>,
}

/// What to keep on this machine.
pub(super) fn reserve(join: &Join, facts: &Facts) -> Reserve {
    let settings = &join.template.kubelet;
    let eviction = eviction(join, facts);
    let kept = |signal: &str, of: u64| eviction.get(signal).map_or(0, |threshold| amount(threshold, of));
    let wanted = |text: &str, number: fn(&str) -> Option<u64>| number(text).unwrap_or(u64::MAX);
    let cpu = (facts.cpus * 1000).saturating_sub(wanted(&join.capacity.cpu, quantity::milli));
    let memory = facts
        .memory
        .saturating_sub(wanted(&join.capacity.memory, quantity::units))
        .saturating_sub(kept(MEMORY_AVAILABLE, facts.memory));
    let disk = facts
        .disk
        .saturating_sub(wanted(&join.capacity.ephemeral_storage, quantity::units))
        .saturating_sub(kept(DISK_AVAILABLE, facts.disk));
    let mut system = BTreeMap::new();
    for (name, amount, unit) in [("cpu", cpu, "m"), ("memory", memory, ""), ("ephemeral-storage", disk, "")] {
        if amount > 0 {
            system.insert(name, format!("{amount}{unit}"));
        }
    }
    let own = [("cpu", &settings.reserved_cpu), ("memory", &settings.reserved_memory)];
    let kube = own.into_iter().filter_map(|(name, amount)| Some((name, amount.clone()?))).collect();
    Reserve { system, kube, eviction }
}

/// Upstream's thresholds, then the template's. Shares of a disk that others fill too would say nothing about this node: on
/// a shared machine they are shares of the class's disk.
fn eviction(join: &Join, facts: &Facts) -> BTreeMap<String, String> {
    let disk = quantity::units(&join.capacity.ephemeral_storage).unwrap_or(0);
    let threshold = |(signal, usual): (&str, &str)| {
        let of_class = facts.shared && [DISK_AVAILABLE, IMAGES_AVAILABLE].contains(&signal);
        let value = if of_class { amount(usual, disk).to_string() } else { usual.to_owned() };
        (signal.to_owned(), value)
    };
    let given = join.template.kubelet.eviction_hard.clone();
    UPSTREAM.into_iter().map(threshold).chain(given).collect()
}

/// A threshold as an amount: a quantity, or a share in per cent of `of`.
fn amount(threshold: &str, of: u64) -> u64 {
    match threshold.strip_suffix('%') {
        // In hundredths of a per cent.
        Some(share) => {
            let share = quantity::milli(share).unwrap_or(0);
            u64::try_from(u128::from(of) * u128::from(share) / 100_000).unwrap_or(u64::MAX)
        }
        None => quantity::units(threshold).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::testing::{facts, full_join, join, own_facts};

    /// What a kubelet would offer.
    fn offered(name: &str, total: u64, signal: &str, reserve: &Reserve) -> u64 {
        let kept =
            |map: &BTreeMap<&str, String>| map.get(name).map_or(0, |text| quantity::units(text).unwrap());
        let evicted = reserve.eviction.get(signal).map_or(0, |threshold| amount(threshold, total));
        total - kept(&reserve.system) - kept(&reserve.kube) - evicted
    }

    #[test]
    fn a_large_machine_offers_what_the_class_says() {
        let (join, facts) = (join(), facts());
        let reserve = reserve(&join, &facts);
        assert_eq!(offered("memory", facts.memory, MEMORY_AVAILABLE, &reserve), 4 << 30);
        assert_eq!(offered("ephemeral-storage", facts.disk, DISK_AVAILABLE, &reserve), 20 << 30);
        assert_eq!(reserve.system["cpu"], "6000m");
        assert_eq!(reserve.eviction[IMAGES_AVAILABLE], ((20_u64 << 30) * 15 / 100).to_string());
    }

    #[test]
    fn the_templates_reservation_comes_off() {
        let (join, facts) = (full_join(), facts());
        let reserve = reserve(&join, &facts);
        assert_eq!(offered("memory", facts.memory, MEMORY_AVAILABLE, &reserve), (4 << 30) - (512 << 20));
        assert_eq!(reserve.kube["cpu"], "250m");
        assert_eq!(
            (&*reserve.eviction[MEMORY_AVAILABLE], &*reserve.eviction["nodefs.inodesFree"]),
            ("200Mi", "3%")
        );
    }

    #[test]
    fn a_small_machine_offers_what_it_has() {
        let reserve = reserve(&join(), &own_facts());
        assert_eq!(reserve.system, BTreeMap::new());
        assert_eq!(reserve.eviction[DISK_AVAILABLE], "10%");
    }

    #[test]
    fn thresholds_are_amounts_or_shares() {
        assert_eq!(amount("10%", 1000), 100);
        assert_eq!(amount("2.5%", 1000), 25);
        assert_eq!(amount("1Ki", 1), 1024);
        assert_eq!(amount("nonsense", 1000), 0);
    }
}
