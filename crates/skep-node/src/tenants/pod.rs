//! As much of a pod as a drain needs.

use std::borrow::Cow;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::Deserialize;

/// A pod of a tenant cluster.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Pod {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What it reports.
    #[serde(default)]
    pub status: Status,
}

/// `status` of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    /// `Pending`, `Running`, `Succeeded`, `Failed`.
    pub phase: String,
}

impl Resource for Pod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        core::Pod::kind(&())
    }

    fn group(_: &()) -> Cow<'_, str> {
        core::Pod::group(&())
    }

    fn version(_: &()) -> Cow<'_, str> {
        core::Pod::version(&())
    }

    fn plural(_: &()) -> Cow<'_, str> {
        core::Pod::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
