//! What makes a cell of any Kubernetes cluster: kinds, roles, catalogue, operator, gateway, and volumes where it has none.
//!
//! The manifests are files under `deploy/cell/`; here they are filled in. Everything can be applied again.

use std::{fmt, time::Duration};

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment},
    core::v1::Node,
    storage::v1::StorageClass,
};
use kube::{Api, Client, ResourceExt, api::ListParams};
use serde::Serialize;
use serde_json::Value;
use skep_api::{Datastore, MachineClass, Provider, condition};
use skep_kubeops::{Applier, Force, watch::Select};
use skep_vnode::provisioner;

use crate::{
    Error, Result, bootstrap, catalogue,
    roles::{self, Subjects},
};

const OPERATOR: &str = include_str!("../../../deploy/cell/operator.yaml");
const GATEWAY: &str = include_str!("../../../deploy/cell/gateway.yaml");
const VOLUMES: &str = include_str!("../../../deploy/cell/volumes.yaml");
/// Field manager of everything applied here.
const MANAGER: &str = "skep";
/// Storage class that a claim without one gets (`pkg/volume/util/storageclass.go` of upstream).
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// How a cell is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Image of this program, which the cell's nodes can pull.
    pub image: String,
    /// URL of the gateway as tenants' clients reach it.
    pub gateway: String,
    /// How the gateway is reached from outside.
    pub service: Service,
    /// Domain under which tenants are named.
    pub domain: String,
    /// Whether the cell gets volumes on its nodes' own disks.
    pub volumes: bool,
}

/// Type of the gateway's Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// This port of every node.
    NodePort(u16),
    /// A load balancer that the cell has for such Services.
    LoadBalancer,
    /// Reached by other means.
    ClusterIp,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NodePort(_) => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
            Self::ClusterIp => "ClusterIP",
        })
    }
}

/// Everything a cell gets, in the order in which it is applied.
///
/// # Errors
/// [`Error::Hub`], only when this program was built with a broken file, which its tests exclude.
pub fn objects(settings: &Settings) -> Result<Vec<Value>> {
    let starter = catalogue::starter()?;
    let mut all = values("CustomResourceDefinition", &skep_api::crds())?;
    all.extend(values("Namespace", &[bootstrap::namespace(skep_api::SYSTEM_NAMESPACE)])?);
    for grant in roles::grants(Subjects::ServiceAccounts) {
        all.extend(values("ClusterRole", &[grant.role])?);
        all.extend(values("ClusterRoleBinding", &[grant.binding])?);
    }
    all.extend(values("SizeClass", &starter.size_classes)?);
    all.extend(values("ClusterProfile", &starter.profiles)?);
    // The other kinds of machines are those of an installation.
    let brought = |class: &&MachineClass| class.spec.provider == Provider::Static;
    let classes: Vec<_> = starter.machine_classes.iter().filter(brought).collect();
    all.extend(values("MachineClass", &classes)?);
    all.extend(values("Release", &starter.releases)?);
    let mut texts = vec![OPERATOR, GATEWAY];
    if settings.volumes {
        all.extend(values("StorageClass", &starter.storage_classes)?);
        texts.push(VOLUMES);
    }
    for text in texts {
        all.extend(manifests(text, settings)?);
    }
    all.extend(values("Datastore", &starter.datastores)?);
    Ok(all)
}

fn manifests(text: &str, settings: &Settings) -> Result<Vec<Value>> {
    let port = match settings.service {
        Service::NodePort(port) => format!(", nodePort: {port}"),
        Service::LoadBalancer | Service::ClusterIp => String::new(),
    };
    let text = text
        .replace("{image}", &settings.image)
        .replace("{gateway}", &settings.gateway)
        .replace("{domain}", &settings.domain)
        .replace("{service}", &settings.service.to_string())
        .replace("{port}", &port);
    serde_saphyr::from_multiple(&text).map_err(|error| broken("deploy/cell", error))
}

