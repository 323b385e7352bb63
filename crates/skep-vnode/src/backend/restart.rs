//! Whether a container that ended is started again, by the rules of the spec.

use k8s_openapi::api::core::v1::{Container, PodSpec};

/// Restartable init containers ("sidecars") keep running beside the others.
pub fn is_sidecar(init_container: &Container) -> bool {
    init_container.restart_policy.as_deref() == Some("Always")
}

/// Whether the container starts again after ending with `exit_code`: its own rules first, then its own policy, then
/// the pod's.
pub fn restarts(container: &Container, spec: &PodSpec, exit_code: i32) -> bool {
    let ruled = container.restart_policy_rules.iter().flatten().any(|rule| {
        rule.exit_codes.as_ref().is_some_and(|codes| {
            let listed = codes.values.iter().flatten().any(|value| *value == exit_code);
            rule.action == "Restart"
                && matches!((codes.operator.as_str(), listed), ("In", true) | ("NotIn", false))
        })
    });
    let policy = container.restart_policy.as_deref().or(spec.restart_policy.as_deref()).unwrap_or("Always");
    ruled
        || match policy {
            "Never" => false,
            "OnFailure" => exit_code != 0,
            _ => true,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(pod: &str, container: serde_json::Value, code: i32) -> bool {
        let container: Container = serde_json::from_value(container).unwrap();
        let spec =
            PodSpec { restart_policy: (!pod.is_empty()).then(|| pod.to_owned()), ..PodSpec::default() };
        restarts(&container, &spec, code)
    }

    #[test]
    fn rules_then_own_policy_then_the_pods() {
        let plain = serde_json::json!({"name": "c"});
        assert!(decide("", plain.clone(), 0));
        assert!(decide("Always", plain.clone(), 0));
        assert!(!decide("OnFailure", plain.clone(), 0) && decide("OnFailure", plain.clone(), 1));
        assert!(!decide("Never", plain, 1));
        assert!(decide("Never", serde_json::json!({"name": "c", "restartPolicy": "OnFailure"}), 1));
        let ruled = serde_json::json!({"name": "c", "restartPolicy": "Never", "restartPolicyRules": [
            {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]});
        assert!(decide("Always", ruled.clone(), 42) && !decide("Always", ruled, 43));
        let except = serde_json::json!({"name": "c", "restartPolicy": "Never", "restartPolicyRules": [
            {"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [42]}}]});
        assert!(!decide("Always", except.clone(), 42) && decide("Always", except, 43));
    }
}
