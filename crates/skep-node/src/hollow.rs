//! The credential of all hollow nodes of a cluster.
//!
//! Thousands of hollow nodes with a certificate each would be thousands of connections. They are all played by one process,
//! so they have one credential: a token of the ServiceAccount `kube-system/skep-hollow-nodes` in the tenant cluster. It is
//! asked for with the administrator's rights, is good for hours, is kept in memory only, and may do what hollow nodes do:
//! register nodes and report them, hold their leases, read pods that run, report them and remove those that were deleted.
//! No secrets, no workloads, nothing of anybody's authorization. Whoever deletes the account takes it back at once.
//!
//! The API server gives its requests the priority that kubelets have.
//!
//! It is wider than a kubelet's: it may report any pod and any node of that cluster. That is the price of one credential,
//! and whoever holds it (the operator) may do more in the cluster anyway.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::api::flowcontrol::v1::{
    FlowDistinguisherMethod, FlowSchema, FlowSchemaSpec, PolicyRulesWithSubjects,
    PriorityLevelConfigurationReference, ResourcePolicyRule, ServiceAccountSubject, Subject as FlowSubject,
};
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;
use skep_api::labels;
use skep_kubeops::{Applier, ClientConfig, Key};

use crate::tenants::{Connect, Credentials, Endpoint, kubeconfig_name};
use crate::{Error, NAME};

/// The account, and everything else of it.
const ACCOUNT: &str = "skep-hollow-nodes";
const NAMESPACE: &str = "kube-system";
const LEASES: &str = "kube-node-lease";
const RBAC: &str = "rbac.authorization.k8s.io";
/// How long a token is asked for; the API server may give less.
const LIFE: Duration = Duration::from_secs(12 * 3600);
/// User agent.
const AGENT: &str = "skep-hollow";

/// A client with the rights of a cluster's hollow nodes.
pub struct HollowClient {
    /// It.
    pub client: Client,
    /// After this long another one should be made.
    pub renew: Duration,
}

/// Makes the account, if it is not there, and a client with a new token of it.
///
/// # Errors
/// The hub or the cluster refused or could not be reached, or the cluster's kubeconfig cannot be used.
pub async fn client(
    hub: &Client,
    connect: &Connect,
    cluster: &Key,
    endpoint: &Endpoint,
) -> Result<HollowClient, Error> {
    let namespace = cluster.namespace.as_deref().unwrap_or_default();
    let key = Key::namespaced(namespace, kubeconfig_name(&cluster.name));
    let secret = Applier::new(hub.clone(), NAME).get::<Secret>(&key).await?;
    let secret = secret.ok_or_else(|| Error::NoKubeconfig { secret: key.clone() })?;
    let credentials = Credentials::read(&key, &secret, endpoint)?;
    let authorities = credentials.authorities.clone();
    let unusable = |reason: String| Error::Kubeconfig { secret: key.clone(), reason };
    let administrator = connect(credentials).await.map_err(unusable)?;
    prepare(&Applier::new(administrator.clone(), NAME), cluster).await?;
    let (token, renew) = token(administrator, cluster).await?;
    let config = kubeconfig(endpoint, &authorities, &token);
    let config = ClientConfig::from_yaml(&config).await.map_err(|error| unusable(error.to_string()))?;
    let client = config.build(AGENT).map_err(|error| unusable(error.to_string()))?;
    Ok(HollowClient { client, renew })
}

async fn prepare(tenant: &Applier, cluster: &Key) -> Result<(), Error> {
    let failed = |error| Error::tenant(cluster)(error);
    let (roles, role) = rules();
    let cluster_role = ClusterRole { metadata: meta(None), rules: Some(roles), ..ClusterRole::default() };
    let role = Role { metadata: meta(Some(LEASES)), rules: Some(role) };
    let subjects = Some(vec![Subject {
        kind: "ServiceAccount".to_owned(),
        name: ACCOUNT.to_owned(),
        namespace: Some(NAMESPACE.to_owned()),
        api_group: None,
    }]);
    let refers =
        |kind: &str| RoleRef { api_group: RBAC.to_owned(), kind: kind.to_owned(), name: ACCOUNT.to_owned() };
    let cluster_binding = ClusterRoleBinding {
        metadata: meta(None),
        role_ref: refers("ClusterRole"),
        subjects: subjects.clone(),
    };
    let binding = RoleBinding { metadata: meta(Some(LEASES)), role_ref: refers("Role"), subjects };
    let account = ServiceAccount { metadata: meta(Some(NAMESPACE)), ..ServiceAccount::default() };
    tenant.apply(&account).await.map_err(failed)?;
    tenant.apply(&cluster_role).await.map_err(failed)?;
    tenant.apply(&role).await.map_err(failed)?;
    tenant.apply(&cluster_binding).await.map_err(failed)?;
    tenant.apply(&binding).await.map_err(failed)?;
    for flow in flows() {
        tenant.apply(&flow).await.map_err(failed)?;
    }
    Ok(())
}

