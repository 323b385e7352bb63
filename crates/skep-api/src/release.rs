//! `Release`: one tested set of versions.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{resources::IMAGE, version};

/// What may be installed together.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[kube(
    group = "skep.dev",
    version = "v1alpha1",
    kind = "Release",
    shortname = "rel",
    category = "skep",
    derive = "PartialEq",
    printcolumn(name = "Kubernetes", type_ = "string", json_path = ".spec.kubernetesVersion"),
    printcolumn(name = "State", type_ = "string", json_path = ".spec.state"),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    doc = "One tested set of versions, with its place in life."
)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseSpec {
    /// Kubernetes version, like `v1.36.3`.
    #[schemars(length(min = 6, max = 40), pattern(version::PATTERN))]
    pub kubernetes_version: String,
    /// Image with the control plane's programs.
    #[schemars(length(min = 1, max = 255), pattern(IMAGE))]
    pub image: String,
    /// Where the release is in its life.
    pub state: ReleaseState,
}

/// A release's place in life, in the order it passes through them.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
pub enum ReleaseState {
    /// For trying out: only clusters that follow the preview channel or name the version get it.
    Preview,
    /// For everybody.
    Stable,
    /// Still runs and may still be named; an upgrade is due.
    Deprecated,
    /// No new cluster can have it; those that run it go on running.
    Retired,
}
