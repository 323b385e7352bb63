use serde_json::{Value, json};

use super::*;
use crate::component::config::offer;

fn pod(ready: &str, containers: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "ca-1"},
        "status": {"conditions": [{"type": "Ready", "status": ready}], "containerStatuses": containers},
    }))
    .unwrap()
}

fn pool(name: &str, scaling: &Value) -> Arc<NodePool> {
    let spec = json!({"cluster": "demo", "scaling": scaling, "template": {"machineClass": "small"}});
    Arc::new(
        serde_json::from_value(json!({
            "apiVersion": "skep.dev/v1alpha1", "kind": "NodePool", "metadata": {"name": name}, "spec": spec,
        }))
        .unwrap(),
    )
}

fn waits(reason: &str, message: &str) -> Value {
    json!([{
        "name": "cluster-autoscaler", "image": "skep.dev/cluster-autoscaler:v1", "imageID": "", "ready": false,
        "restartCount": 0, "state": {"waiting": {"reason": reason, "message": message}},
    }])
}

#[test]
fn a_missing_image_says_where_to_put_it() {
    let pods = [pod("False", &waits("ErrImagePull", "nobody makes it"))];
    let State::ImageUnavailable(text) = of(&pods, &[], &offer("skep.dev/cluster-autoscaler:v1"), None) else {
        panic!("no image")
    };
    assert!(text.contains("nobody makes it"), "{text}");
    assert!(text.contains("cluster-autoscaler/v1/bin/cluster-autoscaler"), "{text}");
    let State::ImageUnavailable(text) = of(&pods, &[], &offer("registry.k8s.io/a:v1"), None) else {
        panic!()
    };
    assert!(text.contains("--autoscaler-image"), "{text}");
}

#[test]
fn pools_without_bounds_are_named() {
    let pods = [pod("True", &json!([]))];
    let (web, fixed) = (pool("web", &json!({"min": 0, "max": 3})), pool("fixed", &Value::Null));
    let image = offer("x");
    let state = of(&pods, &[web.clone(), fixed.clone()], &image, None);
    assert_eq!(state, State::Running("it scales web; without spec.scaling and left alone: fixed".into()));
    let State::NoPools(text) = of(&pods, &[fixed], &image, None) else { panic!("there is nothing to scale") };
    assert!(text.contains("spec.scaling.min and max") && text.contains("fixed"), "{text}");
    assert!(matches!(of(&pods, &[], &image, None), State::NoPools(_)));
    assert_eq!(of(&[], std::slice::from_ref(&web), &image, None), State::Starting);
    assert!(matches!(of(&pods, &[web], &image, Some("port 1 is taken")), State::NotServed(_)));
}

#[test]
fn only_the_own_condition_is_written_and_its_end_takes_it_away() {
    let cluster = |conditions: Value| -> Cluster {
        serde_json::from_value(json!({
            "apiVersion": "skep.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "demo", "generation": 3},
            "spec": {}, "status": {"conditions": conditions},
        }))
        .unwrap()
    };
    let other = json!({
        "type": "Ready", "status": "True", "reason": "Serving", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let (old, new) = write(&cluster(json!([other])), Some(State::Waits));
    assert_eq!(old.conditions.len(), 0);
    assert_eq!(new.conditions.len(), 1);
    assert_eq!(new.conditions[0].type_, "AutoscalerReady");
    let before = serde_json::to_value(&new.conditions[0]).unwrap();
    let (old, new) = write(&cluster(json!([other, before])), None);
    assert_eq!((old.conditions.len(), new.conditions.len()), (1, 0));
}
