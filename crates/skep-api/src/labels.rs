//! Label and annotation keys, and the values that are shared between crates.

/// Kubernetes' recommended label that says which tool owns an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`] on everything Skep makes.
pub const MANAGED_BY_SKEP: &str = "skep";
/// Tenant id, on the tenant's namespace and on everything in it.
pub const TENANT: &str = "skep.dev/tenant";
/// Part of a control plane or datastore; its values are in [`component`].
pub const COMPONENT: &str = "skep.dev/component";
/// Name of the `Cluster` an object belongs to.
pub const CLUSTER: &str = "skep.dev/cluster";
/// Namespace of the `Cluster` an object belongs to.
pub const PROJECT: &str = "skep.dev/project";
/// Name of the `NodePool` a machine belongs to; on its node as well, for selectors and autoscalers.
pub const POOL: &str = "skep.dev/pool";
/// Name of the `Machine` that an object keeps evidence about.
pub const EVIDENCE: &str = "skep.dev/evidence";
/// Name of the `Datastore` an object belongs to.
pub const DATASTORE: &str = "skep.dev/datastore";
/// Upstream's label with the name of a StatefulSet's pod: such a pod has a stable address.
pub const STATEFUL_POD: &str = "statefulset.kubernetes.io/pod-name";

/// Annotation on an API server's pod: milliseconds from its deletion to the moment it closes its idle connections
/// (`--shutdown-delay-duration`). Around that moment the gateway holds the server's answers back, so that no client
/// sends a request into a connection that is being closed.
pub const CLOSES_AFTER: &str = "skep.dev/closes-after-ms";

/// Values of [`COMPONENT`].
pub mod component {
    /// The API server of a tenant: what the gateway routes to.
    pub const API_SERVER: &str = "kube-apiserver";
    /// The controllers of a tenant.
    pub const CONTROLLER_MANAGER: &str = "kube-controller-manager";
    /// The scheduler of a tenant.
    pub const SCHEDULER: &str = "kube-scheduler";
    /// The autoscaler of a tenant's node pools.
    pub const AUTOSCALER: &str = "cluster-autoscaler";
    /// A member of a datastore.
    pub const ETCD: &str = "etcd";
}

/// Finalizers.
pub mod finalizer {
    /// On a `Cluster`: its control plane, namespace and data are removed first.
    pub const CLUSTER: &str = "skep.dev/cluster";
    /// On a `ControlPlane`: its workloads and its keys in the datastore are removed first.
    pub const CONTROL_PLANE: &str = "skep.dev/control-plane";
    /// On a `Machine`: its node is drained and the infrastructure gives it back first.
    pub const MACHINE: &str = "skep.dev/machine";
    /// On a `Datastore`: refused while it still holds tenants.
    pub const DATASTORE: &str = "skep.dev/datastore";
}
