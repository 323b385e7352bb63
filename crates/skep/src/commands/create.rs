//! `skep create`

use std::{collections::BTreeMap, future::ready, time::Duration};

use futures::StreamExt;
use k8s_openapi::{
    api::core::v1::{Namespace, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, ResourceExt, api::PostParams};
use serde::Serialize;
use skep_api::{
    Cluster, ClusterSpec, NodePool, NodePoolSpec, NodeTemplate,
    cluster::{Channel, Size},
    machine::KubeletSettings,
    node_pool::{Drain, Repair, Scaling, Update},
    resources::Availability,
};
use skep_kubeops::{
    Cache, ClientConfig,
    watch::{Change, Select, changes},
};
use tokio::time::timeout;

use super::{
    kubeconfig,
    wait::{self, Awaited},
};
use crate::{
    cli::{
        Global,
        cluster::{AvailabilityArg, ChannelArg, Create, CreateCluster, CreateNodePool, Named},
    },
    error::{self, Error, Result, code},
    exit::Exit,
    hub,
    output::{
        self,
        format::{self, Format},
        progress::{Progress, seconds},
    },
};

/// For what a cluster's controllers make first.
const FIRST: Duration = Duration::from_secs(20);

pub async fn run(global: &Global, args: &Create) -> Result<()> {
    match args {
        Create::Cluster(args) => {
            let how = How { wait: !args.no_wait, limit: args.timeout.0, output: args.output };
            if one(global, &args.named, &object(args), &how, usable(global, &args.named)).await? {
                output::note(&format!(
                    "next: `skep use {}{}`, then kubectl as usual",
                    args.named.name,
                    project(&args.named)
                ));
            }
            Ok(())
        }
        Create::Nodepool(args) => {
            let how = How { wait: !args.no_wait, limit: args.timeout.0, output: args.output };
            if one(global, &args.named, &pool(args), &how, ready(())).await? {
                output::note(&format!("next: `skep get machines{}`", project(&args.named)));
                if args.max.is_some() {
                    output::note("it is scaled when its cluster has `spec.components.autoscaler: Managed`");
                }
            }
            Ok(())
        }
    }
}

/// What a person said about waiting and output.
struct How {
    wait: bool,
    limit: Duration,
    output: Format,
}

/// Creates an object, and waits for it and then for `more`. `true` when a person waited for it and may be told what is next.
async fn one<K: Awaited + Serialize>(
    global: &Global,
    named: &Named,
    object: &K,
    how: &How,
    more: impl Future<Output = ()>,
) -> Result<bool> {
    let began = std::time::Instant::now();
    let client = hub::client(global).await?;
    let mut progress = Progress::new(global.quiet);
    progress.doing("asking the hub");
    let created = post(&client, named, object, &mut progress).await?;
    let full_name = wait::full_name::<K>(named);
    if !how.wait {
        progress.finish();
        print(&created, how.output, &full_name, "created")?;
        return Ok(false);
    }
    let uid = created.uid();
    let ready = wait::ready::<K>(&client, named, uid.as_deref(), how.limit, &mut progress).await?;
    more.await;
    progress.finish();
    print(&ready, how.output, &full_name, &format!("ready in {}", seconds(began.elapsed())))?;
    Ok(!global.quiet && how.output == Format::Table)
}

/// Waits for the account of a person's first pod: its controllers are ready a moment before they lead. Where the cluster
/// cannot be reached from here there is nothing to wait for, and in any case it is not waited for long: the cluster is ready.
async fn usable(global: &Global, named: &Named) {
    let seen = async {
        let text = kubeconfig::fetch(global, named).await.ok()?;
        let config = ClientConfig::from_yaml(&text).await.ok()?;
        let client = config.retries(1).build("skep").ok()?;
        client.apiserver_version().await.ok()?;
        let account = Select::named("default").namespace("default");
        let mut watch = changes(client, account, Cache::<ServiceAccount>::new());
        while !matches!(watch.next().await?, Change::Applied(_)) {}
        Some(())
    };
    let _ = timeout(FIRST, seen).await;
}

/// The option that names the project, where it is needed.
fn project(named: &Named) -> String {
    match named.project.as_str() {
        "default" => String::new(),
        project => format!(" -n {project}"),
    }
}

fn print<K: Serialize>(object: &K, output: Format, full_name: &str, state: &str) -> Result<()> {
    output::print(&match output {
        Format::Json => format::json(object)?,
        Format::Yaml => format::yaml(object)?,
        Format::Name => format!("{full_name}\n"),
        Format::Table | Format::Wide => format!("{full_name} {state}\n"),
    })
}

/// The object that the arguments describe.
fn object(args: &CreateCluster) -> Cluster {
    let spec = ClusterSpec {
        version: args.version.clone(),
        channel: args.channel.map(|channel| match channel {
            ChannelArg::Stable => Channel::Stable,
            ChannelArg::Preview => Channel::Preview,
        }),
        profile: args.profile.clone(),
        size: args.size.clone().map(|class| Size { class }),
        availability: args.availability.map(|availability| match availability {
            AvailabilityArg::Single => Availability::Single,
            AvailabilityArg::HighlyAvailable => Availability::HighlyAvailable,
        }),
        ..ClusterSpec::default()
    };
    let mut cluster = Cluster::new(&args.named.name, spec);
    cluster.metadata.namespace = Some(args.named.project.clone());
    cluster
}

/// The pool that the arguments describe.
fn pool(args: &CreateNodePool) -> NodePool {
    let template = NodeTemplate {
        machine_class: args.class.clone(),
        version: args.version.clone(),
        labels: BTreeMap::new(),
        taints: Vec::new(),
        kubelet: KubeletSettings::default(),
        runtimes: Vec::new(),
    };
    let bounds = args.min.zip(args.max);
    let scaling = bounds.map(|(min, max)| Scaling { min, max, remove: Vec::new() });
    let spec = NodePoolSpec {
        cluster: args.cluster.clone(),
        // With bounds the number is the autoscaler's to say.
        replicas: args.replicas.or_else(|| scaling.is_none().then_some(1)),
        scaling,
        zones: args.zones.clone(),
        template,
        update: Update::default(),
        drain: Drain::default(),
        repair: Repair::default(),
    };
    let mut pool = NodePool::new(&args.named.name, spec);
    pool.metadata.namespace = Some(args.named.project.clone());
    pool
}

/// Creates it; a project that does not exist yet is made first.
async fn post<K: Awaited + Serialize>(
    client: &Client,
    named: &Named,
    object: &K,
    progress: &mut Progress,
) -> Result<K> {
    let project = named.project.clone();
    let what = wait::what::<K>(named);
    let api: Api<K> = Api::namespaced(client.clone(), &project);
    match api.create(&PostParams::default(), object).await {
        Err(kube::Error::Api(status)) if status.is_not_found() && status.message.contains("namespaces") => {
            let namespace = Namespace {
                metadata: ObjectMeta { name: Some(project.clone()), ..ObjectMeta::default() },
                ..Namespace::default()
            };
            let made = Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await;
            match made {
                Err(error) if !skep_kubeops::error::is_already_exists(&error) => {
                    return Err(error::api(&format!("project {project}"), &error));
                }
                _ => progress.line(&format!("project {project} created")),
            }
            api.create(&PostParams::default(), object).await.map_err(|error| error::api(&what, &error))
        }
        Err(error) if skep_kubeops::error::is_already_exists(&error) => {
            Err(Error::new(code::EXISTS, Exit::Refused, format!("{what} exists already"))
                .help("choose another name, or change it with `skep kubectl edit`"))
        }
        other => other.map_err(|error| error::api(&what, &error)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(line: &str) -> Cluster {
        match Cli::parse_from(line.split(' ')).command {
            Command::Create(Create::Cluster(args)) => object(&args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_is_set_that_was_not_said() {
        let cluster = parse("skep create cluster web");
        assert_eq!(cluster.spec, ClusterSpec::default());
        assert_eq!(cluster.namespace().as_deref(), Some("default"));
    }

    #[test]
    fn everything_that_can_be_said() {
        let line = "skep create cluster web -n team --version v1.35.4 --size large --profile standard --availability highly-available";
        insta::assert_snapshot!(format::yaml(&parse(line)).unwrap());
        assert_eq!(parse("skep create cluster web --channel preview").spec.channel, Some(Channel::Preview));
    }

    #[test]
    fn pools_with_bounds_leave_the_number_to_the_autoscaler() {
        let spec = |rest: &str| {
            let line = format!("skep create nodepool n -c web --class c{rest}");
            match Cli::try_parse_from(line.split(' ')).map(|cli| cli.command) {
                Ok(Command::Create(Create::Nodepool(args))) => Some(pool(&args).spec),
                _ => None,
            }
        };
        let shape = |rest: &str| {
            spec(rest).map(|spec| (spec.replicas, spec.scaling.map(|bounds| (bounds.min, bounds.max))))
        };
        assert_eq!(shape(""), Some((Some(1), None)));
        assert_eq!(shape(" --replicas 3"), Some((Some(3), None)));
        assert_eq!(shape(" --max 5"), Some((None, Some((0, 5)))));
        assert_eq!(shape(" --min 2 --max 5 --replicas 3"), Some((Some(3), Some((2, 5)))));
        assert_eq!(shape(" --min 2"), None);
    }

    #[test]
    fn version_and_channel_exclude_each_other() {
        let line = "skep create cluster web --version v1.36.3 --channel stable";
        assert!(Cli::try_parse_from(line.split(' ')).is_err());
    }
}
