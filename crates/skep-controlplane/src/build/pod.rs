//! The pod of one program, as the restricted pod security standard wants it.

use std::time::Duration;

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, PodSpec, SecretVolumeSource,
    TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use skep_api::resources::ResourceBundle;
use skep_plan::{flags::Program, pod};

use super::Inputs;
use super::probes::Probes;
use crate::names;

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
    /// Where it starts, for files that name others relative to it.
    pub(super) directory: Option<&'static str>,
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
        working_dir: parts.directory.map(str::to_owned),
        env: Some(pod::environment(parts.resources)),
        ports: Some(vec![ContainerPort {
            name: Some("https".to_owned()),
            container_port: parts.port,
            ..ContainerPort::default()
        }]),
        resources: Some(pod::requirements(parts.resources)),
        volume_mounts: Some(mounts),
        startup_probe: Some(parts.probes.startup),
        readiness_probe: parts.probes.readiness,
        liveness_probe: Some(parts.probes.liveness),
        security_context: Some(pod::container_security()),
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
        security_context: Some(pod::security()),
        termination_grace_period_seconds: i64::try_from(parts.grace.as_secs()).ok(),
        topology_spread_constraints: Some(spread(&spec.tenant, program)),
        ..PodSpec::default()
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
