//! `skep describe`: everything about one object on one page.

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::Pod, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{Api, Client, ResourceExt, api::ListParams};
use skep_api::{Cluster, ControlPlane, Datastore, labels};

use super::catalogue::Outlook;
use crate::{
    cli::{
        Global,
        cluster::{Describe, Named},
    },
    error::{self, Result},
    hub,
    output::{self, age, table::Table},
};

/// Events shown, newest last.
const EVENTS: usize = 20;

pub async fn run(global: &Global, args: &Describe) -> Result<()> {
    let client = hub::client(global).await?;
    let text = match args {
        Describe::Cluster(named) => cluster(&client, named).await?,
        Describe::Datastore { name, namespace } => datastore(&client, name, namespace).await?,
    };
    output::print(&text)
}

async fn cluster(client: &Client, Named { name, project }: &Named) -> Result<String> {
    let what = format!("cluster {project}/{name}");
    let api: Api<Cluster> = Api::namespaced(client.clone(), project);
    let found = api.get(name).await.map_err(|error| error::api(&what, &error))?;
    let outlook = Outlook::read(client).await?;
    let running = outlook.control_plane(&found).await?;
    let status = found.status.clone().unwrap_or_default();

    let mut page = Page::default();
    let endpoint = status.endpoint.as_ref();
    page.facts([
        ("Name", Some(name.clone())),
        ("Project", Some(project.clone())),
        ("Phase", status.phase.map(|phase| phase.to_string())),
        ("Version", status.version.clone()),
        ("Size", status.size_class.clone()),
        ("Endpoint", endpoint.map(|endpoint| format!("{} ({})", endpoint.server, endpoint.host))),
        ("Tenant", status.tenant.clone()),
        ("Datastore", running.as_ref().map(|running| running.spec.datastore.name.clone())),
        ("Created", created(found.creation_timestamp().map(|time| time.0))),
    ]);
    page.section("Conditions", &conditions(&status.conditions));
    if let Some(control_plane) = &running {
        let conditions_of = control_plane.status.as_ref().map(|status| status.conditions.as_slice());
        page.section("Control plane", &conditions(conditions_of.unwrap_or_default()));
    }
    let namespaces: Vec<&str> =
        [Some(project.as_str()), status.tenant.as_deref()].into_iter().flatten().collect();
    if let Some(tenant) = &status.tenant {
        page.section("Pods", &pods(client, tenant, labels::COMPONENT).await?);
    }
    page.text("Plan", &pending(&outlook, &found, running.as_ref()));
    page.section(
        "Events",
        &events(client, &namespaces, &|event| concerns(event, &found, status.tenant.as_deref())).await?,
    );
    Ok(page.text)
}

/// What would still change, were the operator to look now.
fn pending(outlook: &Outlook, cluster: &Cluster, running: Option<&ControlPlane>) -> String {
    match outlook.foresee(cluster, running) {
        Ok(foreseen) if foreseen.plan.is_empty() => "the control plane is as the spec says\n".to_owned(),
        Ok(foreseen) => foreseen.plan.to_string(),
        Err(refused) => format!("refused: {refused}\n"),
    }
}

async fn datastore(client: &Client, name: &str, namespace: &str) -> Result<String> {
    let api: Api<Datastore> = Api::namespaced(client.clone(), namespace);
    let found =
        api.get(name).await.map_err(|error| error::api(&format!("datastore {namespace}/{name}"), &error))?;
    let status = found.status.clone().unwrap_or_default();
    let mut page = Page::default();
    page.facts([
        ("Name", Some(name.to_owned())),
        ("Namespace", Some(namespace.to_owned())),
        ("Class", Some(format!("{:?}", found.spec.class))),
        ("Version", status.version.clone()),
        ("Tenants", Some(format!("{} of {}", status.tenants.unwrap_or(0), found.spec.max_tenants))),
        ("Size", status.database_bytes.map(|bytes| format!("{} KiB of {}", bytes >> 10, found.spec.quota))),
        ("Endpoints", Some(status.endpoints.join(", ")).filter(|text| !text.is_empty())),
        ("Created", created(found.creation_timestamp().map(|time| time.0))),
    ]);
    page.section("Conditions", &conditions(&status.conditions));
    page.section("Pods", &pods(client, namespace, &format!("{}={name}", labels::DATASTORE)).await?);
    page.section("Events", &events(client, &[namespace], &|_| true).await?);
    Ok(page.text)
}

fn created(time: Option<Timestamp>) -> Option<String> {
    time.map(|time| format!("{time} ({} ago)", age::since(time, Timestamp::now())))
}

