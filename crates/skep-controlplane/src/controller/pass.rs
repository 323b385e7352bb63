//! One full pass over a control plane. All phases run as far as they can; the status is always written.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use skep_api::{ControlPlane, KubeVersion, TenantId};
use skep_datastore::TenantAccess;
use skep_kubeops::Next;
use skep_plan::egress::tunnel;
use skep_plan::network;

use super::apply::{Applied, Prepared};
use super::dereference::Found;
use super::{ControlPlaneReconciler, RENEWAL_LOOK, SOONEST};
use crate::build::{self, Inputs, Manifests};
use crate::pki::{self, Authorities, Gateway, Issued};
use crate::starts::ASK_AGAIN;
use crate::status::{self, Phase, Report};
use crate::{Error, names, observe};

impl ControlPlaneReconciler {
    /// Reads, decides, writes, reports.
    pub(super) async fn pass(&self, owner: &ControlPlane, tenant: &TenantId) -> Result<Next, Error> {
        let now = Timestamp::now();
        let found = self.dereference(owner).await?;
        // Neither needs the other, and each waits for somebody else's disk.
        let certificate = found.stored.pair(names::DATASTORE_CLIENT, "tls");
        let (authorities, access) = tokio::join!(self.authorities(owner, &found.stored, now), async {
            self.config.store.ensure(&owner.spec.datastore, tenant, certificate.as_ref()).await
        });
        let access = access.map_err(Error::from);
        let done = self.carry_out(owner, &found, &authorities, &access, now).await;
        let report = report(&found, &authorities, &access, &done);
        let status = status::of(owner, &report, &Time(now));
        self.announce(owner, &status, done.as_ref().ok().map(|done| done.issued.news.as_slice()));
        self.applier.status(owner, owner.status.as_ref(), &status).await?;
        let renewal = match done {
            Ok(done) if done.applied.is_queued() => return Ok(Next::After(ASK_AGAIN)),
            Ok(done) => done.issued.renewal,
            Err(Failure::Own(error)) => return Err(error),
            Err(Failure::Earlier) => {
                authorities?;
                access?;
                return Ok(Next::Done);
            }
        };
        let until = std::time::Duration::try_from(renewal.duration_since(now)).unwrap_or_default();
        Ok(Next::After(until.clamp(SOONEST, RENEWAL_LOOK)))
    }

    /// Builds and writes, if keys and access are there.
    async fn carry_out(
        &self,
        owner: &ControlPlane,
        found: &Found,
        authorities: &Result<Authorities, Error>,
        access: &Result<TenantAccess, Error>,
        now: Timestamp,
    ) -> Result<Done, Failure> {
        let (Ok(authorities), Ok(access)) = (authorities, access) else {
            return Err(Failure::Earlier);
        };
        let cell = &self.config.cell;
        let goal = version(owner)?;
        let door = match tunnel::knows_server_names(&goal) {
            true => None,
            false => Some(self.door(now).await?),
        };
        let gateway = Gateway { url: &cell.gateway, door: door.as_deref() };
        let issued = pki::issue(&owner.spec, authorities, access, &found.stored, &gateway, now)?;
        let manifests = manifests(owner, access, &issued, cell)?;
        let secrets =
            issued.secrets.iter().map(|(name, data)| build::secret(owner, name, data.clone())).collect();
        let prepared = Prepared { secrets, manifests };
        let applied = self.apply(owner, &goal, prepared, found).await?;
        Ok(Done { issued, applied })
    }
}

/// What a pass has done.
struct Done {
    issued: Issued,
    applied: Applied,
}

/// Why nothing, or not everything, was written.
enum Failure {
    /// Keys or access were not there; their own phase says why.
    Earlier,
    /// This phase failed.
    Own(Error),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Own(error.into())
    }
}

fn version(owner: &ControlPlane) -> Result<KubeVersion, Error> {
    owner.spec.version.parse().map_err(|error| Error::Spec { field: "version", reason: format!("{error}") })
}

fn manifests(
    owner: &ControlPlane,
    access: &TenantAccess,
    issued: &Issued,
    cell: &build::CellSettings,
) -> Result<Manifests, Error> {
    let ranges =
        network::check(&owner.spec.network).map_err(|refused| Error::Network(refused.to_string()))?;
    Ok(build::manifests(&Inputs {
        owner,
        ranges,
        etcd_servers: &access.endpoints,
        etcd_prefix: &access.prefix,
        files: &issued.files,
        cell,
    }))
}

fn report<'a>(
    found: &Found,
    authorities: &'a Result<Authorities, Error>,
    access: &'a Result<TenantAccess, Error>,
    done: &'a Result<Done, Failure>,
) -> Report<'a> {
    let programs = match done {
        Ok(done) => done
            .applied
            .workloads
            .iter()
            .map(|(workload, gate)| {
                (observe::copies(workload, &found.pods, &found.deployments), gate.clone())
            })
            .collect(),
        Err(_) => Vec::new(),
    };
    Report {
        certificates: phase(authorities),
        datastore: phase(access),
        objects: match done {
            Ok(_) => Phase::Done,
            Err(Failure::Earlier) => Phase::NotReached,
            Err(Failure::Own(error)) => Phase::Failed(error),
        },
        programs,
        api_servers: observe::api_servers(&found.pods),
    }
}

fn phase<T>(result: &Result<T, Error>) -> Phase<'_> {
    match result {
        Ok(_) => Phase::Done,
        Err(error) => Phase::Failed(error),
    }
}
