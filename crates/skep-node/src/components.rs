//! What a tenant cluster with nodes needs to be useful: an API server that pods reach at any time, DNS and resource metrics.
//!
//! The manifests are files under `deploy/components/`; here they are filled in and applied. Who changes the Corefile keeps
//! it; everything else comes back as it was.

use serde_json::Value;
use skep_api::{ComponentMode, Components};
use skep_engine::{COREDNS, METRICS_SERVER, coredns_image, metrics_server_image};
use skep_kubeops::{Applier, Force};

const ENDPOINTS: &str = include_str!("../../../deploy/components/endpoints.yaml");
const DNS: &str = include_str!("../../../deploy/components/dns.yaml");
const METRICS: &str = include_str!("../../../deploy/components/metrics.yaml");
/// Names outside of the cluster are asked of the node's own resolver.
const FORWARD: &str = "\n        forward . /etc/resolv.conf";

/// What the manifests are filled in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which of them are wanted.
    pub components: Components,
    /// Address of the DNS Service.
    pub dns: std::net::Ipv4Addr,
    /// DNS domain of the cluster.
    pub domain: String,
    /// Whether nodes have a resolver for names outside of the cluster.
    pub forward: bool,
    /// Whether nodes pull from our registry; if not, they pull what upstream publishes.
    pub registry: bool,
}

/// The objects that are wanted, in the order in which they are applied.
///
/// # Errors
/// A manifest that is filled in is no YAML.
pub fn objects(settings: &Settings) -> skep_kubeops::Result<Vec<Value>> {
    let (dns, metrics) = images(settings.registry);
    let mut objects = read("the API server's endpoints", ENDPOINTS)?;
    if settings.components.dns == ComponentMode::Managed {
        let forward = if settings.forward { FORWARD } else { "" };
        let text = DNS
            .replace("{image}", &dns)
            .replace("{address}", &settings.dns.to_string())
            .replace("{domain}", &settings.domain)
            .replace("{forward}", forward);
        objects.extend(read("DNS", &text)?);
    }
    if settings.components.metrics == ComponentMode::Managed {
        objects.extend(read("metrics", &METRICS.replace("{image}", &metrics))?);
    }
    Ok(objects)
}

fn read(what: &'static str, text: &str) -> skep_kubeops::Result<Vec<Value>> {
    serde_saphyr::from_multiple(text)
        .map_err(|error| skep_kubeops::Error::Unreadable { what, reason: error.to_string() })
}

/// Images of CoreDNS and metrics-server. Upstream's are where their own release notes and manifests say.
fn images(ours: bool) -> (String, String) {
    if ours {
        return (coredns_image().to_string(), metrics_server_image().to_string());
    }
    (
        format!("docker.io/coredns/coredns:{}", COREDNS.trim_start_matches('v')),
        format!("registry.k8s.io/metrics-server/metrics-server:{METRICS_SERVER}"),
    )
}

/// Applies them all.
///
/// # Errors
/// Of the first object that was refused; those after it have not been applied. A manifest that cannot be read: none has.
pub async fn apply(applier: &Applier, settings: &Settings) -> skep_kubeops::Result<()> {
    for mut object in objects(settings)? {
        let force = if object["kind"] == "ConfigMap" { Force::Yield } else { Force::Take };
        object["metadata"]["labels"][skep_api::labels::MANAGED_BY] = skep_api::labels::MANAGED_BY_SKEP.into();
        applier.apply_manifest(&object, force).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(forward: bool) -> Settings {
        Settings {
            components: Components::default(),
            dns: [10, 96, 0, 10].into(),
            domain: "cluster.local".into(),
            forward,
            registry: !forward,
        }
    }

    #[test]
    fn every_manifest_is_whole_and_filled_in() {
        let documents = |text: &str| text.lines().filter(|line| *line == "---").count() + 1;
        for forward in [true, false] {
            let objects = objects(&settings(forward)).unwrap();
            assert_eq!(objects.len(), documents(ENDPOINTS) + documents(DNS) + documents(METRICS));
            let text = serde_json::to_string(&objects).unwrap();
            for open in ["{image}", "{address}", "{domain}", "{forward}"] {
                assert!(!text.contains(open), "{open}");
            }
            for object in &objects {
                assert!(skep_kubeops::path_of(object).is_ok(), "{object}");
            }
            let corefile = objects.iter().find_map(|object| object["data"]["Corefile"].as_str()).unwrap();
            assert_eq!(corefile.contains("\n    forward . /etc/resolv.conf\n"), forward, "{corefile}");
        }
    }

    #[test]
    fn only_what_is_wanted() {
        let mut settings = settings(false);
        settings.components.metrics = ComponentMode::Off;
        let text = serde_json::to_string(&objects(&settings).unwrap()).unwrap();
        assert!(text.contains("kube-dns") && !text.contains("metrics-server") && !text.contains("forward ."));
        assert!(text.contains("skep.dev/coredns:v") && !text.contains("docker.io"));
        settings.components.dns = ComponentMode::Off;
        let left = objects(&settings).unwrap();
        assert!(
            left.iter().all(|object| object["metadata"]["name"] == "skep-kubernetes-endpoints"),
            "{left:?}"
        );
    }

    #[test]
    fn what_is_no_yaml_is_said() {
        let error = read("DNS", "kind: {address").unwrap_err();
        assert!(error.to_string().starts_with("the manifests of DNS cannot be read: "), "{error}");
    }
}
