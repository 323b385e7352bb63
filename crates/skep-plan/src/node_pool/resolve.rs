//! From what a pool or a machine asks for to what it can have.

use std::collections::BTreeMap;

use skep_api::{
    Cluster, ControlPlane, KubeVersion, MachineClass, MachineClassSpec, MachineSpec, NodePoolSpec,
    NodeTemplate, Release,
};

use super::refusal::{Refusal, Refused};
use super::{Goal, Share, template};
use crate::skew::{self, NodeSkew};

/// Versions of a control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// The oldest that serves, if any serves.
    pub serving: Option<KubeVersion>,
    /// The one it should have.
    pub wanted: KubeVersion,
}

impl Versions {
    /// What nodes may not be ahead of.
    fn lowest(&self) -> &KubeVersion {
        self.serving.as_ref().unwrap_or(&self.wanted)
    }

    /// What nodes may not be too far behind.
    fn highest(&self) -> &KubeVersion {
        self.serving.as_ref().filter(|serving| **serving > self.wanted).unwrap_or(&self.wanted)
    }
}

/// The cluster that nodes should join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterState {
    /// There is none of this name; these are there.
    Missing(Vec<String>),
    /// It is there, but its version is not decided.
    Undecided,
    /// It has a control plane, or will have one of a known version.
    Decided(Versions),
}

impl ClusterState {
    /// The state of a cluster that is there. `control_plane` is its own, if it has one.
    pub fn of(cluster: &Cluster, control_plane: Option<&ControlPlane>) -> Self {
        let wanted = control_plane.and_then(|object| skew::read(&object.spec.version));
        let serving = cluster.status.as_ref().and_then(|status| skew::read(status.version.as_deref()?));
        wanted.map_or(Self::Undecided, |wanted| Self::Decided(Versions { serving, wanted }))
    }
}

/// What is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The cluster.
    pub cluster: ClusterState,
    /// Machine classes by name.
    pub classes: BTreeMap<String, MachineClassSpec>,
    /// Versions that may be installed.
    pub releases: Vec<KubeVersion>,
}

impl Facts {
    /// What follows from the catalogue.
    pub fn new<'a>(
        cluster: ClusterState,
        classes: impl IntoIterator<Item = &'a MachineClass>,
        releases: impl IntoIterator<Item = &'a Release>,
    ) -> Self {
        let class =
            |class: &MachineClass| (class.metadata.name.clone().unwrap_or_default(), class.spec.clone());
        Self {
            cluster,
            classes: classes.into_iter().map(class).collect(),
            releases: releases
                .into_iter()
                .filter_map(|one| skew::read(&one.spec.kubernetes_version))
                .collect(),
        }
    }
}

/// Why there is no goal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// The spec cannot be fulfilled.
    Refused(Refused),
    /// Something has to be there first; the sentence says what.
    Waits(String),
}

/// A node as it can be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Version of its programs.
    pub version: KubeVersion,
    /// What it is like, with that version.
    pub template: NodeTemplate,
    /// Its machine class.
    pub class: MachineClassSpec,
}

/// What a pool should be.
///
/// # Errors
/// The spec cannot be fulfilled, or not yet.
pub fn resolve(spec: &NodePoolSpec, facts: &Facts) -> Result<Goal, Unresolved> {
    let mut refusals = Vec::new();
    let surge = keep(Share::read("update.maxSurge", &spec.update.max_surge), &mut refusals);
    let unavailable = keep(Share::read("update.maxUnavailable", &spec.update.max_unavailable), &mut refusals);
    keep(Share::read("repair.maxUnhealthy", &spec.repair.max_unhealthy), &mut refusals);
    let node = node(&spec.cluster, &spec.template, &spec.zones, facts, refusals)?;
    let zones = if spec.zones.is_empty() { node.class.zones.clone() } else { distinct(&spec.zones) };
    Ok(Goal {
        replicas: replicas(spec),
        zones,
        zones_are_asked_for: !spec.zones.is_empty(),
        template: node.template,
        version: node.version,
        strategy: spec.update.strategy,
        remove: spec.scaling.as_ref().map(|scaling| scaling.remove.clone()).unwrap_or_default(),
        // Refused above if there is none.
        surge: surge.unwrap_or(Share::Number(1)),
        unavailable: unavailable.unwrap_or(Share::Number(0)),
        tried: None,
    })
}

/// What a machine should be.
///
/// # Errors
/// The spec cannot be fulfilled, or not yet.
pub fn resolve_machine(spec: &MachineSpec, facts: &Facts) -> Result<Node, Unresolved> {
    node(&spec.cluster, &spec.template, std::slice::from_ref(&spec.zone), facts, Vec::new())
}

