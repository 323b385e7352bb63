//! From what a tenant team asks for to what a cell runs.
//!
//! Guarantees: pure and total; the result needs no catalogue to be understood; whatever cannot change while a cluster
//! runs (tenant, network, datastore) is taken from what runs; a cluster that names no version keeps the one it has,
//! because a channel chooses the version of a *new* cluster and nobody's cluster is upgraded by publishing a release.
//!
//! Refuses with every reason at once, each with what would be accepted.

use skep_api::cluster::{ControlPlaneFlags, Endpoint};
use skep_api::control_plane::{ApiServer, ClusterRef, Controller, DatastoreRef};
use skep_api::release::ReleaseState;
use skep_api::resources::{Availability, ClusterNetwork, Flag, ResourceBundle};
use skep_api::{
    Cluster, ClusterProfileSpec, ControlPlane, ControlPlaneSpec, ControlPlaneStatus, KubeVersion,
    SizeClassSpec, TenantId,
};

use crate::catalogue::{Catalogue, DEFAULT_PROFILE};
use crate::cell::Cell;
use crate::flags::{self, Program};
use crate::refusal::both;
use crate::skew::{self, Versions};
use crate::{Refusal, Refused, datastore, network};

/// Copies of each program with [`Availability::HighlyAvailable`].
const HIGHLY_AVAILABLE: i32 = 2;

/// The control plane that exists already.
#[derive(Debug, Clone, Copy)]
pub struct Running<'a> {
    /// Its spec.
    pub spec: &'a ControlPlaneSpec,
    /// What was observed, if anything was.
    pub status: Option<&'a ControlPlaneStatus>,
}

impl<'a> From<&'a ControlPlane> for Running<'a> {
    fn from(object: &'a ControlPlane) -> Self {
        Self { spec: &object.spec, status: object.status.as_ref() }
    }
}

impl Running<'_> {
    /// What is known about its versions.
    fn versions(&self) -> Option<Versions> {
        let seen =
            |pick: fn(&ControlPlaneStatus) -> Option<&str>| self.status.and_then(pick).and_then(skew::read);
        Some(Versions {
            wanted: skew::read(&self.spec.version)?,
            serving: seen(|status| status.version.as_deref()),
            highest: seen(|status| status.highest_version.as_deref()),
        })
    }
}

/// The complete control plane for `cluster`.
///
/// A cluster that does not exist yet (no UID) resolves as well, for `skep plan`; its tenant id is then not the later
/// one.
///
/// # Errors
/// Every reason why the spec cannot be fulfilled.
pub fn resolve(
    cluster: &Cluster,
    catalogue: &Catalogue,
    cell: &Cell,
    running: Option<Running<'_>>,
) -> Result<ControlPlaneSpec, Refused> {
    let spec = &cluster.spec;
    let profile_name = spec.profile.as_deref().unwrap_or(DEFAULT_PROFILE);
    let profile = catalogue.profile(profile_name).map_err(Refused::from);
    let size = choose_size(cluster, catalogue, profile_name, &profile);
    let network = choose_network(cluster, profile.as_ref().ok().copied(), running);
    let version = choose_version(cluster, catalogue, running).map_err(Refused::from);
    let datastore = choose_datastore(cell, running).map_err(Refused::from);
    let flags = choose_flags(cluster, profile_name, profile.as_ref().ok().copied());
    let chosen = both(version, both(profile, both(size, both(network, both(flags, datastore)))));
    let (version, (profile, (size, (network, ((api, (kcm, scheduler)), datastore))))) = chosen?;
    let name = cluster.metadata.name.clone().unwrap_or_default();
    let uid = cluster.metadata.uid.clone().unwrap_or_default();
    let tenant = TenantId::of_cluster(&name, &uid);
    let copies = match spec.availability.unwrap_or(profile.availability) {
        Availability::Single => 1,
        Availability::HighlyAvailable => HIGHLY_AVAILABLE,
    };
    let controller = |resources: &ResourceBundle, flags| Controller {
        replicas: copies,
        resources: resources.clone(),
        flags,
    };
    Ok(ControlPlaneSpec {
        cluster: ClusterRef { namespace: cluster.metadata.namespace.clone().unwrap_or_default(), name, uid },
        version: version.version,
        image: version.image,
        size_class: size.name,
        api_server: ApiServer {
            replicas: copies,
            resources: size.spec.api_server.resources.clone(),
            max_requests_inflight: size.spec.api_server.max_requests_inflight,
            max_mutating_requests_inflight: size.spec.api_server.max_mutating_requests_inflight,
            flags: api,
        },
        controller_manager: controller(&size.spec.controller_manager, kcm),
        scheduler: controller(&size.spec.scheduler, scheduler),
        datastore,
        network,
        endpoint: Endpoint { server: cell.gateway.clone(), host: tenant.host(&cell.domain) },
        tenant: tenant.to_string(),
        reconciliation: spec.reconciliation,
    })
}

