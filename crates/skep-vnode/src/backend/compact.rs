//! Pods are kept for as long as they run, and their parts are large: a `Volume` takes 3 KiB, a `Container` 2 KiB and a
//! `ContainerStatus` 752 bytes whatever is in them. A list that was read from JSON has room for four at least, and for up to
//! twice as many as it holds.

use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};

/// Gives back what the lists of a pod have beyond what they hold.
pub(crate) fn compact(pod: &mut Pod) {
    let Some(spec) = &mut pod.spec else { return };
    shrink(&mut spec.volumes);
    shrink(&mut spec.init_containers);
    shrink(&mut spec.tolerations);
    shrink(&mut spec.topology_spread_constraints);
    shrink(&mut pod.metadata.owner_references);
    spec.containers.shrink_to_fit();
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        self::container(container);
    }
}

/// Gives back what the lists of a status have beyond what they hold.
pub(crate) fn compact_status(status: &mut PodStatus) {
    shrink(&mut status.conditions);
    shrink(&mut status.container_statuses);
    shrink(&mut status.init_container_statuses);
    shrink(&mut status.host_ips);
    shrink(&mut status.pod_ips);
}

fn container(container: &mut Container) {
    shrink(&mut container.env);
    shrink(&mut container.volume_mounts);
    shrink(&mut container.command);
    shrink(&mut container.args);
    shrink(&mut container.ports);
}

fn shrink<T>(list: &mut Option<Vec<T>>) {
    if let Some(list) = list {
        list.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_is_kept_for_what_is_not_there() {
        let volumes: Vec<_> = (0..5).map(|n| json!({"name": format!("v{n}"), "emptyDir": {}})).collect();
        let status = json!({"containerStatuses": [
            {"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0},
        ]});
        let spec = json!({"volumes": volumes, "containers": [{"name": "c"}]});
        let text = json!({"metadata": {}, "spec": spec, "status": status}).to_string();
        let mut pod: Pod = serde_json::from_str(&text).unwrap();
        let before = pod.clone();
        compact(&mut pod);
        compact_status(pod.status.as_mut().unwrap());
        assert_eq!(pod, before);
        assert_eq!(pod.spec.unwrap().volumes.unwrap().capacity(), 5);
        assert_eq!(pod.status.unwrap().container_statuses.unwrap().capacity(), 1);
    }
}
