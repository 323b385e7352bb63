//! The steps of a machine that should be there.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use skep_api::condition::{self, ConditionType};
use skep_api::machine::MachinePhase;
use skep_api::{ControlPlane, Machine, MachineStatus, NodeTemplate};
use skep_infra::State;
use skep_kubeops::events::Severity;
use skep_kubeops::{Key, Next};
use skep_plan::network;
use skep_plan::node_pool::{Node, Unresolved};

use super::dereference::Found;
use super::seen::{Accepted, Seen, Sight};
use super::vacate::{Vacated, is_ours};
use super::{MachineReconciler, address, drain, is_made_as, order, status};
use crate::approver::{self, Applicant, Verdict};
use crate::bootstrap::token;
use crate::tenants::Tenant;
use crate::{Error, Infrastructure, NodeCredentials, components};

/// Pause before an infrastructure that is at work is asked again: it has no way to call.
const STARTING: Duration = Duration::from_secs(1);
/// Pause before a machine is looked at whose node should be there and is not, or is not ready.
const UNREADY: Duration = Duration::from_secs(60);

/// Everything that is needed to order a machine.
struct Way<'a> {
    node: &'a Node,
    infrastructure: &'a Infrastructure,
    tenant: Arc<Tenant>,
}

impl MachineReconciler {
    /// Takes the next steps; what is learned goes into `seen`, whether it ends well or not.
    pub(super) async fn pass(
        &self,
        machine: &Machine,
        found: &Found,
        seen: &mut Seen,
    ) -> Result<Next, Error> {
        let made = machine.status.as_ref().and_then(|status| status.template.as_ref());
        let accepted = self.accepted(found, seen);
        let tenant = match found.endpoint(&self.config.gateway) {
            Some(endpoint) if made.is_some() || accepted.is_some() => {
                Some(self.tenants.open(&found.key, &endpoint).await?)
            }
            Some(_) => None,
            None => {
                seen.waits = Some(format!("cluster {} to be ready", found.key.name));
                None
            }
        };
        match (accepted, tenant) {
            (Some((node, infrastructure)), Some(tenant)) => {
                tenant.synced(&found.key).await?;
                tenant.prepare(&found.key).await?;
                self.onward(machine, found, Way { node, infrastructure, tenant }, seen).await
            }
            // Its cluster does not serve: nothing is changed, but the machine is looked at.
            (Some((_, infrastructure)), None) if made.is_some() => {
                let uid = machine.metadata.uid.as_deref().unwrap_or_default();
                seen.machine = infrastructure.provider.get(uid).await?;
                Ok(Next::After(UNREADY))
            }
            // It could not be made any more; what is there is left as it is, and goes on renewing its certificates.
            (None, Some(tenant)) => {
                tenant.synced(&found.key).await?;
                seen.node = sight(&tenant, machine);
                self.approve(machine, &found.key, &tenant, None).await?;
                Ok(Next::Done)
            }
            // What it waits for is watched.
            _ => Ok(Next::Done),
        }
    }

