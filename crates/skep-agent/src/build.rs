//! The files that containerd, kubelet, kube-proxy and the CNI plugins read. Pure: from what the agent was told and found
//! out to text.

mod cni;
mod containerd;
mod kube_proxy;
mod kubeconfig;
mod kubelet;
mod labels;
mod masquerade;
mod reserve;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use cni::{BRIDGE, conflist};
pub(crate) use containerd::{containerd, registries};
pub(crate) use kube_proxy::kube_proxy;
pub(crate) use kubeconfig::{bootstrap, joined};
pub(crate) use kubelet::{HEALTHZ, arguments, kubelet};
pub(crate) use masquerade::{CHAIN, TABLE, iptables, nftables};

use serde_json::Value;

/// JSON as text for a file. All of these programs read YAML, of which it is a part.
fn text(value: &Value) -> String {
    format!("{value:#}\n")
}
