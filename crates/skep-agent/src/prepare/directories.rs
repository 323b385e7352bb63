//! Directories of the node, and the end of what a machine forgets when it is started anew.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use crate::{Error, Result, files, layout::Layout, node::Node};

/// Names this boot of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Makes what is missing, and forgets what belonged to processes that no longer run.
pub(super) fn prepare(node: &Node) -> Result<()> {
    let layout = &node.layout;
    // Users in pods pass through it on their way to their files; it has nothing readable in it.
    let passable = fs::Permissions::from_mode(0o711);
    fs::set_permissions(layout.state(), passable).map_err(Error::file("open up", layout.state()))?;
    for (path, mode) in [
        (layout.config(""), 0o700),
        (layout.logs(), 0o700),
        (layout.kubelet(), 0o755),
        // Watched before the kubelet has written anything.
        (layout.kubelet().join("pki"), 0o700),
        (layout.pod_logs(), 0o755),
        (layout.containerd("root"), 0o711),
        (layout.containerd("state"), 0o711),
        (layout.containerd("tmp"), 0o700),
        (layout.containerd("opt"), 0o755),
        (layout.other_registries(), 0o755),
        (layout.runc(), 0o711),
        (layout.cni("conf"), 0o755),
        (layout.cni("bin"), 0o755),
        (layout.cni("data"), 0o755),
    ] {
        files::directory(&path, mode)?;
    }
    if let Some(directory) = layout.socket().parent() {
        files::directory(directory, 0o711)?;
    }
    let boot = fs::read_to_string(BOOT_ID).map_err(Error::file("read", BOOT_ID))?;
    let known = fs::read_to_string(layout.boot()).unwrap_or_default();
    if node.facts.isolated || known != boot {
        forget(layout)?;
        files::put(&layout.boot(), &boot, files::OPEN)?;
    }
    Ok(())
}

/// What on other machines lies in memory: of processes, of addresses in use. Nothing of the node runs now.
fn forget(layout: &Layout) -> Result<()> {
    files::empty(&layout.containerd("state"), 0o711)?;
    files::empty(&layout.containerd("tmp"), 0o700)?;
    files::empty(&layout.runc(), 0o711)?;
    files::empty(&layout.cni("data"), 0o755)
}

/// A place outside of our directory at which something is mounted: an empty directory is made when it is missing.
pub(super) fn mount_point(path: &Path) -> Result<()> {
    files::directory(path, 0o755)
}
