//! What the pods of control planes and of datastores have in common: the restricted pod security standard, their own
//! address, and a size class's resources.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, EnvVar, EnvVarSource, ObjectFieldSelector, PodSecurityContext, ResourceRequirements,
    SeccompProfile, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use skep_api::resources::ResourceBundle;

/// User and group of the programs: a number that no system account has, as distroless images use it.
const NOBODY: i64 = 65_532;

/// The pod's own address as `POD_IP`, which programs listen on, and the limit of Go's garbage collector.
#[must_use]
pub fn environment(resources: &ResourceBundle) -> Vec<EnvVar> {
    let address = EnvVar {
        name: "POD_IP".to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: "status.podIP".to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        value: None,
    };
    let limit = resources.go_mem_limit.as_ref().map(|limit| EnvVar {
        name: "GOMEMLIMIT".to_owned(),
        value: Some(limit.clone()),
        value_from: None,
    });
    std::iter::once(address).chain(limit).collect()
}

/// Requests and limits of the one container.
#[must_use]
pub fn requirements(resources: &ResourceBundle) -> ResourceRequirements {
    let quantities = |cpu: Option<&String>, memory: Option<&String>| {
        let present = [("cpu", cpu), ("memory", memory)];
        let map: BTreeMap<_, _> = present
            .into_iter()
            .filter_map(|(name, q)| Some((name.to_owned(), Quantity(q?.clone()))))
            .collect();
        (!map.is_empty()).then_some(map)
    };
    ResourceRequirements {
        requests: quantities(Some(&resources.cpu_request), Some(&resources.memory_request)),
        limits: quantities(resources.cpu_limit.as_ref(), resources.memory_limit.as_ref()),
        ..ResourceRequirements::default()
    }
}

/// No way to more rights, and nothing to write to but volumes.
#[must_use]
pub fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    }
}

/// A user without rights, whose group owns the volumes.
#[must_use]
pub fn security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(NOBODY),
        run_as_group: Some(NOBODY),
        fs_group: Some(NOBODY),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}
