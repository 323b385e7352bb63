//! `skep get`

use jiff::Timestamp;
use kube::{Api, Resource, ResourceExt, api::ListParams, core::NamespaceResourceScope};
use serde::Serialize;
use skep_api::{
    Cluster, ClusterProfile, ControlPlane, Datastore, Machine, MachineClass, NodePool, Release, SizeClass,
    condition::{self, ConditionType},
    machine::MachinePhase,
};
use skep_kubeops::Object;

use crate::{
    cli::{
        Global,
        cluster::{Get, Kind},
    },
    error::{self, Error, Result, code},
    exit::Exit,
    hub,
    output::{
        age,
        format::{Show, show},
        table::Table,
    },
};

pub async fn run(global: &Global, args: &Get) -> Result<()> {
    match args.kind {
        Kind::Clusters => namespaced::<Cluster>(global, args, Some("default")).await,
        Kind::NodePools => namespaced::<NodePool>(global, args, Some("default")).await,
        Kind::Machines => namespaced::<Machine>(global, args, Some("default")).await,
        Kind::MachineClasses => everywhere::<MachineClass>(global, args).await,
        // Their namespaces are made by the platform: nobody knows them beforehand.
        Kind::ControlPlanes => namespaced::<ControlPlane>(global, args, None).await,
        Kind::Datastores => namespaced::<Datastore>(global, args, Some(skep_api::SYSTEM_NAMESPACE)).await,
        Kind::SizeClasses => everywhere::<SizeClass>(global, args).await,
        Kind::Profiles => everywhere::<ClusterProfile>(global, args).await,
        Kind::Releases => everywhere::<Release>(global, args).await,
    }
}

async fn namespaced<K>(global: &Global, args: &Get, usual: Option<&str>) -> Result<()>
where
    K: Listed + Resource<Scope = NamespaceResourceScope>,
{
    let client = hub::client(global).await?;
    let namespace = args.project.as_deref().or(usual).filter(|_| !args.all_projects);
    let api: Api<K> = match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    list(api, args, namespace).await
}

async fn everywhere<K: Listed>(global: &Global, args: &Get) -> Result<()> {
    list(Api::<K>::all(hub::client(global).await?), args, None).await
}

async fn list<K: Listed>(api: Api<K>, args: &Get, namespace: Option<&str>) -> Result<()> {
    let what = K::plural(&()).into_owned();
    let mut params = ListParams::default();
    params.label_selector.clone_from(&args.selector);
    // By a field, not by a GET: the same for one namespace and for all.
    params.field_selector = args.name.as_ref().map(|name| format!("metadata.name={name}"));
    let mut items = api.list(&params).await.map_err(|error| error::api(&what, &error))?.items;
    if let Some(name) = args.name.as_ref().filter(|_| items.is_empty()) {
        let place = namespace.map(|namespace| format!(" in project {namespace}")).unwrap_or_default();
        let kind = K::kind(&()).to_lowercase();
        return Err(Error::new(code::NOT_FOUND, Exit::NotFound, format!("{kind} {name:?} not found{place}"))
            .help(format!("see what there is with `skep get {what}`")));
    }
    items.sort_by_key(|item| (item.rank(), item.namespace(), item.name_any()));
    for item in &mut items {
        item.managed_fields_mut().clear();
    }
    show(&View { items, single: args.name.is_some(), namespaced: namespace.is_none() }, args.output)
}

/// A kind with its columns.
trait Listed: Object + Serialize {
    /// Names of the columns after NAME; those behind the `|` only with `-o wide`.
    const COLUMNS: &'static [&'static str];
    /// Their values.
    fn cells(&self) -> Vec<String>;
    /// Order before the names.
    fn rank(&self) -> i32 {
        0
    }
    /// Whether a namespace belongs to its name.
    const NAMESPACED: bool = false;
}

fn some(text: Option<impl ToString>) -> String {
    text.map(|text| text.to_string()).unwrap_or_default()
}

fn ready(
    conditions: Option<&[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]>,
) -> (String, String) {
    match conditions.and_then(|all| condition::get(all, ConditionType::Ready)) {
        Some(ready) => (ready.status.clone(), ready.message.clone()),
        None => ("Unknown".to_owned(), String::new()),
    }
}