struct ChosenVersion {
    version: String,
    image: String,
}

fn choose_version(
    cluster: &Cluster,
    catalogue: &Catalogue,
    running: Option<Running<'_>>,
) -> Result<ChosenVersion, Refusal> {
    let spec = &cluster.spec;
    let chosen = match (&spec.version, running) {
        (Some(asked), _) => by_name(asked, catalogue, running)?,
        // The image follows the release while there is one; a release that was withdrawn changes nothing.
        (None, Some(running)) => {
            let release = skew::read(&running.spec.version).and_then(|v| catalogue.release(&v));
            ChosenVersion {
                version: running.spec.version.clone(),
                image: release.map_or_else(|| running.spec.image.clone(), |r| r.image.clone()),
            }
        }
        (None, None) => {
            let (version, release) = catalogue.newest(spec.channel.unwrap_or_default())?;
            ChosenVersion { version: version.to_string(), image: release.image.clone() }
        }
    };
    if let (Some(now), Some(to)) = (running.and_then(|r| r.versions()), skew::read(&chosen.version)) {
        skew::check(&now, &to, |minor| {
            catalogue.versions(|v, state| v.minor() == minor && state != ReleaseState::Retired)
        })?;
    }
    Ok(chosen)
}

fn by_name(
    asked: &str,
    catalogue: &Catalogue,
    running: Option<Running<'_>>,
) -> Result<ChosenVersion, Refusal> {
    let already = running.filter(|r| r.spec.version == asked);
    let version: Option<KubeVersion> = skew::read(asked);
    match (version.and_then(|v| catalogue.release(&v)), already) {
        (Some(release), None) if release.state == ReleaseState::Retired => Err(Refusal::RetiredVersion {
            asked: asked.to_owned(),
            usable: catalogue.versions(|_, state| state != ReleaseState::Retired),
        }),
        (Some(release), _) => Ok(ChosenVersion { version: asked.to_owned(), image: release.image.clone() }),
        (None, Some(running)) => {
            Ok(ChosenVersion { version: asked.to_owned(), image: running.spec.image.clone() })
        }
        (None, None) => {
            Err(Refusal::UnknownVersion { asked: asked.to_owned(), known: catalogue.versions(|_, _| true) })
        }
    }
}

struct ChosenSize<'a> {
    name: String,
    spec: &'a SizeClassSpec,
}

fn choose_size<'a>(
    cluster: &Cluster,
    catalogue: &'a Catalogue,
    profile_name: &str,
    profile: &Result<&ClusterProfileSpec, Refused>,
) -> Result<ChosenSize<'a>, Refused> {
    let (name, by) = match (&cluster.spec.size, profile) {
        (Some(size), _) => (&size.class, None),
        (None, Ok(profile)) => (&profile.size_class, Some(profile_name)),
        // Guessing a class would only add a misleading second reason.
        (None, Err(refused)) => return Err(refused.clone()),
    };
    let spec = catalogue.size_class(name, by)?;
    Ok(ChosenSize { name: name.clone(), spec })
}

fn choose_network(
    cluster: &Cluster,
    profile: Option<&ClusterProfileSpec>,
    running: Option<Running<'_>>,
) -> Result<ClusterNetwork, Refused> {
    let asked = cluster.spec.network.as_ref();
    if let Some(running) = running {
        return match asked {
            Some(network) if *network != running.spec.network => Err(Refusal::NetworkChanged.into()),
            _ => Ok(running.spec.network.clone()),
        };
    }
    let network = asked.or_else(|| profile.map(|p| &p.network)).cloned().unwrap_or_default();
    network::check(&network)?;
    Ok(network)
}

type ChosenFlags = (Vec<Flag>, (Vec<Flag>, Vec<Flag>));

fn choose_flags(
    cluster: &Cluster,
    profile_name: &str,
    profile: Option<&ClusterProfileSpec>,
) -> Result<ChosenFlags, Refused> {
    let none = ControlPlaneFlags::default();
    let own = cluster.spec.flags.as_ref().unwrap_or(&none);
    let defaults = profile.map(|p| (profile_name, p.api_server_flags.as_slice()));
    both(
        flags::merge(Program::KubeApiserver, defaults, &own.api_server),
        both(
            flags::merge(Program::KubeControllerManager, None, &own.controller_manager),
            flags::merge(Program::KubeScheduler, None, &own.scheduler),
        ),
    )
}

fn choose_datastore(cell: &Cell, running: Option<Running<'_>>) -> Result<DatastoreRef, Refusal> {
    match running {
        Some(running) => Ok(running.spec.datastore.clone()),
        None => datastore::choose(&cell.datastores),
    }
}

#[cfg(test)]
mod tests;
