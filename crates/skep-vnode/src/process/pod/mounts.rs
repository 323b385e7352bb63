//! Which mount path of a container is which directory.

use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};

use crate::process::environment::Environment;
use crate::process::expand::expand;
use crate::process::paths::PathMap;
use crate::process::volumes::Volumes;

/// Where the termination message goes when the container does not say (the API's default).
pub(super) const MESSAGE_PATH: &str = "/dev/termination-log";

/// The mounts of a container, and the path of its termination message.
pub(super) fn path_map(
    pod: &Pod,
    container: &Container,
    volumes: &Volumes,
    environment: &Environment,
    message: &Path,
) -> Result<PathMap, String> {
    let mut map = PathMap::new();
    for mount in container.volume_mounts.iter().flatten() {
        let list = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
        let volume = list.into_iter().find(|v| v.name == mount.name);
        let volume = volume.ok_or_else(|| format!("volume {:?} of a mount does not exist", mount.name))?;
        let real = volumes.locate(volume, &sub_path(mount, environment)?)?;
        if !map.insert(&mount.mount_path, real) {
            return Err(format!(
                "SKEP-7102: mountPath {:?} cannot be had without a container",
                mount.mount_path
            ));
        }
    }
    if container.volume_devices.iter().flatten().next().is_some() {
        return Err("SKEP-7102: block devices cannot be had without a container".into());
    }
    // A mount of the same path wins.
    let path =
        container.termination_message_path.as_deref().filter(|p| !p.is_empty()).unwrap_or(MESSAGE_PATH);
    let _ = map.insert(path, message);
    Ok(map)
}

fn sub_path(mount: &VolumeMount, environment: &Environment) -> Result<String, String> {
    match mount.sub_path_expr.as_deref().filter(|e| !e.is_empty()) {
        None => Ok(mount.sub_path.clone().unwrap_or_default()),
        Some(expression) => {
            let missing = std::cell::RefCell::new(None);
            let value = expand(expression, |name| {
                let value = environment.get(name).map(String::as_str);
                if value.is_none() {
                    missing.replace(Some(name.to_owned()));
                }
                value
            });
            match missing.into_inner() {
                Some(name) => Err(format!("missing value for {name:?} in subPathExpr {expression:?}")),
                None => Ok(value),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(mounts: serde_json::Value) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("v")).unwrap();
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "spec": {"volumes": [{"name": "v", "emptyDir": {}}], "containers": [{"name": "c", "volumeMounts": mounts}]}
        }))
        .unwrap();
        let container = pod.spec.as_ref().unwrap().containers.first().unwrap();
        let environment = Environment::from([("POD".into(), "web-0".into())]);
        let volumes = Volumes::new(dir.path().to_path_buf());
        let map = path_map(&pod, container, &volumes, &environment, Path::new("/m/0.message"))?;
        Ok(map.apply("/data /dev/termination-log").replace(&dir.path().display().to_string(), "VOLUMES"))
    }

    #[test]
    fn mounts_become_directories() {
        let mount = |extra: serde_json::Value| {
            let mut mount = serde_json::json!({"name": "v", "mountPath": "/data"});
            mount.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            serde_json::json!([mount])
        };
        assert_eq!(map(mount(serde_json::json!({}))).unwrap(), "VOLUMES/v /m/0.message");
        assert_eq!(map(mount(serde_json::json!({"subPath": "a/b"}))).unwrap(), "VOLUMES/v/a/b /m/0.message");
        assert_eq!(
            map(mount(serde_json::json!({"subPathExpr": "x-$(POD)"}))).unwrap(),
            "VOLUMES/v/x-web-0 /m/0.message"
        );
        assert!(
            map(mount(serde_json::json!({"subPathExpr": "$(NO)"})))
                .unwrap_err()
                .contains("missing value for \"NO\"")
        );
        assert!(map(mount(serde_json::json!({"mountPath": "/"}))).unwrap_err().contains("SKEP-7102"));
        assert!(map(mount(serde_json::json!({"name": "w"}))).unwrap_err().contains("does not exist"));
        assert!(
            map(mount(serde_json::json!({"mountPath": "/dev/termination-log"})))
                .unwrap()
                .ends_with("VOLUMES/v")
        );
    }
}