/// How many machines a pool should have: never outside an autoscaler's bounds.
pub fn replicas(spec: &NodePoolSpec) -> usize {
    let asked = spec.replicas.unwrap_or_else(|| spec.scaling.as_ref().map_or(1, |scaling| scaling.min));
    let bounded = spec.scaling.as_ref().map_or(asked, |scaling| asked.min(scaling.max).max(scaling.min));
    usize::try_from(bounded).unwrap_or(0)
}

fn node(
    cluster: &str,
    asked: &NodeTemplate,
    zones: &[String],
    facts: &Facts,
    mut refusals: Vec<Refusal>,
) -> Result<Node, Unresolved> {
    let versions = match &facts.cluster {
        ClusterState::Decided(versions) => Some(versions),
        ClusterState::Undecided => None,
        ClusterState::Missing(known) => {
            refusals.push(Refusal::NoSuchCluster { asked: cluster.to_owned(), known: known.clone() });
            None
        }
    };
    let class = keep(class(&asked.machine_class, zones, facts), &mut refusals);
    let version = match &asked.version {
        Some(text) => keep(pinned(text, versions, facts), &mut refusals),
        None => versions.map(|versions| versions.lowest().clone()),
    };
    refusals.extend(template::check(asked));
    Refused::unless_empty(refusals, ()).map_err(Unresolved::Refused)?;
    match (versions, version, class) {
        (Some(_), Some(version), Some(class)) => {
            let template = NodeTemplate { version: Some(version.to_string()), ..asked.clone() };
            Ok(Node { version, template, class: class.clone() })
        }
        _ => Err(Unresolved::Waits(format!("cluster {cluster} has to be accepted first"))),
    }
}

/// The class, if it can be had in all these zones.
fn class<'a>(asked: &str, zones: &[String], facts: &'a Facts) -> Result<&'a MachineClassSpec, Refusal> {
    let known = || facts.classes.keys().cloned().collect();
    let class = facts
        .classes
        .get(asked)
        .ok_or_else(|| Refusal::UnknownClass { asked: asked.to_owned(), known: known() })?;
    let missing: Vec<String> = zones.iter().filter(|zone| !class.zones.contains(zone)).cloned().collect();
    if missing.is_empty() {
        return Ok(class);
    }
    let has_all = |class: &MachineClassSpec| zones.iter().all(|zone| class.zones.contains(zone));
    let others = facts.classes.iter().filter(|(_, class)| has_all(class)).map(|(name, _)| name.clone());
    Err(Refusal::UnknownZone {
        asked: missing,
        class: asked.to_owned(),
        known: class.zones.clone(),
        others: others.collect(),
    })
}

/// A version that is asked for by name.
fn pinned(text: &str, versions: Option<&Versions>, facts: &Facts) -> Result<KubeVersion, Refusal> {
    let known = || {
        let mut releases = facts.releases.clone();
        releases.sort();
        releases.iter().map(ToString::to_string).collect()
    };
    // What the control plane has is known to exist, also when its release has been taken out of the catalogue.
    let runs = |version: &KubeVersion| versions.is_some_and(|v| [v.lowest(), v.highest()].contains(&version));
    let version = skew::read(text)
        .filter(|version| facts.releases.contains(version) || runs(version))
        .ok_or_else(|| Refusal::UnknownVersion { asked: text.to_owned(), known: known() })?;
    let Some(versions) = versions else { return Ok(version) };
    match skew::node_fits(&version, versions.lowest(), versions.highest()) {
        Ok(()) => Ok(version),
        Err(NodeSkew::Ahead) => {
            Err(Refusal::NodeAhead { asked: text.to_owned(), serving: versions.lowest().to_string() })
        }
        Err(NodeSkew::Behind) => Err(Refusal::NodeBehind {
            asked: text.to_owned(),
            control_plane: versions.highest().to_string(),
            oldest: format!("1.{}", skew::oldest_node(versions.highest())),
        }),
    }
}

/// The value, or its refusal noted.
fn keep<T>(result: Result<T, Refusal>, refusals: &mut Vec<Refusal>) -> Option<T> {
    result.map_err(|refusal| refusals.push(refusal)).ok()
}

/// Without repetitions, in the order of the spec.
fn distinct(zones: &[String]) -> Vec<String> {
    let mut distinct: Vec<String> = Vec::new();
    for zone in zones {
        if !distinct.contains(zone) {
            distinct.push(zone.clone());
        }
    }
    distinct
}
