//! The names of a kubeconfig's entries.

/// Names of the cluster, user and context entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Name of the cluster entry.
    pub cluster: String,
    /// Name of the user entry.
    pub user: String,
    /// Name of the context entry.
    pub context: String,
}

impl Names {
    /// One name for all three, as kind and k3d do: easy to find, easy to remove.
    pub fn same(name: impl Into<String>) -> Self {
        let name = name.into();
        Names { cluster: name.clone(), user: name.clone(), context: name }
    }
}