/// Which share of the API server serves the account: what keeps a node alive is served from that of kubelets' heartbeats,
/// everything else from that of nodes. Without them it is one of many accounts of `kube-system`, and its leases wait behind
/// the requests of scheduler and controllers.
///
/// The levels are upstream's for the group `system:nodes` (`system-node-high`, `system-nodes`, in
/// `k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap`). The precedences come before what would match accounts of `kube-system`:
/// `system-leader-election` (100, all leases but their patches) and `kube-system-service-accounts` (900).
fn flows() -> [FlowSchema; 2] {
    let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let rule = |group: &str, resources: &[&str], namespace: &str, cluster_scope: bool| ResourcePolicyRule {
        api_groups: texts(&[group]),
        resources: texts(resources),
        verbs: texts(&["*"]),
        namespaces: (!namespace.is_empty()).then(|| texts(&[namespace])),
        cluster_scope: Some(cluster_scope),
    };
    let flow = |name: &str, precedence: i32, level: &str, rules: Vec<ResourcePolicyRule>| FlowSchema {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..meta(None) },
        spec: Some(FlowSchemaSpec {
            distinguisher_method: Some(FlowDistinguisherMethod { type_: "ByUser".to_owned() }),
            matching_precedence: Some(precedence),
            priority_level_configuration: PriorityLevelConfigurationReference { name: level.to_owned() },
            rules: Some(vec![PolicyRulesWithSubjects {
                non_resource_rules: None,
                resource_rules: Some(rules),
                subjects: vec![FlowSubject {
                    kind: "ServiceAccount".to_owned(),
                    service_account: Some(ServiceAccountSubject {
                        name: ACCOUNT.to_owned(),
                        namespace: NAMESPACE.to_owned(),
                    }),
                    ..FlowSubject::default()
                }],
            }]),
        }),
        status: None,
    };
    let alive = vec![
        rule("", &["nodes", "nodes/status"], "", true),
        rule("coordination.k8s.io", &["leases"], LEASES, false),
    ];
    [
        flow("skep-hollow-nodes-high", 90, "node-high", alive),
        flow(ACCOUNT, 510, "system", vec![rule("*", &["*"], "*", true)]),
    ]
}

/// What the account may do everywhere, and in the namespace of leases.
fn rules() -> (Vec<PolicyRule>, Vec<PolicyRule>) {
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| {
        let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        PolicyRule {
            api_groups: Some(texts(&[group])),
            resources: Some(texts(resources)),
            verbs: texts(verbs),
            ..PolicyRule::default()
        }
    };
    let everywhere = vec![
        rule("", &["nodes"], &["create", "get", "list", "watch", "patch"]),
        rule("", &["nodes/status", "pods/status"], &["patch"]),
        rule("", &["pods"], &["get", "list", "watch", "delete"]),
    ];
    (everywhere, vec![rule("coordination.k8s.io", &["leases"], &["create", "get", "patch"])])
}

fn meta(namespace: Option<&str>) -> ObjectMeta {
    let managed = [(labels::MANAGED_BY.to_owned(), labels::MANAGED_BY_SKEP.to_owned())];
    ObjectMeta {
        name: Some(ACCOUNT.to_owned()),
        namespace: namespace.map(str::to_owned),
        labels: Some(BTreeMap::from(managed)),
        ..ObjectMeta::default()
    }
}

/// A new token, and after how long it should be replaced: two thirds of its life.
async fn token(administrator: Client, cluster: &Key) -> Result<(String, Duration), Error> {
    let api: Api<ServiceAccount> = Api::namespaced(administrator, NAMESPACE);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            expiration_seconds: i64::try_from(LIFE.as_secs()).ok(),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let key = Key::namespaced(NAMESPACE, ACCOUNT);
    let failed = |error| {
        Error::tenant(cluster)(skep_kubeops::Error::api::<ServiceAccount>("ask a token of", &key, error))
    };
    let answer = api.create_token_request(ACCOUNT, &PostParams::default(), &request).await.map_err(failed)?;
    let status =
        answer.status.ok_or_else(|| Error::NotSeen(format!("a token of {key} in cluster {cluster}")))?;
    let life = status.expiration_timestamp.0.duration_since(Timestamp::now()).unsigned_abs();
    Ok((status.token, life * 2 / 3))
}

fn kubeconfig(endpoint: &Endpoint, authorities: &str, token: &str) -> String {
    let name = "hollow";
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": name,
        "clusters": [{"name": name, "cluster": {
            "server": endpoint.server, "tls-server-name": endpoint.host,
            "certificate-authority-data": ByteString(authorities.as_bytes().to_vec()),
        }}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_may_not_read_secrets_or_change_rights() {
        let (everywhere, leases) = rules();
        let resources: Vec<_> = everywhere
            .iter()
            .chain(&leases)
            .flat_map(|rule| rule.resources.clone().unwrap_or_default())
            .collect();
        assert_eq!(resources, ["nodes", "nodes/status", "pods/status", "pods", "leases"]);
        assert!(everywhere.iter().all(|rule| !rule.verbs.iter().any(|verb| verb == "*")));
    }
}
