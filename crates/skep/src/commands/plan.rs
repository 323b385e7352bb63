//! `skep plan`: what applying a file would do, without doing it.
//!
//! The hub itself merges and checks the objects (a dry run of the apply), so that what is planned is what would be.

use std::{fs, io::Read, path::Path};

use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::Serialize;
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

#[derive(Serialize)]
struct Planned {
    name: String,
    project: String,
    exists: bool,
    #[serde(flatten)]
    plan: Plan,
}

pub async fn run(global: &Global, args: &cluster::Plan) -> Result<()> {
    let documents = documents(&args.file)?;
    let client = hub::client(global).await?;
    let outlook = Outlook::read(&client).await?;
    let mut all = Vec::new();
    for document in documents {
        all.push(plan(&client, &outlook, document, &args.project).await?);
    }
    output::print(&match args.output {
        Format::Json => format::json(&all)?,
        Format::Yaml => format::yaml(&all)?,
        Format::Name => all.iter().map(|one| format!("cluster.{}/{}\n", skep_api::GROUP, one.name)).collect(),
        Format::Table | Format::Wide => all.iter().map(render).collect::<Vec<_>>().join("\n"),
    })
}

fn render(one: &Planned) -> String {
    let state = if one.exists { "" } else { " (new)" };
    format!("cluster {}/{}{state}\n{}", one.project, one.name, one.plan)
}

async fn plan(client: &Client, outlook: &Outlook, document: Value, project: &str) -> Result<Planned> {
    let metadata = document.get("metadata");
    let field = |name: &str| metadata.and_then(|m| m.get(name)).and_then(Value::as_str).map(str::to_owned);
    let project = field("namespace").unwrap_or_else(|| project.to_owned());
    let name = field("name")
        .ok_or_else(|| Error::new(code::INVALID, Exit::Refused, "a Cluster without metadata.name"))?;
    let what = format!("cluster {project}/{name}");
    let api: Api<Cluster> = Api::namespaced(client.clone(), &project);
    let existing = api.get_opt(&name).await.map_err(|error| error::api(&what, &error))?;
    let params = PatchParams::apply(MANAGER).force().dry_run();
    let mut wanted = match api.patch(&name, &params, &Patch::Apply(&document)).await {
        // A project that does not exist yet cannot check anything; the schema is the same everywhere.
        Err(kube::Error::Api(status)) if status.is_not_found() => parse(&document, &what)?,
        other => other.map_err(|error| error::api(&what, &error))?,
    };
    // A dry run of a creation gives an identity that will never be.
    wanted.metadata.uid = existing.as_ref().and_then(ResourceExt::uid);
    let running = outlook.control_plane(&wanted).await?;
    let foreseen = outlook.foresee(&wanted, running.as_ref()).map_err(|refused| {
        Error::new(refused.first().code(), Exit::Refused, format!("{what}: {refused}"))
            .help("change the file")
    })?;
    Ok(Planned { name, project, exists: existing.is_some(), plan: foreseen.plan })
}

fn parse(document: &Value, what: &str) -> Result<Cluster> {
    serde_json::from_value(document.clone())
        .map_err(|error| Error::new(code::INVALID, Exit::Refused, format!("{what}: {error}")))
}

/// The Cluster objects of a file; other kinds are refused, as their effect is not known here.
fn documents(file: &Path) -> Result<Vec<Value>> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|error| Error::file(Path::new("stdin"), error))?;
        text
    } else {
        fs::read_to_string(file).map_err(|error| Error::file(file, error))?
    };
    let all: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|error| Error::file(file, error))?;
    let mut clusters = Vec::new();
    for document in all.into_iter().filter(|document| !document.is_null()) {
        let kind = document.get("kind").and_then(Value::as_str).unwrap_or("nothing");
        if kind != "Cluster" {
            return Err(Error::new(
                code::INVALID,
                Exit::Usage,
                format!("{}: {kind} cannot be planned", file.display()),
            )
            .help("only objects of kind Cluster have a plan"));
        }
        clusters.push(document);
    }
    if clusters.is_empty() {
        return Err(Error::file(file, "no Cluster in it"));
    }
    Ok(clusters)
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
    fn only_clusters_have_a_plan() {
        let cluster = "apiVersion: skep.dev/v1alpha1\nkind: Cluster\nmetadata:\n  name: a\n";
        assert_eq!(read(&format!("---\n{cluster}---\n{cluster}")).unwrap().len(), 2);
        for bad in ["", "kind: Secret\n", "- a\n", &format!("{cluster}---\nkind: Pod\n"), "a: [\n"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
