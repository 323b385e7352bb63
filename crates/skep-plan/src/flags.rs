//! Which extra flags a cluster or a profile may set.
//!
//! Refused are flags that Skep sets itself (two owners of one flag lose data or safety), and flags that name a file,
//! a directory, a socket or a listening address: those belong to the machine of the control plane, not to the tenant.
//! Everything else is upstream's business: a flag that upstream does not know stops the new copy of the program, never
//! the old one, and shows up as a condition.

use skep_api::labels::component;
use skep_api::resources::Flag;

use crate::{Refusal, Refused};

/// A program of a control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Program {
    /// kube-apiserver.
    KubeApiserver,
    /// kube-controller-manager.
    KubeControllerManager,
    /// kube-scheduler.
    KubeScheduler,
}

impl Program {
    /// All of them, in the order they are rolled out.
    pub const ALL: [Self; 3] = [Self::KubeApiserver, Self::KubeControllerManager, Self::KubeScheduler];

    /// Name of the binary, the container, the Deployment and the component label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KubeApiserver => component::API_SERVER,
            Self::KubeControllerManager => component::CONTROLLER_MANAGER,
            Self::KubeScheduler => component::SCHEDULER,
        }
    }

    /// Flags that only Skep sets.
    fn own(self) -> &'static [&'static str] {
        match self {
            Self::KubeApiserver => API_SERVER,
            Self::KubeControllerManager => CONTROLLER_MANAGER,
            Self::KubeScheduler => SCHEDULER,
        }
    }
}

impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that ends in `*` stands for everything that begins with what is before it.
const API_SERVER: &[&str] = &[
    "advertise-address",
    "allow-privileged",
    "anonymous-auth",
    "audit-*",
    "authentication-config",
    "authorization-mode",
    "bind-address",
    "client-ca-file",
    "enable-admission-plugins",
    "enable-aggregator-routing",
    "enable-bootstrap-token-auth",
    "encryption-provider-config*",
    "endpoint-reconciler-type",
    "etcd-*",
    "external-hostname",
    "kubelet-certificate-authority",
    "kubelet-client-*",
    "kubelet-preferred-address-types",
    "kubernetes-service-node-port",
    "max-mutating-requests-inflight",
    "max-requests-inflight",
    "permit-*",
    "profiling",
    "proxy-client-*",
    "requestheader-*",
    "secure-port",
    "service-account-issuer",
    "service-account-key-file",
    "service-account-signing-*",
    "service-cluster-ip-range",
    "shutdown-*",
    "storage-backend",
    "tls-cert-file",
    "tls-private-key-file",
    "tls-sni-cert-key",
];

const CONTROLLER_MANAGER: &[&str] = &[
    "allocate-node-cidrs",
    "authentication-*",
    "authorization-*",
    "bind-address",
    "client-ca-file",
    "cloud-provider",
    "cluster-cidr",
    "cluster-signing-*",
    "configure-cloud-routes",
    "controllers",
    "kubeconfig",
    "leader-elect*",
    "master",
    "permit-*",
    "profiling",
    "requestheader-*",
    "root-ca-file",
    "secure-port",
    "service-account-private-key-file",
    "service-cluster-ip-range",
    "tls-cert-file",
    "tls-private-key-file",
    "tls-sni-cert-key",
    "use-service-account-credentials",
];

const SCHEDULER: &[&str] = &[
    "authentication-*",
    "authorization-*",
    "bind-address",
    "client-ca-file",
    "config",
    "kubeconfig",
    "leader-elect*",
    "master",
    "permit-*",
    "profiling",
    "requestheader-*",
    "secure-port",
    "tls-cert-file",
    "tls-private-key-file",
    "tls-sni-cert-key",
    "write-config-to",
];

/// Endings of flags that name something on the machine.
const MACHINE: &[&str] =
    &["-file", "-files", "-dir", "-path", "-socket", "-endpoint", "-socket-path", "-manifest"];

/// Why the flag may not be set; `None` when it may.
pub fn refuses(program: Program, name: &str) -> Option<&'static str> {
    refuses_beside(program.own(), name)
}

/// The same for a program of which Skep sets the flags `own`; a name that ends in `*` stands for all that begin so.
pub fn refuses_beside(own: &[&str], name: &str) -> Option<&'static str> {
    let owned = own.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => *pattern == name,
    });
    if owned {
        Some("Skep sets it itself; remove it from flags")
    } else if MACHINE.iter().any(|end| name.ends_with(end)) {
        Some(
            "it names a file, directory or socket of the machine the control plane runs on; remove it from flags",
        )
    } else {
        None
    }
}

/// Flags of a profile with a cluster's own on top, ordered by name; or every refused one.
pub(crate) fn merge(
    program: Program,
    profile: Option<(&str, &[Flag])>,
    own: &[Flag],
) -> Result<Vec<Flag>, Refused> {
    let (name, defaults) = profile.unwrap_or_default();
    let sources = defaults.iter().map(|flag| (Some(name), flag)).chain(own.iter().map(|flag| (None, flag)));
    let mut merged = std::collections::BTreeMap::new();
    let mut refused = Vec::new();
    for (by, flag) in sources {
        match refuses(program, &flag.name) {
            Some(why) => refused.push(Refusal::FlagNotAllowed {
                program: program.name(),
                flag: flag.name.clone(),
                by: by.map(str::to_owned),
                why,
            }),
            None => {
                merged.insert(flag.name.clone(), flag.clone());
            }
        }
    }
    Refused::unless_empty(refused, merged.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(name: &str, value: &str) -> Flag {
        Flag { name: name.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn a_clusters_flag_wins_over_its_profiles() {
        let profile = [flag("event-ttl", "1h"), flag("v", "1")];
        let own = [flag("v", "4"), flag("goaway-chance", "0.001")];
        let merged = merge(Program::KubeApiserver, Some(("standard", &profile)), &own);
        assert_eq!(merged, Ok(vec![flag("event-ttl", "1h"), flag("goaway-chance", "0.001"), flag("v", "4")]));
    }

    #[test]
    fn flags_that_reach_the_machine_are_refused() {
        for name in [
            "etcd-servers",
            "audit-log-path",
            "token-auth-file",
            "cert-dir",
            "debug-socket-path",
            "tls-cert-file",
        ] {
            assert!(refuses(Program::KubeApiserver, name).is_some(), "{name}");
        }
        for name in ["flex-volume-plugin-dir", "kubeconfig", "leader-elect-lease-duration", "cloud-provider"]
        {
            assert!(refuses(Program::KubeControllerManager, name).is_some(), "{name}");
        }
        for name in ["config", "write-config-to", "tracing-config-file"] {
            assert!(refuses(Program::KubeScheduler, name).is_some(), "{name}");
        }
        for name in
            ["event-ttl", "feature-gates", "runtime-config", "oidc-issuer-url", "tls-min-version", "v"]
        {
            assert_eq!(refuses(Program::KubeApiserver, name), None, "{name}");
        }
    }

    #[test]
    fn all_refused_flags_are_named_at_once_with_who_asked() {
        let refused = merge(
            Program::KubeApiserver,
            Some(("edge", &[flag("etcd-prefix", "/")])),
            &[flag("profiling", "true"), flag("v", "2")],
        );
        let text: Vec<String> = refused.unwrap_err().all().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "flag --etcd-prefix of kube-apiserver (asked for by cluster profile \"edge\") cannot be set: \
                 Skep sets it itself; remove it from flags",
                "flag --profiling of kube-apiserver cannot be set: Skep sets it itself; remove it from flags",
            ]
        );
    }
}
