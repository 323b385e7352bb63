//! `skep create cluster`

use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, ResourceExt, api::PostParams};
use skep_api::{
    Cluster, ClusterSpec,
    cluster::{Channel, Size},
    resources::Availability,
};

use super::wait;
use crate::{
    cli::{
        Global,
        cluster::{AvailabilityArg, ChannelArg, Create, CreateCluster},
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

pub async fn run(global: &Global, args: &Create) -> Result<()> {
    match args {
        Create::Cluster(args) => cluster(global, args).await,
    }
}

async fn cluster(global: &Global, args: &CreateCluster) -> Result<()> {
    let began = std::time::Instant::now();
    let client = hub::client(global).await?;
    let mut progress = Progress::new(global.quiet);
    progress.doing("asking the hub");
    let created = post(&client, &object(args), &mut progress).await?;
    let named = format!("cluster.{}/{}", skep_api::GROUP, args.named.name);
    if args.no_wait {
        progress.finish();
        return print(&created, args.output, &format!("{named} created\n"));
    }
    let uid = created.uid();
    let ready = wait::ready(&client, &args.named, uid.as_deref(), args.timeout.0, &mut progress).await?;
    progress.finish();
    print(&ready, args.output, &format!("{named} ready in {}\n", seconds(began.elapsed())))?;
    if !global.quiet && args.output == Format::Table {
        let project = match args.named.project.as_str() {
            "default" => String::new(),
            project => format!(" -n {project}"),
        };
        output::note(&format!("next: `skep use {}{project}`, then kubectl as usual", args.named.name));
    }
    Ok(())
}

fn print(cluster: &Cluster, output: Format, text: &str) -> Result<()> {
    output::print(&match output {
        Format::Json => format::json(cluster)?,
        Format::Yaml => format::yaml(cluster)?,
        Format::Name => format!("cluster.{}/{}\n", skep_api::GROUP, cluster.name_any()),
        Format::Table | Format::Wide => text.to_owned(),
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

/// Creates it; a project that does not exist yet is made first.
async fn post(client: &Client, cluster: &Cluster, progress: &mut Progress) -> Result<Cluster> {
    let project = cluster.namespace().unwrap_or_default();
    let what = format!("cluster {project}/{}", cluster.name_any());
    let api: Api<Cluster> = Api::namespaced(client.clone(), &project);
    match api.create(&PostParams::default(), cluster).await {
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
            api.create(&PostParams::default(), cluster).await.map_err(|error| error::api(&what, &error))
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
    fn version_and_channel_exclude_each_other() {
        let line = "skep create cluster web --version v1.36.3 --channel stable";
        assert!(Cli::try_parse_from(line.split(' ')).is_err());
    }
}
