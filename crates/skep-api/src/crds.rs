//! All CustomResourceDefinitions, as they are installed and checked in.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::{
    Cluster, ClusterProfile, ControlPlane, Datastore, Machine, MachineClass, NodePool, Release, SizeClass,
};

/// Every CRD of the group, in the order they are documented.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        Cluster::crd(),
        NodePool::crd(),
        Machine::crd(),
        ControlPlane::crd(),
        Datastore::crd(),
        SizeClass::crd(),
        MachineClass::crd(),
        ClusterProfile::crd(),
        Release::crd(),
    ]
}
