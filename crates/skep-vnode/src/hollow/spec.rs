//! As much of a pod's spec as a hollow pod needs. Pods of one template share one.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    Container, ContainerRestartRule, ContainerRestartRuleOnExitCodes, Pod, PodReadinessGate, PodSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use crate::backend::restart::{is_sidecar, restarts};

/// Kubernetes' default for `terminationGracePeriodSeconds`.
const GRACE_SECONDS: i64 = 30;
/// Specs after which those that nobody uses any more are looked for.
const SWEEP: usize = 256;

/// What a pod should run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    restart_policy: Option<String>,
    active_deadline_seconds: Option<i64>,
    termination_grace_period_seconds: Option<i64>,
    /// Whether its pods have the node's address.
    pub host_network: bool,
    init_containers: Vec<Part>,
    containers: Vec<Part>,
    readiness_gates: Vec<Gate>,
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    restart_policy: Option<String>,
    restart_policy_rules: Vec<Rule>,
    /// Says when it is ready.
    pub readiness_probe: Option<Probe>,
    /// Says when it has started.
    pub startup_probe: Option<Probe>,
}

/// A probe, of which only the delay counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    /// Seconds before the first one.
    pub initial_delay_seconds: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    action: String,
    exit_codes: Option<Codes>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default)]
struct Codes {
    operator: String,
    values: Vec<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Gate {
    condition_type: String,
}

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container that goes on running beside the others.
    Sidecar,
    /// Runs when all before have.
    Main,
}

impl Spec {
    /// Containers in their order: init containers, then the others.
    pub fn parts(&self) -> impl ExactSizeIterator<Item = &Part> {
        let (init, all) = (self.init_containers.len(), self.init_containers.len() + self.containers.len());
        (0..all).map(move |index| match index.checked_sub(init) {
            None => &self.init_containers[index],
            Some(main) => &self.containers[main],
        })
    }

    /// The container of this number.
    pub fn part(&self, index: usize) -> Option<&Part> {
        self.parts().nth(index)
    }

    /// How many of them are init containers.
    pub fn inits(&self) -> usize {
        self.init_containers.len()
    }

    /// What the container of this number is for.
    pub fn role(&self, index: usize) -> Role {
        match self.init_containers.get(index) {
            None => Role::Main,
            Some(part) if is_sidecar(&part.container()) => Role::Sidecar,
            Some(_) => Role::Init,
        }
    }

    /// Whether its containers end by themselves.
    pub fn ends(&self) -> bool {
        self.restart_policy.as_deref().is_some_and(|policy| policy != "Always")
    }

    /// Whether a container that ended with this code is started again. An init container that did what it is for is not,
    /// whatever its pod's policy is.
    pub fn restarts(&self, index: usize, code: i32) -> bool {
        if code == 0 && self.role(index) == Role::Init {
            return false;
        }
        let spec = PodSpec { restart_policy: self.restart_policy.clone(), ..PodSpec::default() };
        self.part(index).is_some_and(|part| restarts(&part.container(), &spec, code))
    }

    /// After how many milliseconds the pod has to end, if it has to.
    pub fn deadline(&self) -> Option<i64> {
        Some(self.active_deadline_seconds?.max(0).saturating_mul(1000))
    }

    /// What its containers are given to end, in milliseconds.
    pub fn grace(&self) -> i64 {
        self.termination_grace_period_seconds.unwrap_or(GRACE_SECONDS).max(0).saturating_mul(1000)
    }

    /// A pod with this spec, as far as its status depends on it.
    pub fn pod(&self, generation: Option<i64>) -> Pod {
        let containers = |parts: &[Part]| parts.iter().map(Part::container).collect::<Vec<_>>();
        let gates = self.readiness_gates.iter();
        let gates: Vec<_> =
            gates.map(|gate| PodReadinessGate { condition_type: gate.condition_type.clone() }).collect();
        let init = containers(&self.init_containers);
        Pod {
            metadata: ObjectMeta { generation, ..ObjectMeta::default() },
            spec: Some(PodSpec {
                restart_policy: self.restart_policy.clone(),
                init_containers: (!init.is_empty()).then_some(init),
                containers: containers(&self.containers),
                readiness_gates: (!gates.is_empty()).then_some(gates),
                ..PodSpec::default()
            }),
            status: None,
        }
    }
}

impl Part {
    fn container(&self) -> Container {
        let rule = |rule: &Rule| ContainerRestartRule {
            action: rule.action.clone(),
            exit_codes: rule.exit_codes.as_ref().map(|codes| ContainerRestartRuleOnExitCodes {
                operator: codes.operator.clone(),
                values: Some(codes.values.clone()),
            }),
        };
        let rules: Vec<_> = self.restart_policy_rules.iter().map(rule).collect();
        Container {
            name: self.name.clone(),
            restart_policy: self.restart_policy.clone(),
            restart_policy_rules: (!rules.is_empty()).then_some(rules),
            ..Container::default()
        }
    }
}

/// Specs that are in use, each once.
#[derive(Debug, Default)]
pub struct Specs {
    known: HashSet<Arc<Spec>>,
    sweep_at: usize,
}

impl Specs {
    /// The one that is equal to this.
    pub fn share(&mut self, spec: Spec) -> Arc<Spec> {
        if let Some(known) = self.known.get(&spec) {
            return known.clone();
        }
        if self.known.len() >= self.sweep_at.max(SWEEP) {
            self.known.retain(|spec| Arc::strong_count(spec) > 1);
            self.sweep_at = self.known.len() * 2;
        }
        let spec = Arc::new(spec);
        self.known.insert(spec.clone());
        spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_of_a_template_share_it_and_what_nobody_uses_goes() {
        let spec = |n: usize| -> Spec {
            serde_json::from_value(
                json!({"containers": [{"name": "c", "image": format!("i:{n}")}], "volumes": []}),
            )
            .unwrap()
        };
        let mut specs = Specs::default();
        let kept = specs.share(spec(0));
        assert!(Arc::ptr_eq(&kept, &specs.share(spec(0))));
        for n in 1..1000 {
            specs.share(spec(n));
        }
        assert!(specs.known.len() <= SWEEP, "{}", specs.known.len());
        assert!(Arc::ptr_eq(&kept, &specs.share(spec(0))));
    }

    #[test]
    fn roles_are_the_specs() {
        let spec: Spec = serde_json::from_value(json!({
            "restartPolicy": "OnFailure",
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
            "containers": [{"name": "c"}],
        }))
        .unwrap();
        assert_eq!([0, 1, 2].map(|n| spec.role(n)), [Role::Init, Role::Sidecar, Role::Main]);
        assert!(spec.ends() && spec.restarts(2, 1) && !spec.restarts(2, 0) && spec.restarts(1, 0));
        assert_eq!(spec.parts().map(|part| part.name.as_str()).collect::<String>(), "isc");
        let pod = spec.pod(Some(3)).spec.unwrap();
        assert_eq!((pod.init_containers.unwrap().len(), pod.containers.len()), (2, 1));
    }
}
