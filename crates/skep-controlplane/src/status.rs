//! Pure: what people and the hub see of a control plane.
//!
//! `Ready` says that an API server answers; `ControlPlaneReady` that every program has a working copy; `Progressing` that
//! something is not yet as the spec says, with the step and what it waits for. `observedGeneration` follows the spec
//! only when all of it is in force. Nothing here depends on conditions of an earlier pass, except the time stamps.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use skep_api::condition::{self, ConditionStatus, ConditionType};
use skep_api::{ControlPlane, ControlPlaneStatus, KubeVersion};
use skep_kubeops::Classify;
use skep_plan::flags::Program;
use skep_plan::rollout::{Copy, Gate};

use crate::Error;
use crate::names;
use crate::observe::Copies;

/// How one phase of a pass went.
#[derive(Debug)]
pub enum Phase<'a> {
    /// Done.
    Done,
    /// Not reached, because an earlier one failed.
    NotReached,
    /// It failed.
    Failed(&'a Error),
}

/// What a pass came to.
#[derive(Debug)]
pub struct Report<'a> {
    /// Keys and certificates.
    pub certificates: Phase<'a>,
    /// Access to the datastore.
    pub datastore: Phase<'a>,
    /// Writing the objects.
    pub objects: Phase<'a>,
    /// Each program, and whether it might be applied.
    pub programs: Vec<(Copies, Gate)>,
    /// Every copy of kube-apiserver.
    pub api_servers: Vec<Copy>,
}

impl Report<'_> {
    fn copies(&self, program: Program) -> Option<&Copies> {
        self.programs.iter().map(|(copies, _)| copies).find(|copies| copies.program == program)
    }

    fn failure(&self) -> Option<&Error> {
        [&self.certificates, &self.datastore, &self.objects].into_iter().find_map(|phase| match phase {
            Phase::Failed(error) => Some(*error),
            _ => None,
        })
    }

    /// Everything is as the spec says.
    pub fn settled(&self) -> bool {
        let done = |phase: &Phase<'_>| matches!(phase, Phase::Done);
        done(&self.certificates)
            && done(&self.datastore)
            && done(&self.objects)
            && self.programs.iter().all(|(copies, gate)| gate.is_open() && copies.settled())
    }
}

/// The status after a pass.
pub fn of(owner: &ControlPlane, report: &Report<'_>, now: &Time) -> ControlPlaneStatus {
    let mut status = owner.status.clone().unwrap_or_default();
    let generation = owner.metadata.generation;
    let serving = || report.api_servers.iter().filter(|copy| copy.ready).map(|copy| &copy.version);
    let before: Option<KubeVersion> = status.highest_version.as_deref().and_then(|text| text.parse().ok());
    status.version = serving().min().map(ToString::to_string);
    status.highest_version = serving().max().max(before.as_ref()).map(ToString::to_string);
    status.ready_api_servers = i32::try_from(serving().count()).ok();
    if matches!(report.objects, Phase::Done) {
        status.kubeconfig_secret = Some(names::ADMIN.to_owned());
    }
    if report.settled() {
        status.observed_generation = generation;
    }
    let mut say = |type_, (holds, reason, message): Words| {
        condition::set(&mut status.conditions, type_, holds, &reason, message, generation, now);
    };
    say(ConditionType::Ready, ready(owner, report));
    say(ConditionType::ControlPlaneReady, control_plane_ready(report));
    say(ConditionType::Progressing, progressing(report));
    say(
        ConditionType::CertificatesReady,
        phase(&report.certificates, "Issued", "all certificates are in their time"),
    );
    let granted = format!("the tenant has access to datastore {}", owner.spec.datastore.name);
    say(ConditionType::DatastoreReady, phase(&report.datastore, "AccessGranted", &granted));
    say(ConditionType::Paused, words(false, "NotAskedFor", "spec.reconciliation is Active"));
    status
}

/// The status of a control plane that is left alone: only that is said, the rest stays as it was.
pub fn paused(owner: &ControlPlane, now: &Time) -> ControlPlaneStatus {
    let mut status = owner.status.clone().unwrap_or_default();
    let message = "left alone because spec.reconciliation is Paused: set it to Active to go on";
    let generation = owner.metadata.generation;
    let type_ = ConditionType::Paused;
    condition::set(
        &mut status.conditions,
        type_,
        ConditionStatus::True,
        "AskedFor",
        message,
        generation,
        now,
    );
    status
}

