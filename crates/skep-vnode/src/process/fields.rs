//! The downward API: what a pod may know about itself, as environment or files.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::backend::PodContext;
use crate::quantity;

/// Value of a `fieldRef`. Errors are the kubelet's texts.
pub fn field(pod: &Pod, context: &PodContext, path: &str) -> Result<String, String> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    if let Some((path, key)) = subscript(path) {
        let map = match path {
            "metadata.annotations" => &meta.annotations,
            "metadata.labels" => &meta.labels,
            _ => return Err(format!("fieldPath {path:?} does not support subscript")),
        };
        return Ok(map.as_ref().and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => lines(meta.labels.as_ref()),
        "metadata.annotations" => lines(meta.annotations.as_ref()),
        "spec.nodeName" => spec.and_then(|s| s.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => spec.and_then(|s| s.service_account_name.clone()).unwrap_or_default(),
        "status.hostIP" | "status.hostIPs" => context.host_ip.to_string(),
        "status.podIP" | "status.podIPs" => context.pod_ip.to_string(),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// `metadata.labels['key']` → path and key.
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['")
}

/// One `key="value"` per line, sorted, quoted like Go's `strconv.Quote`.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.into_iter().flatten().map(|(k, v)| format!("{k}={}", quote(v))).collect();
    lines.join("\n")
}

fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Value of a `resourceFieldRef`: rounded up in units of the divisor; a limit that is not set is what the node offers.
pub fn resource(
    pod: &Pod,
    context: &PodContext,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
) -> Result<String, String> {
    let named = selector.container_name.as_deref().filter(|n| !n.is_empty());
    let container = match named {
        Some(name) => find(pod, name).ok_or_else(|| format!("container {name} not found"))?,
        None => own.ok_or("containerName is needed here")?,
    };
    let unsupported = || format!("unsupported container resource : {}", selector.resource);
    let (kind, name) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !name.starts_with("hugepages-") {
        return Err(unsupported());
    }
    let count = if name == "cpu" { quantity::milli } else { quantity::units };
    let resources = container.resources.as_ref();
    let listed = |list: Option<&BTreeMap<String, Quantity>>| list.and_then(|l| l.get(name)).and_then(count);
    let amount = match kind {
        "limits" => {
            let own = listed(resources.and_then(|r| r.limits.as_ref())).filter(|amount| *amount > 0);
            own.or_else(|| listed(Some(&context.allocatable)))
        }
        "requests" => listed(resources.and_then(|r| r.requests.as_ref())),
        _ => return Err(unsupported()),
    };
    let divisor = selector.divisor.as_ref().and_then(count).filter(|d| *d > 0);
    let divisor = divisor.or_else(|| count(&Quantity("1".into()))).unwrap_or(1);
    let amount = amount.unwrap_or_default();
    Ok((amount.div_euclid(divisor) + i64::from(amount.rem_euclid(divisor) != 0)).to_string())
}

fn find<'p>(pod: &'p Pod, name: &str) -> Option<&'p Container> {
    let spec = pod.spec.as_ref()?;
    spec.init_containers.iter().flatten().chain(&spec.containers).find(|c| c.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::testing;

    fn pod() -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web-0", "namespace": "shop", "uid": "u-1",
                "labels": {"b": "2", "a": "1\"x\n"}, "annotations": {"k/x": "v"}},
            "spec": {"nodeName": "n1", "serviceAccountName": "sa", "containers": [
                {"name": "c", "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}, "requests": {"cpu": "250m"}}},
                {"name": "free"}
            ]}
        }))
        .unwrap()
    }

    #[test]
    fn fields_of_the_pod() {
        let context = testing::context();
        let get = |path: &str| field(&pod(), &context, path);
        for (path, expected) in [
            ("metadata.name", "web-0"),
            ("metadata.namespace", "shop"),
            ("metadata.uid", "u-1"),
            ("metadata.labels", "a=\"1\\\"x\\n\"\nb=\"2\""),
            ("metadata.labels['b']", "2"),
            ("metadata.labels['none']", ""),
            ("metadata.annotations['k/x']", "v"),
            ("spec.nodeName", "n1"),
            ("spec.serviceAccountName", "sa"),
            ("status.podIP", "127.64.128.5"),
            ("status.hostIP", "127.64.255.1"),
        ] {
            assert_eq!(get(path).as_deref(), Ok(expected), "{path}");
        }
        assert!(get("spec.secrets").is_err());
        assert!(get("spec.nodeName['x']").is_err());
    }

    #[test]
    fn resources_round_up_and_fall_back_to_the_node() {
        let context = testing::context();
        let get = |container: &str, resource_name: &str, divisor: &str| {
            let selector = ResourceFieldSelector {
                container_name: Some(container.into()),
                divisor: (!divisor.is_empty()).then(|| Quantity(divisor.into())),
                resource: resource_name.into(),
            };
            resource(&pod(), &context, None, &selector)
        };
        for (container, name, divisor, expected) in [
            ("c", "limits.cpu", "", "2"),
            ("c", "limits.cpu", "1m", "1500"),
            ("c", "limits.memory", "1Mi", "1024"),
            ("c", "limits.memory", "", "1073741824"),
            ("c", "requests.cpu", "1m", "250"),
            ("c", "requests.memory", "", "0"),
            ("free", "limits.cpu", "0", "4"),
            ("free", "limits.memory", "1Gi", "8"),
        ] {
            assert_eq!(get(container, name, divisor).as_deref(), Ok(expected), "{name} {divisor}");
        }
        assert!(get("c", "limits.gpu", "").is_err());
        assert!(get("none", "limits.cpu", "").is_err());
    }
}
