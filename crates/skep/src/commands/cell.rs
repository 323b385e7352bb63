//! `skep cell`

use std::time::Instant;

use kube::Client;
use skep_embedded::cell::{self, Service, Settings};
use skep_kubeops::ClientConfig;

use super::kubeconfig;
use crate::{
    cli::{
        Global,
        cell::{Cell, GatewayService, Join},
        cluster::Named,
    },
    error::{Error, Result, code},
    exit::Exit,
    output::{
        self, format,
        progress::{Progress, seconds},
    },
};

pub async fn run(global: &Global, args: &Cell) -> Result<()> {
    match args {
        Cell::Join(args) => join(global, args).await,
    }
}

async fn join(global: &Global, args: &Join) -> Result<()> {
    let (cell, client) = open(global, args).await?;
    let failed = |error: skep_embedded::Error| {
        Error::new(code::CELL, Exit::Failure, format!("{cell}: {error}"))
            .help("see `kubectl -n skep-system get pods,events` of the cell, then do the same again")
    };
    let settings = settings(args, &client).await.map_err(failed)?;
    if args.print {
        for object in cell::objects(&settings).map_err(failed)? {
            output::print(&format!("---\n{}", format::yaml(&object)?))?;
        }
        return Ok(());
    }
    let began = Instant::now();
    let mut progress = Progress::new(global.quiet);
    let limit = args.timeout.0;
    cell::join(&client, &settings, limit, &mut |step| progress.doing(step)).await.map_err(failed)?;
    progress.finish();
    output::print(&format!(
        "{cell} is a cell, ready in {}; gateway {}\n",
        seconds(began.elapsed()),
        settings.gateway
    ))?;
    if let (Some(name), false) = (&args.cluster, global.quiet) {
        output::note(&format!(
            "next: `skep kubeconfig {name} > {name}.kubeconfig`, then `skep --kubeconfig {name}.kubeconfig create cluster …`"
        ));
    }
    Ok(())
}

/// The cluster that becomes a cell: how it is called, and a client of it.
async fn open(global: &Global, args: &Join) -> Result<(String, Client)> {
    let (name, config) = match (&args.cluster, &args.cell_kubeconfig) {
        (Some(cluster), _) => {
            let named = Named { name: cluster.clone(), project: args.project.clone() };
            let text = kubeconfig::fetch(global, &named).await?;
            (format!("cluster {}/{cluster}", args.project), ClientConfig::from_yaml(&text).await?)
        }
        (None, Some(path)) => {
            (format!("the cluster of {}", path.display()), ClientConfig::from_kubeconfig(path, None).await?)
        }
        (None, None) => return Err(Error::new(code::USAGE, Exit::Usage, "no cluster is named")),
    };
    Ok((name, config.build("skep")?))
}

async fn settings(args: &Join, client: &Client) -> Result<Settings, skep_embedded::Error> {
    let service = match args.gateway_service {
        GatewayService::NodePort => Service::NodePort(args.gateway_port),
        GatewayService::LoadBalancer => Service::LoadBalancer,
        GatewayService::ClusterIp => Service::ClusterIp,
    };
    let gateway = match &args.gateway_url {
        Some(url) => url.clone(),
        None => format!("https://{}:{}", cell::node_address(client).await?, args.gateway_port),
    };
    Ok(Settings {
        image: args.image.clone().unwrap_or_else(|| skep_engine::skep_image().to_string()),
        gateway,
        service,
        domain: args.domain.clone(),
        volumes: cell::needs_volumes(client).await?,
    })
}
