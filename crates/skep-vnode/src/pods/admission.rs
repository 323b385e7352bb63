//! Whether a node takes a pod. The scheduler decided on what it knew; the node has the last word.
//!
//! Reasons and messages are the kubelet's (`pkg/kubelet/lifecycle/predicate.go`): controllers and people search for
//! `OutOfcpu` and `NodeAffinity`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use super::requests::{Amounts, requests};
use super::selector;
use super::status::{Failure, ResizePending};

/// What a node offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The node's name.
    pub name: String,
    /// The node's labels.
    pub labels: BTreeMap<String, String>,
    /// What pods may ask for in all, `pods` included.
    pub allocatable: Amounts,
}

/// What the pods that hold resources now have taken together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    amounts: Amounts,
    pods: i64,
}

impl Taken {
    /// Counts a pod with these requests.
    pub fn add(&mut self, requests: &Amounts) {
        self.amounts += requests;
        self.pods += 1;
    }
}

/// `Err` with what to write into the status of a pod that is refused.
///
/// # Errors
/// The first thing that is wrong.
pub fn admit(pod: &Pod, offer: &Offer, taken: &Taken) -> Result<(), Failure> {
    let Some(spec) = &pod.spec else {
        return Err(refuse("UnexpectedAdmissionError", "The pod has no spec."));
    };
    if spec.os.as_ref().is_some_and(|os| os.name != "linux") {
        let message = "Failed to admit pod as the OS field doesn't match node OS";
        return Err(refuse("PodOSNotSupported", message));
    }
    if !selector::matches(spec, &offer.name, &offer.labels) {
        return Err(refuse(
            "NodeAffinity",
            "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ));
    }
    if taken.pods + 1 > offer.allocatable.get("pods") {
        return Err(shortage("pods", 1, taken.pods, offer.allocatable.get("pods")));
    }
    let wanted = requests(spec);
    match short(&wanted, offer, taken) {
        Some((name, amount)) => {
            Err(shortage(name, amount, taken.amounts.get(name), offer.allocatable.get(name)))
        }
        None => Ok(()),
    }
}

/// Whether a pod that runs may change to `wanted`; `taken` is without the pod itself.
///
/// # Errors
/// Why not, and whether waiting can help.
pub fn admit_resize(wanted: &Amounts, offer: &Offer, taken: &Taken) -> Result<(), ResizePending> {
    if let Some((name, amount)) = short(wanted, offer, &Taken::default()) {
        let capacity = offer.allocatable.get(name);
        let message =
            format!("Node didn't have enough capacity: {name}, requested: {amount}, capacity: {capacity}");
        return Err(ResizePending { infeasible: true, message });
    }
    if let Some((name, amount)) = short(wanted, offer, taken) {
        let message = shortage(name, amount, taken.amounts.get(name), offer.allocatable.get(name)).message;
        return Err(ResizePending { infeasible: false, message });
    }
    Ok(())
}

/// The first resource of which there is not enough. A resource the node does not offer at all is not the node's to
/// refuse: upstream lets cluster-level resources pass.
fn short<'a>(wanted: &'a Amounts, offer: &Offer, taken: &Taken) -> Option<(&'a str, i64)> {
    wanted.iter().find(|(name, amount)| {
        let known = offer.allocatable.names(name) || !name.contains('/');
        *amount > 0 && known && taken.amounts.get(name).saturating_add(*amount) > offer.allocatable.get(name)
    })
}

fn refuse(reason: &str, message: &str) -> Failure {
    Failure { reason: reason.to_owned(), message: message.to_owned() }
}

fn shortage(name: &str, requested: i64, used: i64, capacity: i64) -> Failure {
    let message = format!(
        "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
    );
    Failure { reason: format!("OutOf{name}"), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn offer() -> Offer {
        let list = serde_json::from_value(json!({"cpu": "2", "memory": "1Gi", "pods": "3"})).unwrap();
        Offer {
            name: "skep-a".into(),
            labels: BTreeMap::from([("zone".into(), "a".into())]),
            allocatable: Amounts::from_list(Some(&list)),
        }
    }

    fn pod(requests: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [
            {"name": "c", "resources": {"requests": requests}}]}}))
        .unwrap()
    }

    fn taken(pods: &[Value]) -> Taken {
        let mut taken = Taken::default();
        for value in pods {
            taken.add(&requests(pod(value.clone()).spec.as_ref().unwrap()));
        }
        taken
    }

    #[test]
    fn refusals_have_the_reasons_of_the_kubelet() {
        let used = taken(&[json!({"cpu": "1500m"})]);
        let reason = |pod: Pod, used: &Taken| admit(&pod, &offer(), used).unwrap_err().reason;
        assert_eq!(reason(pod(json!({"cpu": "600m"})), &used), "OutOfcpu");
        assert_eq!(reason(pod(json!({"memory": "2Gi"})), &used), "OutOfmemory");
        assert_eq!(reason(pod(json!({})), &taken(&[json!({}), json!({}), json!({})])), "OutOfpods");
        let mut elsewhere = pod(json!({}));
        elsewhere.spec.as_mut().unwrap().node_selector = Some(BTreeMap::from([("zone".into(), "b".into())]));
        assert_eq!(reason(elsewhere, &used), "NodeAffinity");
        assert_eq!(admit(&pod(json!({"cpu": "500m", "example.com/gpu": "1"})), &offer(), &used), Ok(()));
    }

    #[test]
    fn the_message_has_the_figures() {
        let failure =
            admit(&pod(json!({"cpu": "600m"})), &offer(), &taken(&[json!({"cpu": "1500m"})])).unwrap_err();
        assert_eq!(
            failure.message,
            "Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000"
        );
    }

    #[test]
    fn a_resize_waits_or_never_fits() {
        let amounts = |value| requests(pod(value).spec.as_ref().unwrap());
        let used = taken(&[json!({"cpu": "1500m"})]);
        assert!(admit_resize(&amounts(json!({"cpu": "5"})), &offer(), &used).unwrap_err().infeasible);
        assert!(!admit_resize(&amounts(json!({"cpu": "1"})), &offer(), &used).unwrap_err().infeasible);
        assert_eq!(admit_resize(&amounts(json!({"cpu": "500m"})), &offer(), &used), Ok(()));
    }

    proptest! {
        #[test]
        fn admitted_pods_never_take_more_than_there_is(sizes in prop::collection::vec(0_i64..1500, 0..12)) {
            let (offer, mut taken) = (offer(), Taken::default());
            for size in sizes {
                let pod = pod(json!({"cpu": format!("{size}m")}));
                if admit(&pod, &offer, &taken).is_ok() {
                    taken.add(&requests(pod.spec.as_ref().unwrap()));
                }
            }
            prop_assert!(taken.amounts.get("cpu") <= 2000 && taken.pods <= 3);
        }
    }
}
