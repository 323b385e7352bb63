//! What a pod takes of its node, by upstream's rule: the containers that run together, or the hungriest moment of
//! initialisation, whichever is more, plus overhead (`k8s.io/component-helpers/resource/helpers.go`).

use std::collections::BTreeMap;
use std::ops::AddAssign;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::status::is_sidecar;
use crate::quantity::{milli, units};

/// Amounts by resource name: CPU in thousandths, everything else in whole units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Amounts(BTreeMap<String, i64>);

impl Amounts {
    /// From a list of the API.
    #[must_use]
    pub fn from_list(list: Option<&BTreeMap<String, Quantity>>) -> Self {
        let amount = |name: &str, quantity| if name == "cpu" { milli(quantity) } else { units(quantity) };
        let pairs = list.into_iter().flatten();
        Self(pairs.filter_map(|(name, quantity)| Some((name.clone(), amount(name, quantity)?))).collect())
    }

    /// The amount of `name`, zero when not named.
    #[must_use]
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Every named resource.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    /// Whether `name` is named at all.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn raise_to(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let mine = self.0.entry(name.clone()).or_default();
            *mine = (*mine).max(*amount);
        }
    }
}

impl AddAssign<&Amounts> for Amounts {
    fn add_assign(&mut self, other: &Amounts) {
        for (name, amount) in &other.0 {
            let mine = self.0.entry(name.clone()).or_default();
            *mine = mine.saturating_add(*amount);
        }
    }
}

/// Requests of a whole pod.
#[must_use]
pub fn requests(spec: &PodSpec) -> Amounts {
    let mut total = Amounts::default();
    for container in &spec.containers {
        total += &of(container.resources.as_ref());
    }
    let mut sidecars = Amounts::default();
    let mut peak = Amounts::default();
    for container in spec.init_containers.iter().flatten() {
        let own = of(container.resources.as_ref());
        if is_sidecar(container) {
            sidecars += &own;
            peak.raise_to(&sidecars);
        } else {
            // An init container runs beside the sidecars that started before it.
            let mut together = sidecars.clone();
            together += &own;
            peak.raise_to(&together);
        }
    }
    total += &sidecars;
    total.raise_to(&peak);
    if let Some(resources) = &spec.resources {
        // What the pod asks for as a whole replaces the sum of its containers.
        for (name, amount) in of(Some(resources)).0 {
            total.0.insert(name, amount);
        }
    }
    total += &Amounts::from_list(spec.overhead.as_ref());
    total
}

fn of(resources: Option<&ResourceRequirements>) -> Amounts {
    Amounts::from_list(resources.and_then(|resources| resources.requests.as_ref()))
}

/// Whether two specs ask for different resources anywhere: the part of a spec that may change while a pod runs.
#[must_use]
pub fn resources_differ(one: &PodSpec, other: &PodSpec) -> bool {
    let differ = |a: &[Container], b: &[Container]| {
        a.iter().any(|container| {
            b.iter()
                .find(|candidate| candidate.name == container.name)
                .is_some_and(|candidate| candidate.resources != container.resources)
        })
    };
    let init = |spec: &PodSpec| spec.init_containers.clone().unwrap_or_default();
    differ(&one.containers, &other.containers)
        || differ(&init(one), &init(other))
        || one.resources != other.resources
}

/// `spec` with the resources of `granted`: what a pod runs with while a resize waits.
#[must_use]
pub fn with_resources_of(spec: &PodSpec, granted: &PodSpec) -> PodSpec {
    let mut spec = spec.clone();
    let keep = |containers: &mut [Container], granted: &[Container]| {
        for container in containers {
            if let Some(known) = granted.iter().find(|known| known.name == container.name) {
                container.resources.clone_from(&known.resources);
            }
        }
    };
    keep(&mut spec.containers, &granted.containers);
    if let (Some(containers), Some(known)) = (&mut spec.init_containers, &granted.init_containers) {
        keep(containers, known);
    }
    spec.resources.clone_from(&granted.resources);
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(value: Value) -> PodSpec {
        serde_json::from_value(value).unwrap()
    }

    fn container(name: &str, cpu: &str) -> Value {
        json!({"name": name, "resources": {"requests": {"cpu": cpu, "memory": "1Mi"}}})
    }

    fn sidecar(name: &str, cpu: &str) -> Value {
        let mut sidecar = container(name, cpu);
        sidecar["restartPolicy"] = json!("Always");
        sidecar
    }

    #[test]
    fn containers_add_up_with_overhead() {
        let pod = spec(
            json!({"containers": [container("a", "100m"), container("b", "1")], "overhead": {"cpu": "5m"}}),
        );
        assert_eq!((requests(&pod).get("cpu"), requests(&pod).get("memory")), (1105, 2 << 20));
    }

    #[test]
    fn initialisation_counts_at_its_peak() {
        let pod = spec(json!({
            "initContainers": [container("i", "500m"), sidecar("s", "200m"), container("j", "900m")],
            "containers": [container("a", "100m")],
        }));
        assert_eq!(requests(&pod).get("cpu"), 1100);
        let pod =
            spec(json!({"initContainers": [sidecar("s", "200m")], "containers": [container("a", "1")]}));
        assert_eq!(requests(&pod).get("cpu"), 1200);
    }

    #[test]
    fn resources_of_the_pod_replace_those_of_containers() {
        let pod = spec(json!({"containers": [container("a", "1")], "resources": {"requests": {"cpu": "3"}}}));
        assert_eq!((requests(&pod).get("cpu"), requests(&pod).get("memory")), (3000, 1 << 20));
    }

    #[test]
    fn a_waiting_resize_runs_with_what_was_granted() {
        let granted = spec(json!({"containers": [container("a", "100m")]}));
        let wanted = spec(json!({"containers": [container("a", "200m")], "nodeName": "x"}));
        assert!(resources_differ(&granted, &wanted));
        let kept = with_resources_of(&wanted, &granted);
        assert!(!resources_differ(&granted, &kept));
        assert_eq!(kept.node_name.as_deref(), Some("x"));
    }
}
