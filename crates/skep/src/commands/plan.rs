//! `skep plan`: what applying a file would do, without doing it.
//!
//! The hub itself merges and checks the objects (a dry run of the apply), so that what is planned is what would be.

use std::{fs, io::Read, path::Path};

use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use skep_api::Cluster;
use skep_plan::Plan;

use super::catalogue::Outlook;
use crate::{
    cli::{Global, cluster},
    error::{self, Error, Result, code},
    exit::Exit,
    hub,
    output::{
        self,
        format::{self, Format},
    },
};

/// As kubectl calls itself in server-side apply, so that the dry run meets the conflicts the apply would meet.
const MANAGER: &str = "kubectl";

mod pool;

#[derive(Serialize)]
struct Planned {
    kind: &'static str,
    name: String,
    project: String,
    exists: bool,
    #[serde(flatten)]
    plan: Steps,
}

/// What happens to an object.
#[derive(Serialize)]
#[serde(untagged)]
enum Steps {
    Cluster(Box<Plan>),
    Pool(Box<pool::Steps>),
}

/// An object of a file, merged and checked by the hub.
struct Wanted<K> {
    /// As it will be.
    object: K,
    /// As it is.
    existing: Option<K>,
    name: String,
    project: String,
    /// What messages call it.
    what: String,
}

pub async fn run(global: &Global, args: &cluster::Plan) -> Result<()> {
    let documents = documents(&args.file)?;
    let client = hub::client(global).await?;
    let outlook = Outlook::read(&client).await?;
    let mut all = Vec::new();
    for document in documents {
        all.push(match kind(&document) {
            pool::KIND => pool::plan(&client, document, &args.project).await?,
            _ => plan(&client, &outlook, document, &args.project).await?,
        });
    }
    let full_name = |one: &Planned| format!("{}.{}/{}\n", one.kind.to_lowercase(), skep_api::GROUP, one.name);
    output::print(&match args.output {
        Format::Json => format::json(&all)?,
        Format::Yaml => format::yaml(&all)?,
        Format::Name => all.iter().map(full_name).collect(),
        Format::Table | Format::Wide => all.iter().map(render).collect::<Vec<_>>().join("\n"),
    })
}

fn render(one: &Planned) -> String {
    let state = if one.exists { "" } else { " (new)" };
    let steps = match &one.plan {
        Steps::Cluster(plan) => plan.to_string(),
        Steps::Pool(steps) => steps.to_string(),
    };
    format!("{} {}/{}{state}\n{steps}", one.kind.to_lowercase(), one.project, one.name)
}

fn kind(document: &Value) -> &str {
    document.get("kind").and_then(Value::as_str).unwrap_or("nothing")
}

async fn plan(client: &Client, outlook: &Outlook, document: Value, project: &str) -> Result<Planned> {
    let wanted = wanted::<Cluster>(client, document, project).await?;
    let running = outlook.control_plane(&wanted.object).await?;
    let foreseen = outlook
        .foresee(&wanted.object, running.as_ref())
        .map_err(|refused| refusal(refused.code(), &wanted.what, &refused))?;
    Ok(wanted.planned("Cluster", Steps::Cluster(Box::new(foreseen.plan))))
}

fn refusal(code: skep_api::Code, what: &str, refused: &impl std::fmt::Display) -> Error {
    Error::new(code, Exit::Refused, format!("{what}: {refused}")).help("change the file")
}

impl<K> Wanted<K> {
    fn planned(self, kind: &'static str, plan: Steps) -> Planned {
        Planned { kind, name: self.name, project: self.project, exists: self.existing.is_some(), plan }
    }
}

/// What an object will be when it is applied: the hub says it, without doing it.
async fn wanted<K>(client: &Client, document: Value, project: &str) -> Result<Wanted<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let kind = K::kind(&());
    let metadata = document.get("metadata");
    let field = |name: &str| metadata.and_then(|m| m.get(name)).and_then(Value::as_str).map(str::to_owned);
    let project = field("namespace").unwrap_or_else(|| project.to_owned());
    let name = field("name")
        .ok_or_else(|| Error::new(code::INVALID, Exit::Refused, format!("a {kind} without metadata.name")))?;
    let what = format!("{} {project}/{name}", kind.to_lowercase());
    let api: Api<K> = Api::namespaced(client.clone(), &project);
    let existing = api.get_opt(&name).await.map_err(|error| error::api(&what, &error))?;
    let params = PatchParams::apply(MANAGER).force().dry_run();
    let mut object = match api.patch(&name, &params, &Patch::Apply(&document)).await {
        // A project that does not exist yet cannot check anything; the schema is the same everywhere.
        Err(kube::Error::Api(status)) if status.is_not_found() => parse(&document, &what)?,
        other => other.map_err(|error| error::api(&what, &error))?,
    };
    // A dry run of a creation gives an identity that will never be.
    object.meta_mut().uid = existing.as_ref().and_then(ResourceExt::uid);
    Ok(Wanted { object, existing, name, project, what })
}

fn parse<K: DeserializeOwned>(document: &Value, what: &str) -> Result<K> {
    serde_json::from_value(document.clone())
        .map_err(|error| Error::new(code::INVALID, Exit::Refused, format!("{what}: {error}")))
}

/// The objects of a file that have a plan; other kinds are refused, as their effect is not known here.
fn documents(file: &Path) -> Result<Vec<Value>> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|error| Error::file(Path::new("stdin"), error))?;
        text
    } else {
        fs::read_to_string(file).map_err(|error| Error::file(file, error))?
    };
    let all: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|error| Error::file(file, error))?;
    let mut planned = Vec::new();
    for document in all.into_iter().filter(|document| !document.is_null()) {
        let kind = kind(&document);
        if !["Cluster", pool::KIND].contains(&kind) {
            return Err(Error::new(
                code::INVALID,
                Exit::Usage,
                format!("{}: {kind} cannot be planned", file.display()),
            )
            .help("objects of kind Cluster and NodePool have a plan"));
        }
        planned.push(document);
    }
    if planned.is_empty() {
        return Err(Error::file(file, "no Cluster or NodePool in it"));
    }
    Ok(planned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Value>> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f.yaml");
        fs::write(&file, text).unwrap();
        documents(&file)
    }

    #[test]
    fn clusters_and_pools_have_a_plan_and_nothing_else() {
        let cluster = "apiVersion: skep.dev/v1alpha1\nkind: Cluster\nmetadata:\n  name: a\n";
        let pool = cluster.replace("Cluster", "NodePool");
        assert_eq!(read(&format!("---\n{cluster}---\n{pool}")).unwrap().len(), 2);
        for bad in ["", "kind: Secret\n", "- a\n", &format!("{cluster}---\nkind: Pod\n"), "a: [\n"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