fn values<K: Serialize>(what: &str, objects: &[K]) -> Result<Vec<Value>> {
    objects.iter().map(|object| serde_json::to_value(object).map_err(|error| broken(what, error))).collect()
}

fn broken(what: &str, error: impl fmt::Display) -> Error {
    Error::Hub { what: what.to_owned(), reason: error.to_string() }
}

/// Whether claims without a class would wait for ever, or wait for us already.
///
/// # Errors
/// [`Error::Hub`].
pub async fn needs_volumes(client: &Client) -> Result<bool> {
    let classes = Api::<StorageClass>::all(client.clone()).list(&ListParams::default()).await;
    let classes = classes.map_err(|error| failed("storage classes", &error))?;
    let default = classes
        .items
        .iter()
        .find(|class| class.annotations().get(DEFAULT_CLASS).is_some_and(|value| value == "true"));
    Ok(default.is_none_or(|class| class.provisioner == provisioner::PROVISIONER))
}

/// An address under which clients beside the cell reach its nodes: that of the first node that is ready.
///
/// # Errors
/// [`Error::Hub`]; also when there is no such node.
pub async fn node_address(client: &Client) -> Result<String> {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await;
    let nodes = nodes.map_err(|error| failed("nodes", &error))?;
    nodes.items.iter().find_map(address).ok_or_else(|| Error::Hub {
        what: "nodes".to_owned(),
        reason: "none is ready; a cell needs nodes for its control planes".to_owned(),
    })
}

fn address(node: &Node) -> Option<String> {
    let status = node.status.as_ref()?;
    let ready = status.conditions.iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True");
    let of = |kind: &str| status.addresses.iter().flatten().find(|one| one.type_ == kind);
    let address = of("ExternalIP").or_else(|| of("InternalIP"))?;
    ready.then(|| address.address.clone())
}

/// Applies everything and waits until it runs and the datastore answers, each for at most `patience`. `progress` hears
/// what is going on.
///
/// # Errors
/// [`Error::Hub`] with what could not be applied or did not come up.
pub async fn join(
    client: &Client,
    settings: &Settings,
    patience: Duration,
    progress: &mut dyn FnMut(&str),
) -> Result<()> {
    let applier = Applier::new(client.clone(), MANAGER);
    progress("applying kinds, roles, catalogue and programs");
    for object in objects(settings)? {
        let name = format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]));
        bootstrap::until_served(&name, || applier.apply_manifest(&object, Force::Take)).await?;
    }
    let named = |name: &str| Select::named(name).namespace(skep_api::SYSTEM_NAMESPACE);
    for name in ["skep-operator", "skep-gateway"] {
        progress(&format!("waiting for deployment {name}"));
        let what = format!("deployment {name}");
        bootstrap::wait_for(client, named(name), &what, patience, deployed).await?;
    }
    if settings.volumes {
        progress("waiting for daemon set skep-volumes");
        let what = "daemon set skep-volumes";
        bootstrap::wait_for(client, named("skep-volumes"), what, patience, on_all_nodes).await?;
    }
    progress("waiting for datastore main");
    let answers = |datastore: &Datastore| {
        let conditions = datastore.status.iter().map(|status| &status.conditions);
        conditions.into_iter().any(|all| condition::is_true(all, condition::ConditionType::Ready))
    };
    bootstrap::wait_for(client, named(skep_api::DEFAULT_DATASTORE), "datastore main", patience, answers).await
}

fn deployed(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation == deployment.metadata.generation
            && status.updated_replicas == Some(wanted)
            && status.available_replicas.unwrap_or(0) >= wanted
    })
}

