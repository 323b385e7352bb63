//! Writes, in the order in which the objects need each other.
//!
//! [`Prepared`] can only be applied once, and only [`Applied`] says what became of each program: a status can not be
//! computed from manifests that were never written.

use std::time::Instant;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use serde::Serialize;
use skep_api::{ControlPlane, KubeVersion};
use skep_kubeops::{Key, Object};
use skep_plan::flags::Program;
use skep_plan::rollout::{self, Gate};

use super::ControlPlaneReconciler;
use super::dereference::Found;
use crate::build::{Manifests, Workload};
use crate::{Error, names, observe};

/// Manifests that were built and not written yet.
pub(super) struct Prepared {
    pub(super) secrets: Vec<Secret>,
    pub(super) manifests: Manifests,
}

/// Manifests that were written, each program with the gate it met.
pub(super) struct Applied {
    pub(super) workloads: Vec<(Workload, Gate)>,
}

impl Applied {
    /// Whether it waits for its turn to start.
    pub(super) fn is_queued(&self) -> bool {
        let queued = |gate: &Gate| matches!(gate, Gate::Waits { reason, .. } if *reason == rollout::QUEUED);
        self.workloads.iter().any(|(_, gate)| queued(gate))
    }
}

impl ControlPlaneReconciler {
    /// Writes everything that may be written now. What does not depend on each other is written at once.
    pub(super) async fn apply(
        &self,
        owner: &ControlPlane,
        goal: &KubeVersion,
        prepared: Prepared,
        found: &Found,
    ) -> Result<Applied, Error> {
        let Prepared { secrets, manifests } = prepared;
        let mounted = async {
            let (secrets, config) = tokio::join!(
                self.ensure_all(&secrets),
                self.ensure_all(std::slice::from_ref(&manifests.config))
            );
            secrets.and(config)
        };
        // Pods wait for what they mount, not for policies.
        let (mounted, policies, budgets) =
            tokio::join!(mounted, self.ensure_all(&manifests.policies), self.ensure_all(&manifests.budgets));
        mounted?;
        let turn = self.turn(owner, found);
        let gated: Vec<(Workload, Gate)> = manifests
            .workloads
            .into_iter()
            .map(|w| (if turn.is_open() { gate(&w, goal, found) } else { turn.clone() }, w))
            .map(|(g, w)| (w, g))
            .collect();
        let open: Vec<Deployment> =
            gated.iter().filter(|(_, gate)| gate.is_open()).map(|(w, _)| w.deployment.clone()).collect();
        self.ensure_all(&open).await?;
        policies.and(budgets)?;
        let kept = Kept {
            secrets: secrets
                .iter()
                .map(ResourceExt::name_any)
                .chain([names::AUTHORITIES.to_owned()])
                .collect(),
            config: vec![manifests.config.name_any()],
            policies: manifests.policies.iter().map(ResourceExt::name_any).collect(),
            budgets: manifests.budgets.iter().map(ResourceExt::name_any).collect(),
            workloads: gated.iter().map(|(workload, _)| workload.deployment.name_any()).collect(),
        };
        self.sweep(owner, &kept).await?;
        Ok(Applied { workloads: gated })
    }

    /// Whether it is this control plane's turn to start, if it has not been started yet.
    fn turn(&self, owner: &ControlPlane, found: &Found) -> Gate {
        let key = Key::of(owner);
        if observe::api_servers(&found.pods).iter().any(|copy| copy.ready) {
            self.starts.leave(&key);
            return Gate::Open;
        }
        if found.deployments.iter().any(|one| one.name_any() == Program::KubeApiserver.name()) {
            return Gate::Open;
        }
        match self.starts.enter(&key, Instant::now()) {
            Ok(()) => Gate::Open,
            Err(starting) => Gate::Waits {
                reason: rollout::QUEUED,
                message: format!("{starting} others are starting; this one starts when it is its turn"),
            },
        }
    }

    /// Applies objects of one kind at once; all are tried, the first error is given.
    async fn ensure_all<K: Object + Serialize>(&self, objects: &[K]) -> Result<(), Error> {
        let results = join_all(objects.iter().map(|object| self.applier.ensure(object))).await;
        results.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(())
    }

    /// Deletes what an earlier version or spec made and this one does not.
    async fn sweep(&self, owner: &ControlPlane, kept: &Kept) -> Result<(), Error> {
        tokio::try_join!(
            self.sweep_kind::<Secret>(owner, &kept.secrets),
            self.sweep_kind::<ConfigMap>(owner, &kept.config),
            self.sweep_kind::<NetworkPolicy>(owner, &kept.policies),
            self.sweep_kind::<PodDisruptionBudget>(owner, &kept.budgets),
            self.sweep_kind::<Deployment>(owner, &kept.workloads),
        )?;
        Ok(())
    }

    async fn sweep_kind<K: Object>(&self, owner: &ControlPlane, keep: &[String]) -> Result<(), Error> {
        let keep: Vec<&str> = keep.iter().map(String::as_str).collect();
        let selector = names::of_tenant(&owner.spec.tenant);
        self.applier
            .sweep::<K>(owner.namespace().as_deref(), &selector, owner.metadata.uid.as_deref(), &keep)
            .await?;
        Ok(())
    }
}

struct Kept {
    secrets: Vec<String>,
    config: Vec<String>,
    policies: Vec<String>,
    budgets: Vec<String>,
    workloads: Vec<String>,
}

fn gate(workload: &Workload, goal: &KubeVersion, found: &Found) -> Gate {
    let observed = rollout::Observed {
        api_servers: observe::api_servers(&found.pods),
        controller: observe::applied_version(workload.program, &found.deployments),
    };
    rollout::gate(workload.program, goal, &observed)
}