impl Listed for Cluster {
    const COLUMNS: &'static [&'static str] =
        &["PHASE", "VERSION", "SIZE", "|", "ENDPOINT", "TENANT", "MESSAGE"];
    const NAMESPACED: bool = true;

    fn cells(&self) -> Vec<String> {
        let status = self.status.as_ref();
        let phase = some(status.and_then(|status| status.phase));
        vec![
            if phase.is_empty() { "Provisioning".to_owned() } else { phase },
            some(status.and_then(|status| status.version.clone())),
            some(status.and_then(|status| status.size_class.clone())),
            some(status.and_then(|status| status.endpoint.as_ref()).map(|endpoint| endpoint.server.clone())),
            some(status.and_then(|status| status.tenant.clone())),
            ready(status.map(|status| status.conditions.as_slice())).1,
        ]
    }
}

impl Listed for NodePool {
    const COLUMNS: &'static [&'static str] =
        &["CLUSTER", "DESIRED", "READY", "UPDATED", "VERSION", "|", "VERSIONS", "CLASS", "MESSAGE"];
    const NAMESPACED: bool = true;

    fn cells(&self) -> Vec<String> {
        let status = self.status.clone().unwrap_or_default();
        vec![
            self.spec.cluster.clone(),
            status.desired.to_string(),
            status.ready_replicas.to_string(),
            status.updated_replicas.to_string(),
            some(status.version),
            some(status.version_summary),
            self.spec.template.machine_class.clone(),
            ready(Some(&status.conditions)).1,
        ]
    }
}

impl Listed for Machine {
    const COLUMNS: &'static [&'static str] =
        &["CLUSTER", "PHASE", "VERSION", "ZONE", "ADDRESS", "|", "CLASS", "PROVIDER-ID", "MESSAGE"];
    const NAMESPACED: bool = true;

    fn cells(&self) -> Vec<String> {
        let status = self.status.clone().unwrap_or_default();
        vec![
            self.spec.cluster.clone(),
            status.phase.unwrap_or(MachinePhase::Pending).to_string(),
            some(status.versions.map(|versions| versions.kubelet)),
            self.spec.zone.clone(),
            some(status.address),
            self.spec.template.machine_class.clone(),
            some(status.provider_id),
            ready(Some(&status.conditions)).1,
        ]
    }
}

impl Listed for MachineClass {
    const COLUMNS: &'static [&'static str] =
        &["PROVIDER", "CPU", "MEMORY", "PODS", "ZONES", "|", "DISK", "PRICE"];

    fn cells(&self) -> Vec<String> {
        let capacity = &self.spec.capacity;
        vec![
            self.spec.provider.to_string(),
            capacity.cpu.clone(),
            capacity.memory.clone(),
            capacity.pods.to_string(),
            self.spec.zones.join(","),
            capacity.ephemeral_storage.clone(),
            some(self.spec.hourly_price.clone()),
        ]
    }
}

impl Listed for ControlPlane {
    const COLUMNS: &'static [&'static str] =
        &["CLUSTER", "VERSION", "READY", "API-SERVERS", "|", "DATASTORE", "MESSAGE"];
    const NAMESPACED: bool = true;

    fn cells(&self) -> Vec<String> {
        let status = self.status.as_ref();
        let (ready, message) = ready(status.map(|status| status.conditions.as_slice()));
        let serving = status.and_then(|status| status.ready_api_servers).unwrap_or(0);
        vec![
            format!("{}/{}", self.spec.cluster.namespace, self.spec.cluster.name),
            some(status.and_then(|status| status.version.clone())),
            ready,
            format!("{serving}/{}", self.spec.api_server.replicas),
            self.spec.datastore.name.clone(),
            message,
        ]
    }
}

