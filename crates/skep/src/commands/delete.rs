//! `skep delete`

use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use skep_api::{Cluster, NodePool};

use super::wait::{self, Awaited};
use crate::{
    cli::{
        Global,
        cluster::{Delete, DeleteNamed},
    },
    error::{self, Result},
    hub,
    output::{
        self,
        progress::{Progress, seconds},
    },
};

pub async fn run(global: &Global, args: &Delete) -> Result<()> {
    match args {
        Delete::Cluster(args) => one::<Cluster>(global, args).await,
        Delete::Nodepool(args) => one::<NodePool>(global, args).await,
    }
}

async fn one<K: Awaited>(global: &Global, args: &DeleteNamed) -> Result<()> {
    let began = std::time::Instant::now();
    let client = hub::client(global).await?;
    let api: Api<K> = Api::namespaced(client.clone(), &args.named.project);
    let what = wait::what::<K>(&args.named);
    let found = match api.get(&args.named.name).await {
        Err(error) if args.ignore_not_found && skep_kubeops::error::is_not_found(&error) => return Ok(()),
        other => other.map_err(|error| error::api(&what, &error))?,
    };
    // This very one: not its successor, should somebody be quicker.
    let uid = found.meta().uid.clone();
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: uid.clone(), resource_version: None }),
        propagation_policy: K::DELETION,
        ..DeleteParams::default()
    };
    match api.delete(&args.named.name, &params).await {
        Err(error) if skep_kubeops::error::is_not_found(&error) => {}
        other => drop(other.map_err(|error| error::api(&what, &error))?),
    }
    let named = wait::full_name::<K>(&args.named);
    if args.no_wait {
        return output::print(&format!("{named} is being deleted\n"));
    }
    let mut progress = Progress::new(global.quiet);
    progress.doing(&format!("{what}: deleting"));
    wait::deleted::<K>(&client, &args.named, uid.as_deref(), args.timeout.0, &mut progress).await?;
    progress.finish();
    output::print(&format!("{named} deleted in {}\n", seconds(began.elapsed())))
}
