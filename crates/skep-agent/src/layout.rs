//! Where everything lies.
//!
//! What the agent and its programs write is below one directory. Kubelet, container runtime and the drivers that people
//! install know each other by usual paths (`/var/lib/kubelet`, `/var/log/pods`); the directories below ours are mounted
//! there, so that those paths are right and the data is ours all the same.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The kubelet's usual root: CSI and device plugins know no other.
pub(crate) const KUBELET: &str = "/var/lib/kubelet";
/// Where pods' logs are for kubelet and log collectors.
pub(crate) const POD_LOGS: &str = "/var/log/pods";
/// Where a CNI of somebody else puts its configuration and its programs.
pub(crate) const FOREIGN_CNI_CONFIG: &str = "/etc/cni/net.d";
/// See [`FOREIGN_CNI_CONFIG`].
pub(crate) const FOREIGN_CNI_PROGRAMS: &str = "/opt/cni/bin";

/// Longest path of a socket: `sun_path` has 108 bytes with the zero at the end (unix(7)).
const SOCKET_PATH: usize = 107;
/// containerd appends this to the path of its socket for its second one.
const SECOND_SOCKET: &str = ".ttrpc";

/// Paths of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    state: PathBuf,
}

impl Layout {
    /// The layout below this directory.
    pub(crate) fn new(state: &Path) -> Self {
        Self { state: state.to_owned() }
    }

    /// The directory itself.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// Boot of the machine in which the runtime's state was last used.
    pub(crate) fn boot(&self) -> PathBuf {
        self.state.join("boot")
    }

    /// There once the node was seen in its cluster.
    pub(crate) fn joined(&self) -> PathBuf {
        self.state.join("joined")
    }

    /// Configuration that the agent writes.
    pub(crate) fn config(&self, name: &str) -> PathBuf {
        self.state.join("etc").join(name)
    }

    /// Settings of containerd.
    pub(crate) fn containerd_config(&self) -> PathBuf {
        self.config("containerd.toml")
    }

    /// Settings of the kubelet.
    pub(crate) fn kubelet_config(&self) -> PathBuf {
        self.config("kubelet.json")
    }

    /// Settings of kube-proxy.
    pub(crate) fn kube_proxy_config(&self) -> PathBuf {
        self.config("kube-proxy.json")
    }

    /// Kubeconfig with the bootstrap token.
    pub(crate) fn bootstrap_kubeconfig(&self) -> PathBuf {
        self.config("bootstrap.kubeconfig")
    }

    /// Kubeconfig with the node's own certificate, for kube-proxy and the agent.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.config("kubeconfig")
    }

    /// The cluster's certificate authorities.
    pub(crate) fn authorities(&self) -> PathBuf {
        self.config("cluster-ca.pem")
    }

    /// `resolv.conf` for pods that want the node's, where the machine's own is of no use.
    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.config("resolv.conf")
    }

    /// Something of containerd's: `root`, `state` …
    pub(crate) fn containerd(&self, part: &str) -> PathBuf {
        self.state.join("containerd").join(part)
    }

    /// Below it every registry may have a directory with a `hosts.toml`; `_default` is for all others.
    pub(crate) fn registries(&self) -> PathBuf {
        self.containerd("certs.d")
    }

    /// For all registries that have no directory of their own.
    pub(crate) fn other_registries(&self) -> PathBuf {
        self.registries().join("_default")
    }

    /// State of runc.
    pub(crate) fn runc(&self) -> PathBuf {
        self.state.join("runc")
    }

    /// containerd's socket: below the directory, or where that is too long, in a short one of its own.
    pub(crate) fn socket(&self) -> PathBuf {
        let usual = self.containerd("containerd.sock");
        if usual.as_os_str().len() + SECOND_SOCKET.len() <= SOCKET_PATH {
            return usual;
        }
        let digest = Sha256::digest(self.state.as_os_str().as_encoded_bytes());
        let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Path::new("/run/skep").join(name).join("containerd.sock")
    }

    /// Something of the CNI plugins': `conf`, `data` …
    pub(crate) fn cni(&self, part: &str) -> PathBuf {
        self.state.join("cni").join(part)
    }

    /// The network configuration of pods.
    pub(crate) fn cni_config(&self) -> PathBuf {
        self.cni("conf").join("10-skep.conflist")
    }

    /// What is mounted at [`KUBELET`].
    pub(crate) fn kubelet(&self) -> PathBuf {
        self.state.join("kubelet")
    }

    /// The kubelet's own kubeconfig, as it sees it.
    pub(crate) fn kubelet_kubeconfig(&self) -> PathBuf {
        Path::new(KUBELET).join("kubeconfig")
    }

    /// Where the kubelet keeps its certificates.
    pub(crate) fn certificates(&self) -> PathBuf {
        Path::new(KUBELET).join("pki")
    }

    /// Certificate and key of the node, once it has joined; a link that changes with every rotation.
    pub(crate) fn client_certificate(&self) -> PathBuf {
        self.certificates().join("kubelet-client-current.pem")
    }

    /// What is mounted at [`POD_LOGS`].
    pub(crate) fn pod_logs(&self) -> PathBuf {
        self.state.join("pod-logs")
    }

    /// Logs of the programs.
    pub(crate) fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// Everything below the directory that a node has, whoever writes it; the token and the key among it first.
    pub(crate) fn all(&self) -> Vec<PathBuf> {
        let socket = self.socket();
        let short = socket.parent().filter(|parent| !parent.starts_with(&self.state)).map(Path::to_owned);
        [
            "invitation",
            "invitation.new",
            "etc",
            "kubelet",
            "joined",
            "boot",
            "pod-logs",
            "containerd",
            "runc",
            "cni",
            "logs",
            "lock",
        ]
        .into_iter()
        .map(|name| self.state.join(name))
        .chain(short)
        .collect()
    }

    /// Log of one program.
    pub(crate) fn log(&self, program: &str) -> PathBuf {
        self.logs().join(format!("{program}.log"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_node_is_forgotten() {
        let layout = Layout::new(Path::new("/var/lib/skep"));
        let all = layout.all();
        let known = [
            layout.boot(),
            layout.joined(),
            layout.config("x"),
            layout.containerd("root"),
            layout.runc(),
            layout.cni("conf"),
            layout.kubelet(),
            layout.pod_logs(),
            layout.log("kubelet"),
            layout.socket(),
        ];
        for path in known {
            assert!(all.iter().any(|one| path.starts_with(one)), "{}", path.display());
        }
        let long = Layout::new(Path::new(&format!("/{}", "x".repeat(150))));
        assert!(long.all().iter().any(|one| long.socket().starts_with(one)));
    }

    #[test]
    fn sockets_always_fit() {
        let short = Layout::new(Path::new("/var/lib/skep/node"));
        assert_eq!(short.socket(), Path::new("/var/lib/skep/node/containerd/containerd.sock"));
        for length in 1..200 {
            let layout = Layout::new(Path::new(&format!("/{}", "x".repeat(length))));
            let socket = layout.socket();
            assert!(socket.as_os_str().len() + SECOND_SOCKET.len() <= SOCKET_PATH, "{}", socket.display());
            let other = Layout::new(Path::new(&format!("/{}y", "x".repeat(length))));
            assert_ne!(other.socket(), socket, "two nodes must not meet");
        }
    }
}
