//! `skep logs`: of the hub's components from their files, of tenants through the hub's API.

use std::io::{IsTerminal, Write};

use futures::{AsyncReadExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{ListParams, LogParams},
};
use skep_api::{Cluster, labels};
use skep_embedded::{Layout, hub::Program, logs};

use crate::{
    cli::{Global, installation},
    error::{self, Error, Result, code},
    exit::Exit,
    hub, output,
};

pub async fn run(global: &Global, args: &installation::Logs) -> Result<()> {
    match args.component.split_once('/') {
        Some((cluster, component)) => tenant(global, args, cluster, component).await,
        None => local(&hub::layout(global)?, args).await,
    }
}

/// Number of lines, all of them for a negative one.
fn lines(args: &installation::Logs) -> usize {
    usize::try_from(args.tail).unwrap_or(usize::MAX)
}

async fn local(layout: &Layout, args: &installation::Logs) -> Result<()> {
    let known: Vec<&str> = ["skep"].into_iter().chain(Program::ALL.map(Program::name)).collect();
    if !known.contains(&args.component.as_str()) {
        return Err(Error::new(
            code::NO_LOG,
            Exit::NotFound,
            format!("there is no component {:?}", args.component),
        )
        .help(format!("one of {}; or CLUSTER/kube-apiserver for a tenant", known.join(", "))));
    }
    let path = layout.log(&args.component);
    let failed = |error| Error::file(&path, error);
    if !path.exists() {
        return Err(Error::new(code::NO_LOG, Exit::NotFound, format!("{}: no log yet", path.display()))
            .help("start it with `skep up`"));
    }
    let (text, offset) = logs::tail(&path, lines(args)).map_err(failed)?;
    write(&text)?;
    if !args.follow {
        return Ok(());
    }
    let mut follower = logs::follow::Follower::new(&path, offset).map_err(failed)?;
    loop {
        write(&follower.next().await.map_err(failed)?)?;
    }
}

/// Raw bytes: a log need not be text. Ends the program when nobody reads any more.
fn write(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Error::file(std::path::Path::new("stdout"), error)),
    }
}

async fn tenant(global: &Global, args: &installation::Logs, cluster: &str, component: &str) -> Result<()> {
    let client = hub::client(global).await?;
    let found: Cluster = Api::namespaced(client.clone(), &args.project)
        .get(cluster)
        .await
        .map_err(|error| error::api(&format!("cluster {}/{cluster}", args.project), &error))?;
    let tenant = found.status.and_then(|status| status.tenant).ok_or_else(|| {
        Error::new(
            code::NOT_READY,
            Exit::NotFound,
            format!("cluster {}/{cluster} has no pods yet", args.project),
        )
        .help(format!("see `skep describe cluster {cluster} -n {}`", args.project))
    })?;
    let api: Api<Pod> = Api::namespaced(client, &tenant);
    let selector = ListParams::default().labels(&format!("{}={component}", labels::COMPONENT));
    let pods = api.list(&selector).await.map_err(|error| error::api(&format!("pods of {tenant}"), &error))?;
    // The newest: after a roll the old one is on its way out.
    let newest = pods.items.into_iter().max_by_key(|pod| pod.metadata.creation_timestamp.clone());
    let Some(pod) = newest.and_then(|pod| pod.metadata.name) else {
        return Err(Error::new(
            code::NO_LOG,
            Exit::NotFound,
            format!("cluster {cluster} has no pod of {component:?}"),
        )
        .help(
            "components are kube-apiserver, kube-controller-manager, kube-scheduler and cluster-autoscaler",
        ));
    };
    if std::io::stderr().is_terminal() && !global.quiet {
        output::note(&format!("pod {tenant}/{pod}"));
    }
    let params = LogParams {
        // Who stands beside it has another name.
        container: Some(component.to_owned()),
        follow: args.follow,
        tail_lines: (args.tail >= 0).then_some(args.tail),
        ..LogParams::default()
    };
    let stream =
        api.log_stream(&pod, &params).await.map_err(|error| error::api(&format!("log of {pod}"), &error))?;
    pin_mut!(stream);
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = stream.read(&mut buffer).await.map_err(|error| {
            Error::new(code::UNREACHABLE, Exit::Failure, format!("log of {pod}: {error}"))
        })?;
        match buffer.get(..count) {
            Some([]) | None => return Ok(()),
            Some(piece) => write(piece)?,
        }
    }
}
