//! The pod of one program, as the restricted pod security standard wants it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar,
    EnvVarSource, ObjectFieldSelector, PodSecurityContext, PodSpec, ResourceRequirements, SeccompProfile,
    SecretVolumeSource, SecurityContext, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use skep_api::resources::ResourceBundle;
use skep_plan::flags::Program;

use super::Inputs;
use super::probes::Probes;
use crate::names;

/// User and group of the programs: a number that no system account has, as distroless images use it.
const NOBODY: i64 = 65_532;
/// Owner and group may read.
const READABLE: i32 = 0o440;

/// Where a mounted volume comes from.
pub(super) enum Source {
    Secret(&'static str),
    ConfigMap(&'static str),
    /// An empty directory of at most this size.
    Scratch(&'static str),
}

/// A volume and the place it is seen at.
pub(super) struct Mount {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    pub(super) source: Source,
}

/// What differs between the programs.
pub(super) struct Parts<'a> {
    pub(super) program: Program,
    pub(super) resources: &'a ResourceBundle,
    pub(super) args: Vec<String>,
    pub(super) port: i32,
    pub(super) mounts: Vec<Mount>,
    pub(super) probes: Probes,
    pub(super) grace: Duration,
}

/// The pod.
pub(super) fn spec(inputs: &Inputs<'_>, parts: Parts<'_>) -> PodSpec {
    let spec = &inputs.owner.spec;
    let program = parts.program;
    let (volumes, mounts) = volumes(&parts.mounts);
    let container = Container {
        name: program.name().to_owned(),
        image: Some(spec.image.clone()),
        command: Some(vec![program.name().to_owned()]),
        args: Some(parts.args),
        env: Some(environment(parts.resources)),
        ports: Some(vec![ContainerPort {
            name: Some("https".to_owned()),
            container_port: parts.port,
            ..ContainerPort::default()
        }]),
        resources: Some(requirements(parts.resources)),
        volume_mounts: Some(mounts),
        startup_probe: Some(parts.probes.startup),
        readiness_probe: parts.probes.readiness,
        liveness_probe: Some(parts.probes.liveness),
        security_context: Some(container_security()),
        // What a program says before it gives up is the best explanation there is.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    };
    PodSpec {
        containers: vec![container],
        volumes: Some(volumes),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        priority_class_name: inputs.cell.priority_class.clone(),
        security_context: Some(pod_security()),
        termination_grace_period_seconds: i64::try_from(parts.grace.as_secs()).ok(),
        topology_spread_constraints: Some(spread(&spec.tenant, program)),
        ..PodSpec::default()
    }
}

/// The pod's own address, which programs listen on, and the limit of Go's garbage collector.
fn environment(resources: &ResourceBundle) -> Vec<EnvVar> {
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

fn requirements(resources: &ResourceBundle) -> ResourceRequirements {
    let quantities = |cpu: Option<&String>, memory: Option<&String>| -> Option<BTreeMap<String, Quantity>> {
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

fn volumes(mounts: &[Mount]) -> (Vec<Volume>, Vec<VolumeMount>) {
    let volume = |mount: &Mount| {
        let mut volume = Volume { name: mount.name.to_owned(), ..Volume::default() };
        match mount.source {
            Source::Secret(name) => {
                volume.secret = Some(SecretVolumeSource {
                    secret_name: Some(name.to_owned()),
                    default_mode: Some(READABLE),
                    ..SecretVolumeSource::default()
                });
            }
            Source::ConfigMap(name) => {
                volume.config_map = Some(ConfigMapVolumeSource {
                    name: name.to_owned(),
                    default_mode: Some(READABLE),
                    ..ConfigMapVolumeSource::default()
                });
            }
            Source::Scratch(size) => {
                volume.empty_dir = Some(EmptyDirVolumeSource {
                    size_limit: Some(Quantity(size.to_owned())),
                    ..EmptyDirVolumeSource::default()
                });
            }
        }
        volume
    };
    let seen = |mount: &Mount| VolumeMount {
        name: mount.name.to_owned(),
        mount_path: mount.path.to_owned(),
        read_only: (!matches!(mount.source, Source::Scratch(_))).then_some(true),
        ..VolumeMount::default()
    };
    (mounts.iter().map(volume).collect(), mounts.iter().map(seen).collect())
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    }
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(NOBODY),
        run_as_group: Some(NOBODY),
        fs_group: Some(NOBODY),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

/// Copies go to different zones, then to different nodes. A wish, not a condition: a cell that has lost a zone still
/// runs everybody. Copies of one revision are counted by themselves, so that a surge does not skew the result.
fn spread(tenant: &str, program: Program) -> Vec<TopologySpreadConstraint> {
    ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        .map(|key| TopologySpreadConstraint {
            max_skew: 1,
            topology_key: key.to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(names::selector(tenant, program)),
            match_label_keys: Some(vec![names::REVISION_LABEL.to_owned()]),
            ..TopologySpreadConstraint::default()
        })
        .to_vec()
}
