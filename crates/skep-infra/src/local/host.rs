//! What the host allows all machines together.

use std::{fs, path::Path};

use super::hands::Hands;

/// Watches of files that one user may have open: everything here is root's. Linux allows 128, and a machine takes about ten
/// (its kubelet five, containerd two, kube-proxy and agent one each), a tenant's control plane as many: the twelfth machine
/// would end with "too many open files". A watch that nobody opens costs nothing.
const INOTIFY_INSTANCES: (&str, u32) = ("/proc/sys/fs/inotify/max_user_instances", 8192);

/// Raises what is too low, and never lowers anything. Where that may not be done, machines come up until the limit is met.
pub(super) fn widen(hands: &Hands) {
    let (path, least) = INOTIFY_INSTANCES;
    let path = Path::new(path);
    let allowed = fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok());
    if allowed.is_none_or(|allowed| allowed >= least) {
        return;
    }
    match hands.set(path, &least.to_string()) {
        Ok(()) => tracing::info!(was = allowed, now = least, "raised fs.inotify.max_user_instances"),
        Err(error) => tracing::warn!(%error, "many machines need more inotify instances"),
    }
}