/// The status of a control plane on its way out.
pub fn deleting(owner: &ControlPlane, step: &str, now: &Time) -> ControlPlaneStatus {
    let mut status = owner.status.clone().unwrap_or_default();
    let generation = owner.metadata.generation;
    for (type_, holds) in
        [(ConditionType::Ready, ConditionStatus::False), (ConditionType::Progressing, ConditionStatus::True)]
    {
        condition::set(&mut status.conditions, type_, holds, "Deleting", step, generation, now);
    }
    status
}

type Words = (ConditionStatus, String, String);

fn words(holds: bool, reason: &str, message: impl Into<String>) -> Words {
    (holds.into(), reason.to_owned(), message.into())
}

fn phase(phase: &Phase<'_>, reason: &str, message: &str) -> Words {
    match phase {
        Phase::Done => words(true, reason, message),
        Phase::Failed(error) => words(false, error.reason(), error.to_string()),
        Phase::NotReached => (
            ConditionStatus::Unknown,
            "NotReached".to_owned(),
            "an earlier step failed; see the other conditions".to_owned(),
        ),
    }
}

fn ready(owner: &ControlPlane, report: &Report<'_>) -> Words {
    let serving = report.api_servers.iter().filter(|copy| copy.ready).count();
    if serving > 0 {
        let idle = report.programs.iter().map(|(copies, _)| copies).find(|copies| copies.working() == 0);
        let more = idle.map(|copies| format!("; {}", waiting_for(copies))).unwrap_or_default();
        let versions: Vec<_> =
            report.api_servers.iter().filter(|copy| copy.ready).map(|copy| &copy.version).collect();
        let version = versions.into_iter().min().map(ToString::to_string).unwrap_or_default();
        let plural = if serving == 1 { "API server serves" } else { "API servers serve" };
        return words(true, "Serving", format!("{serving} {plural} Kubernetes {version}{more}"));
    }
    if let Some(error) = report.failure() {
        return words(false, error.reason(), error.to_string());
    }
    match report.copies(Program::KubeApiserver) {
        Some(Copies { trouble: Some(trouble), .. }) => words(false, trouble.reason, trouble.message.as_str()),
        Some(copies) => words(false, "Starting", waiting_for(copies)),
        None => words(false, "Starting", format!("control plane {} is being made", owner.spec.tenant)),
    }
}

fn control_plane_ready(report: &Report<'_>) -> Words {
    match report.programs.iter().map(|(copies, _)| copies).find(|copies| copies.working() == 0) {
        None if report.programs.is_empty() => not_looked(report),
        None => words(true, "AllWork", "every program of the control plane works"),
        Some(Copies { trouble: Some(trouble), .. }) => words(false, trouble.reason, trouble.message.as_str()),
        Some(copies) => words(false, "Starting", waiting_for(copies)),
    }
}

/// No program was compared with the spec, because an earlier phase failed.
fn not_looked(report: &Report<'_>) -> Words {
    match report.failure() {
        Some(error) if report.api_servers.iter().any(|copy| copy.ready) => (
            ConditionStatus::Unknown,
            error.reason().to_owned(),
            format!("not compared with the spec: {error}"),
        ),
        Some(error) => words(false, error.reason(), error.to_string()),
        None => words(false, "Starting", "the programs are about to be started"),
    }
}

fn progressing(report: &Report<'_>) -> Words {
    if report.settled() {
        return words(false, "Settled", "everything is as the spec says");
    }
    if let Some(error) = report.failure() {
        return words(true, error.reason(), error.to_string());
    }
    for (copies, gate) in &report.programs {
        if let Gate::Waits { reason, message } = gate {
            return words(true, reason, message.as_str());
        }
        if let Some(trouble) = &copies.trouble
            && !copies.settled()
        {
            let kept = if copies.old_ready > 0 { "; what served before goes on" } else { "" };
            return words(true, trouble.reason, format!("{}{kept}", trouble.message));
        }
        if !copies.settled() {
            let reason = if copies.working() > 0 { "RollingOut" } else { "Starting" };
            return words(true, reason, waiting_for(copies));
        }
    }
    words(true, "Starting", "the programs are about to be started")
}

fn waiting_for(copies: &Copies) -> String {
    let Copies { program, wanted, ready, old, .. } = copies;
    let plural = if *wanted == 1 { "copy" } else { "copies" };
    let left = match old {
        0 => String::new(),
        1 => ", 1 old one is still to go".to_owned(),
        n => format!(", {n} old ones are still to go"),
    };
    format!("{program}: {ready} of {wanted} {plural} ready{left}")
}

#[cfg(test)]
mod tests;
