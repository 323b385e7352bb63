//! Configuration files of the API server that hold nothing secret and are the same for every tenant.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use skep_api::ControlPlane;
use skep_plan::{egress::tunnel, flags::Program};

use super::Inputs;
use crate::names;
use crate::pki::{DOOR_AUTHORITIES, TUNNEL_CLIENT};

/// File names in the ConfigMap.
pub(super) const AUDIT_POLICY: &str = "audit-policy.yaml";
const EGRESS: &str = "egress.yaml";
const EGRESS_BY_DOOR: &str = "egress-by-door.yaml";
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

/// Name of the egress configuration for the version that is to run.
pub(super) fn egress(owner: &ControlPlane) -> &'static str {
    let named = owner.spec.version.parse().is_ok_and(|version| tunnel::knows_server_names(&version));
    if named { EGRESS } else { EGRESS_BY_DOOR }
}

/// Everything meant for the inside of the cluster (webhooks and extension API servers behind Services, kubelets) goes to
/// the gateway's tunnels, and no packet for a Service address leaves the machine by its default route. A cluster without
/// nodes hears at once that it has none.
///
/// The server name is the tenant's id: it never changes, a host might. Paths count from the program's working directory,
/// the directory with its keys: pods that are processes of a host see it somewhere else, and a path inside a file is out of
/// anybody's reach.
fn egress_text(inputs: &Inputs<'_>, by_door: bool) -> String {
    let name = tunnel::server_name(&inputs.owner.spec.tenant);
    let authorities = if by_door { DOOR_AUTHORITIES } else { "ca.crt" };
    tunnel::through(&tunnel::Way {
        gateway: &inputs.cell.gateway,
        server_name: (!by_door).then_some(name.as_str()),
        authorities,
        cert: &format!("{TUNNEL_CLIENT}.crt"),
        key: &format!("{TUNNEL_CLIENT}.key"),
    })
}

/// The ConfigMap with all of them. Both egress configurations are always there: in an upgrade an API server of the older
/// version may start once more, and would refuse the newer file.
pub(super) fn config(inputs: &Inputs<'_>) -> ConfigMap {
    let owner = inputs.owner;
    let (by_name, by_door) = (egress_text(inputs, false), egress_text(inputs, true));
    let data = [
        (AUDIT_POLICY, AUDIT_POLICY_TEXT),
        (EGRESS, by_name.as_str()),
        (EGRESS_BY_DOOR, by_door.as_str()),
        (AUTHENTICATION, AUTHENTICATION_TEXT),
    ];
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
