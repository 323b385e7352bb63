//! Configuration files of the API server that hold nothing secret and are the same for every tenant.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use skep_api::ControlPlane;
use skep_plan::{egress, flags::Program};

use crate::names;

/// File names in the ConfigMap.
pub(super) const AUDIT_POLICY: &str = "audit-policy.yaml";
pub(super) const EGRESS: &str = "egress.yaml";
pub(super) const AUTHENTICATION: &str = "authentication.yaml";

/// Who did what, without what was said: request bodies never reach the log, so that it holds no Secret. Reads of the
/// control plane's own programs and health checks would be nine tenths of it and say nothing.
const AUDIT_POLICY_TEXT: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages:
- RequestReceived
omitManagedFields: true
rules:
- level: None
  nonResourceURLs: ['/healthz*', '/livez*', '/readyz*', '/version', '/metrics', '/openapi/*', '/api', '/api/*', '/apis', '/apis/*']
  verbs: [get]
- level: None
  users: ['system:apiserver']
- level: None
  users: ['system:kube-controller-manager', 'system:kube-scheduler']
  verbs: [get, list, watch]
- level: None
  userGroups: ['system:serviceaccounts:kube-system', 'system:nodes']
  verbs: [get, list, watch]
- level: None
  verbs: [create, update, patch]
  resources:
  - group: coordination.k8s.io
    resources: [leases]
- level: None
  resources:
  - group: ''
    resources: [events]
  - group: events.k8s.io
    resources: [events]
- level: Metadata
";

/// A cluster without nodes has no network to reach: what is meant for it (webhooks and extension API servers behind
/// Services, kubelets) fails at once and by name, and no packet for a Service address leaves the machine by its default
/// route. The socket cannot exist: nobody can create it in a read-only root file system.
const NO_NODES: &str = "/skep/this-cluster-has-no-nodes";

/// Without a credential one may ask whether the server is alive, and nothing else.
const AUTHENTICATION_TEXT: &str = "\
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous:
  enabled: true
  conditions:
  - path: /livez
  - path: /readyz
  - path: /healthz
";

/// The ConfigMap with all of them.
pub(super) fn config(owner: &ControlPlane) -> ConfigMap {
    let egress = egress::through(NO_NODES);
    let data =
        [(AUDIT_POLICY, AUDIT_POLICY_TEXT), (EGRESS, egress.as_str()), (AUTHENTICATION, AUTHENTICATION_TEXT)];
    ConfigMap {
        metadata: names::meta(owner, Program::KubeApiserver.name()),
        data: Some(names::map(data)),
        ..ConfigMap::default()
    }
}

/// The texts, for a digest: the API server reads most of them only once.
pub(super) fn texts(config: &ConfigMap) -> Vec<&str> {
    config.data.iter().flat_map(BTreeMap::values).map(String::as_str).collect()
}
