//! Signs that a node will fail.

use k8s_openapi::jiff::Timestamp;

use super::{HOUR, since};

/// Conditions that say of a node, when `True`, that it will fail or is of no use any more: those of node-problem-detector's
/// own monitors (its `config/`: kernel, systemd, health checker), and the two names that plug-ins for disks and memory are
/// best given.
const SIGNS: [&str; 13] = [
    "KernelDeadlock",
    "ReadonlyFilesystem",
    "XfsShutdown",
    "CperHardwareErrorFatal",
    "FrequentKubeletRestart",
    "FrequentContainerdRestart",
    "FrequentDockerRestart",
    "FrequentUnregisterNetDevice",
    "KubeletUnhealthy",
    "ContainerRuntimeUnhealthy",
    "CorruptDockerOverlay2",
    "DiskErrors",
    "MemoryErrors",
];
/// Times that a node stops being ready in an hour that are a sign: as often as node-problem-detector lets a kubelet restart
/// (`--count=5` of its systemd monitors).
pub const FLAPS: usize = 5;

/// Whether a condition of a node, when `True`, says that the node will fail.
pub fn is_failure_sign(condition: &str) -> bool {
    SIGNS.contains(&condition)
}

/// How often a node has stopped being ready in the hour before `now`.
pub(super) fn flaps(stops: &[Timestamp], now: Timestamp) -> usize {
    stops.iter().filter(|stop| **stop <= now && since(**stop, now) < HOUR).count()
}