fn on_all_nodes(set: &DaemonSet) -> bool {
    set.status.as_ref().is_some_and(|status| {
        status.observed_generation == set.metadata.generation
            && status.desired_number_scheduled > 0
            && status.updated_number_scheduled == Some(status.desired_number_scheduled)
            && status.number_available == Some(status.desired_number_scheduled)
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn failed(what: &str, error: &kube::Error) -> Error {
    broken(what, skep_kubeops::error::describe(error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings() -> Settings {
        Settings {
            image: "registry.example.org/skep:v1".into(),
            gateway: "https://cell.example.org:6443".into(),
            service: Service::NodePort(30_443),
            domain: "example.org".into(),
            volumes: true,
        }
    }

    #[test]
    fn every_manifest_is_whole_and_filled_in() {
        let all = objects(&settings()).unwrap();
        let text = serde_json::to_string(&all).unwrap();
        for open in ["{image}", "{gateway}", "{domain}", "{service}", "{port}"] {
            assert!(!text.contains(open), "{open}");
        }
        for object in &all {
            assert!(skep_kubeops::path_of(object).is_ok(), "{object}");
        }
        for file in [OPERATOR, GATEWAY, VOLUMES] {
            let documents = file.lines().filter(|line| *line == "---").count() + 1;
            assert_eq!(manifests(file, &settings()).unwrap().len(), documents);
        }
    }

    #[test]
    fn pods_run_as_accounts_that_have_a_role() {
        let all = objects(&settings()).unwrap();
        let of = |kind: &'static str| all.iter().filter(move |object| object["kind"] == *kind);
        let bound: Vec<_> = of("ClusterRoleBinding").map(|binding| &binding["subjects"][0]["name"]).collect();
        let accounts: Vec<_> = of("ServiceAccount").map(|account| &account["metadata"]["name"]).collect();
        for object in of("Deployment").chain(of("DaemonSet")) {
            let account = &object["spec"]["template"]["spec"]["serviceAccountName"];
            assert!(bound.contains(&account) && accounts.contains(&account), "{account}");
        }
        assert_eq!(bound.len(), accounts.len());
    }

    #[test]
    fn agents_connect_to_each_gateway() {
        let all = objects(&settings()).unwrap();
        let gateway = all
            .iter()
            .find(|object| object["kind"] == "Deployment" && object["metadata"]["name"] == "skep-gateway");
        let spec = &gateway.unwrap()["spec"];
        let args = spec["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
        assert!(args.contains(&json!(format!("--tunnel-gateways={}", spec["replicas"]))), "{args:?}");
    }

    #[test]
    fn the_service_is_as_it_was_asked_for() {
        let service = |service| {
            let all = objects(&Settings { service, ..settings() }).unwrap();
            all.into_iter().find(|object| object["kind"] == "Service").unwrap()["spec"].clone()
        };
        let port = service(Service::NodePort(30_443));
        assert_eq!((&port["type"], &port["ports"][0]["nodePort"]), (&json!("NodePort"), &json!(30_443)));
        let balanced = service(Service::LoadBalancer);
        assert_eq!(
            (&balanced["type"], &balanced["ports"][0]["nodePort"]),
            (&json!("LoadBalancer"), &Value::Null)
        );
    }

    #[test]
    fn a_cell_with_storage_keeps_its_own() {
        let all = objects(&Settings { volumes: false, ..settings() }).unwrap();
        assert!(!all.iter().any(|object| ["StorageClass", "DaemonSet"].contains(&text(&object["kind"]))));
    }

    #[test]
    fn only_nodes_that_are_ready_have_an_address() {
        let node = |ready: &str, kind: &str| -> Node {
            let status = json!({"conditions": [{"type": "Ready", "status": ready}],
                "addresses": [{"type": "Hostname", "address": "a"}, {"type": kind, "address": "192.0.2.1"}]});
            serde_json::from_value(json!({"metadata": {"name": "a"}, "status": status})).unwrap()
        };
        assert_eq!(address(&node("True", "InternalIP")).as_deref(), Some("192.0.2.1"));
        assert_eq!(address(&node("False", "InternalIP")), None);
        assert_eq!(address(&node("True", "InternalDNS")), None);
    }
}
