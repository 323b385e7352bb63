//! The kinds the fake knows: a table of built-in ones, and whatever CRDs add.

use serde_json::Value;

/// How the elements of a list belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListType {
    /// The list is one value.
    Atomic,
    /// Each element is its own key.
    Set,
    /// Elements are found by these fields.
    Map(Vec<String>),
}

/// One served resource.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
    pub(crate) status: bool,
    pub(crate) generation: bool,
    /// The CRD's schema, for pruning, defaults and list types.
    pub(crate) schema: Option<Value>,
}

impl Kind {
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `pods`, `clusters.skep.dev`: as messages name it, and the key of the store.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The type of the list at a path of field names (`[]` for any element).
    pub(crate) fn list_type(&self, path: &[&str]) -> ListType {
        if path.first() == Some(&"metadata") || self.schema.is_none() {
            return built_in_list(path);
        }
        self.schema.as_ref().and_then(|schema| schema_list(schema, path)).unwrap_or(ListType::Atomic)
    }
}

fn schema_list(schema: &Value, path: &[&str]) -> Option<ListType> {
    let mut node = schema;
    for part in path {
        node = match *part {
            "[]" => node.get("items")?,
            field => node
                .get("properties")
                .and_then(|p| p.get(field))
                .or_else(|| node.get("additionalProperties"))?,
        };
    }
    match node.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => Some(ListType::Set),
        Some("map") => {
            let keys = node.get("x-kubernetes-list-map-keys")?.as_array()?;
            Some(ListType::Map(keys.iter().filter_map(Value::as_str).map(Into::into).collect()))
        }
        _ => Some(ListType::Atomic),
    }
}

/// The associative lists of the built-in types that Skep writes, by the name of the field
/// (`k8s.io/api`, markers `+listType` and `+listMapKey`).
fn built_in_list(path: &[&str]) -> ListType {
    let map = |keys: &[&str]| ListType::Map(keys.iter().map(|key| (*key).to_owned()).collect());
    let inside = |field: &str| path.contains(&field);
    match *path.last().unwrap_or(&"") {
        "finalizers" => ListType::Set,
        "ownerReferences" => map(&["uid"]),
        "conditions" => map(&["type"]),
        "containers" | "initContainers" | "ephemeralContainers" | "env" | "volumes" | "imagePullSecrets" => {
            map(&["name"])
        }
        "volumeMounts" => map(&["mountPath"]),
        "volumeDevices" => map(&["devicePath"]),
        "hostAliases" => map(&["ip"]),
        "topologySpreadConstraints" => map(&["topologyKey", "whenUnsatisfiable"]),
        "ports" if inside("containers") || inside("initContainers") => map(&["containerPort", "protocol"]),
        "ports" if path == ["spec", "ports"] => map(&["port", "protocol"]),
        "secrets" if path == ["secrets"] => map(&["name"]),
        _ => ListType::Atomic,
    }
}

/// `(group, version, plural, kind, namespaced, status, generation)`
type Row = (&'static str, &'static str, &'static str, &'static str, bool, bool, bool);

const RBAC: &str = "rbac.authorization.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";

const BUILT_IN: &[Row] = &[
    ("", "v1", "configmaps", "ConfigMap", true, false, false),
    ("", "v1", "endpoints", "Endpoints", true, false, false),
    ("", "v1", "events", "Event", true, false, false),
    ("", "v1", "limitranges", "LimitRange", true, false, false),
    ("", "v1", "namespaces", "Namespace", false, true, false),
    ("", "v1", "nodes", "Node", false, true, false),
    ("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", true, true, false),
    ("", "v1", "persistentvolumes", "PersistentVolume", false, true, false),
    ("", "v1", "pods", "Pod", true, true, true),
    ("", "v1", "resourcequotas", "ResourceQuota", true, true, false),
    ("", "v1", "secrets", "Secret", true, false, false),
    ("", "v1", "serviceaccounts", "ServiceAccount", true, false, false),
    ("", "v1", "services", "Service", true, true, false),
    (ADMISSION, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", false, false, true),
    (ADMISSION, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", false, true, true),
    (
        ADMISSION,
        "v1",
        "validatingadmissionpolicybindings",
        "ValidatingAdmissionPolicyBinding",
        false,
        false,
        true,
    ),
    (
        ADMISSION,
        "v1",
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
        false,
        false,
        true,
    ),
    (
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        false,
        true,
        true,
    ),
    ("apiregistration.k8s.io", "v1", "apiservices", "APIService", false, true, false),
    ("apps", "v1", "daemonsets", "DaemonSet", true, true, true),
    ("apps", "v1", "deployments", "Deployment", true, true, true),
    ("apps", "v1", "replicasets", "ReplicaSet", true, true, true),
    ("apps", "v1", "statefulsets", "StatefulSet", true, true, true),
    ("batch", "v1", "cronjobs", "CronJob", true, true, true),
    ("batch", "v1", "jobs", "Job", true, true, true),
    ("coordination.k8s.io", "v1", "leases", "Lease", true, false, false),
    ("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", true, false, true),
    ("events.k8s.io", "v1", "events", "Event", true, false, false),
    ("networking.k8s.io", "v1", "ingresses", "Ingress", true, true, true),
    ("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", true, false, true),
    ("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", true, true, true),
    (RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", false, false, false),
    (RBAC, "v1", "clusterroles", "ClusterRole", false, false, false),
    (RBAC, "v1", "rolebindings", "RoleBinding", true, false, false),
    (RBAC, "v1", "roles", "Role", true, false, false),
    ("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", false, false, true),
    ("storage.k8s.io", "v1", "storageclasses", "StorageClass", false, false, false),
];

pub(crate) fn built_in() -> Vec<Kind> {
    let row = |&(group, version, plural, kind, namespaced, status, generation): &Row| Kind {
        group: group.into(),
        version: version.into(),
        plural: plural.into(),
        kind: kind.into(),
        namespaced,
        status,
        generation,
        schema: None,
    };
    BUILT_IN.iter().map(row).collect()
}

/// The kinds a CRD defines: one per served version.
pub(crate) fn of_crd(crd: &Value) -> Vec<Kind> {
    let spec = &crd["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let served = spec["versions"].as_array().into_iter().flatten().filter(|v| v["served"] == true);
    served
        .map(|version| Kind {
            group: text(&spec["group"]),
            version: text(&version["name"]),
            plural: text(&spec["names"]["plural"]),
            kind: text(&spec["names"]["kind"]),
            namespaced: spec["scope"] == "Namespaced",
            status: version["subresources"].get("status").is_some(),
            generation: true,
            schema: Some(version["schema"]["openAPIV3Schema"].clone()),
        })
        .collect()
}
