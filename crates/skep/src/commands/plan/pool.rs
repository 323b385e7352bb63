//! The plan of a `NodePool`: which machines are made, changed or replaced, and why.

use std::fmt;

use kube::{Api, Client, ResourceExt, api::ListParams};
use serde::Serialize;
use serde_json::Value;
use skep_api::{Cluster, ControlPlane, Machine, MachineClass, NodePool, Release};
use skep_plan::node_pool::{ClusterState, Course, Facts, Plan, Unresolved, steer};

use super::{Planned, Wanted, refusal, wanted};
use crate::{
    error::{self, Error, Result, code},
    exit::Exit,
};

/// Kind of the objects.
pub(super) const KIND: &str = "NodePool";

/// What happens to a pool.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Steps {
    /// Why the pool is not brought to what its spec says.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<String>,
    #[serde(flatten)]
    plan: Plan,
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(stopped) = &self.stopped {
            writeln!(f, "{stopped}")?;
        }
        self.plan.fmt(f)
    }
}

pub(super) async fn plan(client: &Client, document: Value, project: &str) -> Result<Planned> {
    let wanted = wanted::<NodePool>(client, document, project).await?;
    let facts = facts(client, &wanted).await?;
    let status = wanted.existing.as_ref().and_then(|pool| pool.status.as_ref());
    let course = steer(&wanted.object.spec, status, &facts).map_err(|unresolved| match unresolved {
        Unresolved::Refused(refused) => refusal(refused.code(), &wanted.what, &refused),
        Unresolved::Waits(why) => Error::new(code::INVALID, Exit::Refused, format!("{}: {why}", wanted.what)),
    })?;
    let machines = match &wanted.existing {
        Some(pool) => {
            let api: Api<Machine> = Api::namespaced(client.clone(), &wanted.project);
            list(&api, "machines", &skep_node::pool::selector(pool)).await?
        }
        None => Vec::new(),
    };
    let members = skep_node::pool::members_of(&wanted.object, &machines);
    let plan = skep_plan::node_pool::plan(course.goal(), &members);
    let steps = Steps { stopped: stopped(&course), plan };
    Ok(wanted.planned(KIND, super::Steps::Pool(Box::new(steps))))
}

fn stopped(course: &Course) -> Option<String> {
    let rest = match course {
        Course::Ahead(_) => return None,
        Course::Back(goal) => format!("machines that did not become healthy go back to {}", goal.version),
        Course::Held(_, why) => format!("all stay as they are ({why})"),
    };
    Some(format!(
        "This update was stopped before: {rest}. Correct the template, or raise update.attempt to try it again (SKEP-8067)."
    ))
}

async fn facts(client: &Client, wanted: &Wanted<NodePool>) -> Result<Facts> {
    let clusters: Api<Cluster> = Api::namespaced(client.clone(), &wanted.project);
    let name = &wanted.object.spec.cluster;
    let cluster = clusters.get_opt(name).await;
    let cluster = match cluster.map_err(|error| error::api(&format!("cluster {name}"), &error))? {
        Some(cluster) => {
            let tenant = cluster.status.as_ref().and_then(|status| status.tenant.clone());
            let plane = match tenant {
                Some(tenant) => {
                    let api: Api<ControlPlane> = Api::namespaced(client.clone(), &tenant);
                    let what = format!("control plane {tenant}");
                    api.get_opt(&tenant).await.map_err(|error| error::api(&what, &error))?
                }
                None => None,
            };
            ClusterState::of(&cluster, plane.as_ref())
        }
        None => {
            let mut known: Vec<String> =
                list(&clusters, "clusters", "").await?.iter().map(ResourceExt::name_any).collect();
            known.sort();
            ClusterState::Missing(known)
        }
    };
    let classes = list(&Api::<MachineClass>::all(client.clone()), "machine classes", "").await?;
    let releases = list(&Api::<Release>::all(client.clone()), "releases", "").await?;
    Ok(Facts::new(cluster, &classes, &releases))
}

async fn list<K: skep_kubeops::Object>(api: &Api<K>, what: &str, labels: &str) -> Result<Vec<K>> {
    let found = api.list(&ListParams::default().labels(labels)).await;
    found.map(|list| list.items).map_err(|error| error::api(what, &error))
}