fn conditions(all: &[Condition]) -> Table {
    let mut table = Table::new(["TYPE", "STATUS", "REASON", "FOR", "MESSAGE"]);
    let now = Timestamp::now();
    for condition in all {
        let since = age::since(condition.last_transition_time.0, now);
        table.row([&condition.type_, &condition.status, &condition.reason, &since, &condition.message]);
    }
    table
}

async fn pods(client: &Client, namespace: &str, selector: &str) -> Result<Table> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let list = api
        .list(&ListParams::default().labels(selector))
        .await
        .map_err(|error| error::api(&format!("pods of {namespace}"), &error))?;
    let mut table = Table::new(["NAME", "READY", "PHASE", "RESTARTS", "NODE", "ADDRESS", "AGE"]);
    for pod in list.items {
        let status = pod.status.clone().unwrap_or_default();
        let containers = status.container_statuses.unwrap_or_default();
        let ready = containers.iter().filter(|container| container.ready).count();
        let restarts: i32 = containers.iter().map(|container| container.restart_count).sum();
        let phase = match pod.metadata.deletion_timestamp {
            Some(_) => "Terminating".to_owned(),
            None => status.phase.unwrap_or_default(),
        };
        table.row([
            pod.name_any(),
            format!("{ready}/{}", containers.len()),
            phase,
            restarts.to_string(),
            pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
            status.pod_ip.unwrap_or_default(),
            pod.creation_timestamp().map_or_else(String::new, |time| age::since(time.0, Timestamp::now())),
        ]);
    }
    Ok(table)
}

/// Whether an event is about the cluster itself or about something of its tenant.
fn concerns(event: &Event, cluster: &Cluster, tenant: Option<&str>) -> bool {
    let regarding = event.regarding.as_ref();
    let about_it = regarding.is_some_and(|object| object.uid.is_some() && object.uid == cluster.metadata.uid);
    about_it || tenant.is_some_and(|tenant| event.metadata.namespace.as_deref() == Some(tenant))
}

async fn events(
    client: &Client,
    namespaces: &[&str],
    wanted: &(dyn Fn(&Event) -> bool + Sync),
) -> Result<Table> {
    let mut all = Vec::new();
    for namespace in namespaces {
        let api: Api<Event> = Api::namespaced(client.clone(), namespace);
        let list = api
            .list(&ListParams::default())
            .await
            .map_err(|error| error::api(&format!("events of {namespace}"), &error))?;
        all.extend(list.items.into_iter().filter(|event| wanted(event)));
    }
    let time = |event: &Event| {
        let series = event.series.as_ref().map(|series| series.last_observed_time.0);
        let first = event.event_time.as_ref().map(|time| time.0);
        let old = event.deprecated_last_timestamp.as_ref().map(|time| time.0);
        series.or(first).or(old).or(event.creation_timestamp().map(|time| time.0))
    };
    all.sort_by_key(|event| time(event));
    let mut table = Table::new(["LAST", "TYPE", "REASON", "OBJECT", "MESSAGE"]);
    let now = Timestamp::now();
    for event in all.iter().skip(all.len().saturating_sub(EVENTS)) {
        let object = event.regarding.clone().unwrap_or_default();
        table.row([
            time(event).map_or_else(String::new, |time| age::since(time, now)),
            event.type_.clone().unwrap_or_default(),
            event.reason.clone().unwrap_or_default(),
            format!("{}/{}", object.kind.unwrap_or_default().to_lowercase(), object.name.unwrap_or_default()),
            event.note.clone().unwrap_or_default(),
        ]);
    }
    Ok(table)
}

/// A page that grows from top to bottom.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn facts<const N: usize>(&mut self, facts: [(&str, Option<String>); N]) {
        for (name, value) in facts {
            self.text += &format!("{:<12}{}\n", format!("{name}:"), value.unwrap_or_else(|| "-".to_owned()));
        }
    }

    fn section(&mut self, name: &str, table: &Table) {
        let body = if table.is_empty() { "none\n".to_owned() } else { table.render() };
        self.text(name, &body);
    }

    fn text(&mut self, name: &str, body: &str) {
        self.text += &format!("\n{name}:\n");
        for line in body.lines() {
            self.text += &format!("  {line}\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page() {
        let mut page = Page::default();
        page.facts([("Name", Some("web".into())), ("Version", None)]);
        page.section("Pods", &Table::new(["NAME"]));
        page.text("Plan", "a\nb\n");
        insta::assert_snapshot!(page.text, @r###"
        Name:       web
        Version:    -

        Pods:
          none

        Plan:
          a
          b
        "###);
    }
}
