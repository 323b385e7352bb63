//! Writes the configuration of all programs.

use crate::{Result, build, files, node::Node};

/// Brings all configuration up to date. What depends on the node's own Node object comes later.
pub(super) fn configuration(node: &Node) -> Result<()> {
    let Node { join, host, layout, facts, checked, .. } = node;
    for (path, content, mode) in [
        (layout.authorities(), join.cluster.authorities.clone(), files::OPEN),
        (layout.resolv_conf(), String::new(), files::OPEN),
        (layout.bootstrap_kubeconfig(), build::bootstrap(join, layout), files::SECRET),
        (layout.kubeconfig(), build::joined(join, layout), files::SECRET),
        (layout.kubelet_config(), build::kubelet(join, host, layout, facts), files::OPEN),
        (layout.kube_proxy_config(), build::kube_proxy(join, layout, facts), files::OPEN),
        (
            layout.containerd_config(),
            build::containerd(join, host, layout, facts, &checked.runtimes),
            files::OPEN,
        ),
    ] {
        files::put(&path, &content, mode)?;
    }
    if let Some(registry) = &join.registry {
        files::put(&layout.other_registries().join("hosts.toml"), &build::registries(registry), files::OPEN)?;
    }
    Ok(())
}