    /// What it should be and where it comes from, if its spec can be fulfilled.
    fn accepted<'a>(&'a self, found: &'a Found, seen: &mut Seen) -> Option<(&'a Node, &'a Infrastructure)> {
        match &found.node {
            Ok(node) => match self.config.infrastructure(node.class.provider) {
                Ok(infrastructure) => return Some((node, infrastructure)),
                Err(why) => seen.accepted = Accepted::NoInfrastructure(why),
            },
            Err(Unresolved::Refused(refused)) => seen.accepted = Accepted::Refused(refused.clone()),
            Err(Unresolved::Waits(why)) => seen.accepted = Accepted::Waits(why.clone()),
        }
        None
    }

    async fn onward(
        &self,
        machine: &Machine,
        found: &Found,
        way: Way<'_>,
        seen: &mut Seen,
    ) -> Result<Next, Error> {
        let old = machine.status.clone().unwrap_or_default();
        let uid = machine.metadata.uid.clone().unwrap_or_default();
        let tenant = &way.tenant;
        let mut wanted = way.node.template.clone();
        let mut made = old.template.clone();
        if let Some(made_as) = &made {
            if is_made_as(&machine.spec.template, made_as) {
                wanted = made_as.clone();
            } else {
                let vacated = self.vacate(machine, &found.key, Some(Ok(tenant.clone())), seen).await?;
                if let Vacated::NotYet(pause, _) = vacated {
                    return Ok(Next::After(pause));
                }
                made = None;
            }
        }
        seen.node = if seen.vacated { Sight::Absent } else { sight(tenant, machine) };
        let known = match (&made, &seen.node, &old.node) {
            (None, Sight::Absent, _) | (Some(_), Sight::Absent, None) => None,
            _ => way.infrastructure.provider.get(&uid).await?,
        };
        if let Some(next) = self.judge_sight(machine, found, &way, known.as_ref(), &mut made, seen).await? {
            return Ok(next);
        }
        if made.is_some()
            && let Some(next) = self.repair(machine, &found.key, tenant, way.infrastructure, seen).await?
        {
            return Ok(next);
        }
        if made.is_none() {
            self.begin(machine, &wanted, seen).await?;
        }
        let joined = matches!(seen.node, Sight::There(_));
        self.uncordon(found, tenant, &old, seen).await?;
        let token = match way.infrastructure.credentials {
            NodeCredentials::Own => {
                self.token(machine, found, tenant, joined && old.node.is_none(), joined).await?
            }
            NodeCredentials::Shared => None,
        };
        seen.joined = joined;
        let control_plane = found.control_plane.as_ref();
        let control_plane =
            control_plane.ok_or_else(|| Error::NotSeen(format!("the control plane of {}", found.key)))?;
        let address = match known.as_ref().and_then(|known| known.address) {
            Some(address) => Some(address),
            None => self.reported(machine, &found.key, control_plane, seen)?,
        };
        self.approve(machine, &found.key, tenant, address).await?;

        let node = Node { template: wanted, ..way.node.clone() };
        let text = token.as_ref().map(|token| token.text.clone()).unwrap_or_default();
        let order =
            order::build(machine, &node, control_plane, way.infrastructure, &tenant.authorities, text)
                .map_err(|reason| Error::Network { cluster: found.key.clone(), reason })?;
        let stale = self.knows_another_token(machine, &way, token.as_ref(), seen).await?;
        let mut ordered = way.infrastructure.provider.ensure(&order).await?;
        ordered.address = ordered.address.or(address);
        if stale {
            match way.infrastructure.provider.reboot(&uid).await {
                // Whoever brought it starts it with the new one.
                Ok(()) | Err(skep_infra::Error::NotSupported { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let state = ordered.state.clone();
        seen.machine = Some(ordered);
        if joined {
            self.equip(found, control_plane, &way).await?;
        }
        Ok(next(&state, &seen.node, token.as_ref(), self.config.now()))
    }

    /// Installs what a cluster with nodes needs.
    async fn equip(&self, found: &Found, control_plane: &ControlPlane, way: &Way<'_>) -> Result<(), Error> {
        let settings = components::Settings {
            components: found.cluster.as_ref().map(|cluster| cluster.spec.components).unwrap_or_default(),
            dns: order::dns(control_plane)
                .map_err(|reason| Error::Network { cluster: found.key.clone(), reason })?,
            domain: control_plane.spec.network.cluster_domain.clone(),
            forward: way.infrastructure.resolver,
            registry: way.infrastructure.registry.is_some(),
        };
        way.tenant.equip(&found.key, settings).await
    }

    /// Is the node of the machine's name its own, and is the machine of the node still there?
    async fn judge_sight(
        &self,
        machine: &Machine,
        found: &Found,
        way: &Way<'_>,
        known: Option<&skep_infra::Machine>,
        made: &mut Option<NodeTemplate>,
        seen: &mut Seen,
    ) -> Result<Option<Next>, Error> {
        let old = machine.status.clone().unwrap_or_default();
        let mut had_node = old.node.is_some() && made.is_some();
        if let Sight::There(node) = &seen.node {
            let on = node.spec.provider_id.clone();
            let is_own = match (&known, &on) {
                (Some(known), Some(on)) => known.provider_id == *on,
                (Some(_), None) => true,
                (None, _) => made.is_some() && is_ours(node, &old),
            };
            if !is_own {
                seen.node = Sight::Foreign(on.unwrap_or_default());
                return Ok(Some(Next::After(UNREADY)));
            }
            had_node = true;
        }
        if had_node && known.is_none() {
            // Somebody has taken the machine away: what it was is no more, and another one is made under its name.
            let recorder = &self.config.recorder;
            let text = "the infrastructure has no such machine any more; it is made anew";
            recorder.publish(machine, Severity::Warning, "MachineLost", "Reconcile", text);
            way.tenant.delete_node(&found.key, &machine.name_any(), |node| is_ours(node, &old)).await?;
            seen.node = Sight::Absent;
            *made = None;
        }
        Ok(None)
    }

    /// Writes down what is going to be asked for, before it is.
    async fn begin(&self, machine: &Machine, wanted: &NodeTemplate, seen: &mut Seen) -> Result<(), Error> {
        let status = status::begun(machine, wanted, &Time(self.config.now()));
        self.applier.status(machine, machine.status.as_ref(), &status).await?;
        seen.begun = Some(wanted.clone());
        Ok(())
    }

    /// The token of a machine that has not joined; of one that just has, it is taken back.
    async fn token(
        &self,
        machine: &Machine,
        found: &Found,
        tenant: &Tenant,
        just_joined: bool,
        joined: bool,
    ) -> Result<Option<token::Token>, Error> {
        let uid = machine.metadata.uid.as_deref().unwrap_or_default();
        if just_joined {
            token::remove(&tenant.applier, &found.key, uid).await?;
        }
        if joined {
            return Ok(None);
        }
        let now = self.config.now();
        token::ensure(&tenant.applier, &found.key, &machine.name_any(), uid, now).await.map(Some)
    }

    /// Whether the machine was made with a token that is no more: cleaned up while nobody was there to renew it. It reads
    /// the new one when it starts. One that has joined before needs none.
    async fn knows_another_token(
        &self,
        machine: &Machine,
        way: &Way<'_>,
        token: Option<&token::Token>,
        seen: &Seen,
    ) -> Result<bool, Error> {
        let phase = machine.status.as_ref().and_then(|status| status.phase);
        let joining = matches!(phase, Some(MachinePhase::Provisioning | MachinePhase::Joining));
        if !joining || seen.begun.is_some() || !token.is_some_and(|token| token.fresh) {
            return Ok(false);
        }
        let uid = machine.metadata.uid.as_deref().unwrap_or_default();
        Ok(way.infrastructure.provider.get(uid).await?.is_some())
    }

    /// Takes back what a drain has done to a node that may stay after all: its change in place was called off.
    async fn uncordon(
        &self,
        found: &Found,
        tenant: &Tenant,
        old: &MachineStatus,
        seen: &Seen,
    ) -> Result<(), Error> {
        match &seen.node {
            Sight::There(node)
                if node.spec.unschedulable
                    && condition::is_true(&old.conditions, ConditionType::Draining) =>
            {
                drain::cordon(tenant, &found.key, &node.name_any(), false).await
            }
            _ => Ok(()),
        }
    }

    /// The address of a machine whose infrastructure knows none: what its node says, as far as it may be.
    fn reported(
        &self,
        machine: &Machine,
        cluster: &Key,
        control_plane: &ControlPlane,
        seen: &mut Seen,
    ) -> Result<Option<Ipv4Addr>, Error> {
        let Sight::There(node) = &seen.node else { return Ok(None) };
        let Some(reported) = node.internal_address() else { return Ok(None) };
        let ranges = network::check(&control_plane.spec.network)
            .map_err(|refused| Error::Network { cluster: cluster.clone(), reason: refused.to_string() })?;
        let beside = self.caches.machines.select(|other| {
            other.metadata.uid != machine.metadata.uid
                && other.metadata.namespace == machine.metadata.namespace
                && other.spec.cluster == machine.spec.cluster
        });
        let others = beside.iter().filter_map(|other| {
            Some((other.metadata.name.as_deref()?, other.status.as_ref()?.address.as_ref()?.parse().ok()?))
        });
        match address::believed(reported, &ranges, others) {
            Ok(address) => Ok(Some(address)),
            Err(why) => {
                let said = machine
                    .status
                    .as_ref()
                    .and_then(|status| condition::get(&status.conditions, ConditionType::MachineReady));
                if said.is_none_or(|said| said.message != why) {
                    let recorder = &self.config.recorder;
                    recorder.publish(machine, Severity::Warning, "AddressRefused", "Approve", why.clone());
                }
                seen.unbelieved = Some(why);
                Ok(None)
            }
        }
    }

    /// Decides about the machine's certificate requests. `known` is its address as its infrastructure says now.
    pub(super) async fn approve(
        &self,
        machine: &Machine,
        cluster: &Key,
        tenant: &Tenant,
        known: Option<Ipv4Addr>,
    ) -> Result<(), Error> {
        let stored = machine.status.as_ref().and_then(|status| status.address.as_ref()?.parse().ok());
        let applicant = Applicant {
            name: machine.name_any(),
            token: token::id(machine.metadata.uid.as_deref().unwrap_or_default()),
            address: known.map(IpAddr::from).or(stored),
        };
        for (request, verdict) in approver::decide_all(tenant, cluster, &applicant).await? {
            let (severity, reason, text) = match verdict {
                Verdict::Approve(why) => {
                    (Severity::Normal, "CertificateApproved", format!("{request}: {why}"))
                }
                Verdict::Deny(_, why) => {
                    (Severity::Warning, "CertificateDenied", format!("{request}: {why} (SKEP-8062)"))
                }
                Verdict::Wait(_) | Verdict::Leave => continue,
            };
            self.config.recorder.publish(machine, severity, reason, "Approve", text);
        }
        Ok(())
    }
}

fn sight(tenant: &Tenant, machine: &Machine) -> Sight {
    tenant.node(&machine.name_any()).map_or(Sight::Absent, Sight::There)
}

/// When to look again. Nodes are watched; infrastructures and tokens are not.
fn next(state: &State, node: &Sight, token: Option<&token::Token>, now: Timestamp) -> Next {
    match (state, node) {
        (State::Starting(_) | State::Stopped, _) => Next::After(STARTING),
        (State::Running, Sight::There(node)) if node.is_ready() => Next::Done,
        // Somebody may bring it at any time; its node says so by itself.
        (State::Running | State::Awaited(_), _) => {
            let renew = token.map(|token| token.renew.duration_since(now).unsigned_abs());
            Next::After(renew.unwrap_or(UNREADY).clamp(STARTING, UNREADY))
        }
    }
}