impl Listed for Datastore {
    const COLUMNS: &'static [&'static str] =
        &["CLASS", "READY", "VERSION", "TENANTS", "|", "SIZE", "ENDPOINTS", "MESSAGE"];
    const NAMESPACED: bool = true;

    fn cells(&self) -> Vec<String> {
        let status = self.status.as_ref();
        let (ready, message) = ready(status.map(|status| status.conditions.as_slice()));
        let mib = |bytes: i64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        vec![
            format!("{:?}", self.spec.class),
            ready,
            some(status.and_then(|status| status.version.clone())),
            format!("{}/{}", status.and_then(|status| status.tenants).unwrap_or(0), self.spec.max_tenants),
            some(status.and_then(|status| status.database_bytes).map(mib)),
            status.map(|status| status.endpoints.join(",")).unwrap_or_default(),
            message,
        ]
    }
}

impl Listed for SizeClass {
    const COLUMNS: &'static [&'static str] =
        &["API-CPU", "API-MEMORY", "IN-FLIGHT", "DATASTORE", "|", "CONTROLLER-MEMORY", "SCHEDULER-MEMORY"];

    fn cells(&self) -> Vec<String> {
        let api = &self.spec.api_server;
        vec![
            api.resources.cpu_request.clone(),
            api.resources.memory_request.clone(),
            format!("{}+{}", api.max_requests_inflight, api.max_mutating_requests_inflight),
            self.spec.datastore_quota.clone(),
            self.spec.controller_manager.memory_request.clone(),
            self.spec.scheduler.memory_request.clone(),
        ]
    }

    fn rank(&self) -> i32 {
        self.spec.rank
    }
}

impl Listed for ClusterProfile {
    const COLUMNS: &'static [&'static str] = &["SIZE", "AVAILABILITY", "DESCRIPTION"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.spec.size_class.clone(),
            format!("{:?}", self.spec.availability),
            self.spec.description.clone(),
        ]
    }
}

impl Listed for Release {
    const COLUMNS: &'static [&'static str] = &["KUBERNETES", "STATE", "|", "IMAGE"];

    fn cells(&self) -> Vec<String> {
        vec![self.spec.kubernetes_version.clone(), format!("{:?}", self.spec.state), self.spec.image.clone()]
    }
}

struct View<K> {
    items: Vec<K>,
    single: bool,
    namespaced: bool,
}

impl<K: Listed> Show for View<K> {
    fn document(&self) -> Result<serde_json::Value> {
        let unwritable = |error| Error::new(code::API, Exit::Failure, error);
        let documents = self.items.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>();
        let mut documents = documents.map_err(unwritable)?;
        for document in &mut documents {
            document["apiVersion"] = K::api_version(&()).into();
            document["kind"] = K::kind(&()).into();
        }
        Ok(match (self.single, documents.as_slice()) {
            (true, [one]) => one.clone(),
            _ => serde_json::json!({"apiVersion": "v1", "kind": "List", "items": documents}),
        })
    }

    fn table(&self, wide: bool) -> Table {
        let cut = K::COLUMNS.iter().position(|column| *column == "|").unwrap_or(K::COLUMNS.len());
        let columns: Vec<&str> = K::COLUMNS.iter().copied().filter(|column| *column != "|").collect();
        let shown = if wide { columns.len() } else { cut.min(columns.len()) };
        let project = K::NAMESPACED && self.namespaced;
        let mut head = if project { vec!["PROJECT", "NAME"] } else { vec!["NAME"] };
        head.extend(columns.iter().take(shown));
        head.push("AGE");
        let mut table = Table::new(head);
        for item in &self.items {
            let mut row = if project { vec![item.namespace().unwrap_or_default()] } else { Vec::new() };
            row.push(item.name_any());
            row.extend(item.cells().into_iter().take(shown));
            row.push(
                item.creation_timestamp()
                    .map_or_else(String::new, |time| age::since(time.0, Timestamp::now())),
            );
            table.row(row);
        }
        table
    }

    fn names(&self) -> Vec<String> {
        let kind = K::kind(&()).to_lowercase();
        self.items.iter().map(|item| format!("{kind}.{}/{}", skep_api::GROUP, item.name_any())).collect()
    }

    fn empty(&self) -> String {
        format!("no {} found", K::plural(&()))
    }
}

#[cfg(test)]
mod tests;
