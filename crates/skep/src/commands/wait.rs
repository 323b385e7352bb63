//! `skep wait`, and the waiting in other commands: on a watch, with what the conditions say as progress.

use std::{
    ops::ControlFlow::{self, Break, Continue},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use kube::{Api, Client};
use skep_api::{
    Cluster,
    cluster::Phase,
    condition::{self, ConditionStatus, ConditionType},
};
use skep_kubeops::{
    Cache,
    watch::{Change, Select, changes},
};
use tokio::time::{interval, timeout};

use crate::{
    cli::{
        Global,
        cluster::{Named, Wait, WaitFor},
    },
    error::{Error, Result, code},
    exit::Exit,
    hub, output,
    output::progress::Progress,
};

/// How often the progress is shown again with a later clock.
const CLOCK: Duration = Duration::from_secs(1);

pub async fn run(global: &Global, args: &Wait) -> Result<()> {
    let Wait::Cluster(args) = args;
    let client = hub::client(global).await?;
    let mut progress = Progress::new(global.quiet);
    let state = match args.goal {
        WaitFor::Ready => {
            ready(&client, &args.named, None, args.timeout.0, &mut progress).await?;
            "ready"
        }
        WaitFor::Deleted => {
            deleted(&client, &args.named, None, args.timeout.0, &mut progress).await?;
            "deleted"
        }
    };
    progress.finish();
    output::print(&format!("cluster.{}/{} {state}\n", skep_api::GROUP, args.named.name))
}

/// How a cluster stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// It answers and is as its spec says.
    Ready,
    /// On the way; this is what it does.
    Waiting(String),
    /// It will not get there by itself.
    Refused(String),
}

fn standing(cluster: &Cluster) -> Standing {
    let Some(status) = &cluster.status else { return Standing::Waiting("waiting for the operator".into()) };
    // What it said about an earlier spec does not count.
    let current =
        cluster.metadata.generation.is_none() || status.observed_generation == cluster.metadata.generation;
    let accepted = condition::get(&status.conditions, ConditionType::Accepted);
    if let Some(accepted) = accepted
        && accepted.status == ConditionStatus::False.as_ref()
        && accepted.observed_generation == cluster.metadata.generation
    {
        return Standing::Refused(accepted.message.clone());
    }
    let progressing = condition::is_true(&status.conditions, ConditionType::Progressing);
    if current && condition::is_true(&status.conditions, ConditionType::Ready) && !progressing {
        return Standing::Ready;
    }
    let said = [ConditionType::Progressing, ConditionType::Ready, ConditionType::ControlPlaneReady]
        .into_iter()
        .filter_map(|type_| condition::get(&status.conditions, type_))
        .find(|condition| !condition.message.is_empty() && (progressing || condition.type_ != "Progressing"));
    let phase = status.phase.unwrap_or(Phase::Provisioning);
    Standing::Waiting(said.map_or_else(|| phase.to_string(), |condition| condition.message.clone()))
}

/// Waits until the cluster is ready as its current spec says, and gives it.
///
/// # Errors
/// At once when it does not exist, is being deleted, or its spec is refused; else when the time is over.
pub async fn ready(
    client: &Client,
    named: &Named,
    uid: Option<&str>,
    limit: Duration,
    progress: &mut Progress,
) -> Result<Cluster> {
    let what = what(named);
    until("ready", client, named, uid, limit, progress, |sight| match sight {
        Sight::There(cluster) if cluster.metadata.deletion_timestamp.is_some() => {
            Break(Err(gone(&what, "is being deleted")))
        }
        Sight::There(cluster) => match standing(&cluster) {
            Standing::Ready => Break(Ok(Cluster::clone(&cluster))),
            Standing::Refused(message) => {
                Break(Err(Error::new(code::REFUSED, Exit::Refused, format!("{what}: {message}"))
                    .help("change its spec; what is there: `skep get releases`, `sizeclasses`, `profiles`")))
            }
            Standing::Waiting(message) => Continue(message),
        },
        Sight::Gone(how) => Break(Err(gone(&what, how))),
        Sight::Unreadable(error) => {
            Break(Err(Error::new(code::API, Exit::Failure, format!("{what}: {error}"))
                .help("use the skep version of the hub")))
        }
    })
    .await
}

/// Waits until the cluster is gone; one that does not exist is.
///
/// # Errors
/// When the time is over.
pub async fn deleted(
    client: &Client,
    named: &Named,
    uid: Option<&str>,
    limit: Duration,
    progress: &mut Progress,
) -> Result<()> {
    until("deleted", client, named, uid, limit, progress, |sight| match sight {
        Sight::There(cluster) => Continue(match standing(&cluster) {
            Standing::Waiting(message) | Standing::Refused(message) => message,
            Standing::Ready => "it serves".into(),
        }),
        Sight::Gone(_) => Break(Ok(())),
        Sight::Unreadable(error) => Continue(error),
    })
    .await
}

/// What is seen of the cluster that is waited for.
enum Sight {
    There(Arc<Cluster>),
    /// It is not there, in words.
    Gone(&'static str),
    Unreadable(String),
}

/// Watches the cluster (with `uid` that very one, not its successor) until `verdict` breaks, showing what it says else.
async fn until<T>(
    goal: &str,
    client: &Client,
    named: &Named,
    uid: Option<&str>,
    limit: Duration,
    progress: &mut Progress,
    verdict: impl Fn(Sight) -> ControlFlow<Result<T>, String>,
) -> Result<T> {
    let what = what(named);
    let mut last = "nothing was heard of it".to_owned();
    let mut seen = false;
    let ours = |cluster: &Cluster| uid.is_none_or(|uid| cluster.metadata.uid.as_deref() == Some(uid));
    let api: Api<Cluster> = Api::namespaced(client.clone(), &named.project);
    let select = Select::named(&named.name).namespace(&named.project);
    let mut watch = changes::<Cluster>(client.clone(), select, Cache::new());
    let mut clock = interval(CLOCK);
    let waiting = async {
        loop {
            let change = tokio::select! {
                change = watch.next() => change,
                _ = clock.tick() => {
                    progress.doing(&format!("{what}: {last}"));
                    continue;
                }
            };
            let sight = match change {
                None => return Err(gone(&what, "cannot be watched")),
                Some(Change::Applied(cluster)) if ours(&cluster) => Sight::There(cluster),
                Some(Change::Synced) if seen => continue,
                // The first list may be older than what was done a moment ago; a read is not.
                Some(Change::Applied(_) | Change::Synced) => match api.get_opt(&named.name).await {
                    Ok(Some(cluster)) if ours(&cluster) => Sight::There(Arc::new(cluster)),
                    Ok(_) => Sight::Gone("does not exist"),
                    Err(error) => {
                        last = format!("hub: {}", skep_kubeops::error::describe(&error));
                        continue;
                    }
                },
                Some(Change::Deleted(cluster)) if ours(&cluster) => Sight::Gone("was deleted"),
                Some(Change::Deleted(_)) => continue,
                Some(Change::Undecodable(undecodable)) => Sight::Unreadable(undecodable.error),
                Some(Change::Interrupted(reason)) => {
                    last = format!("hub: {reason}");
                    continue;
                }
            };
            seen |= matches!(sight, Sight::There(_));
            match verdict(sight) {
                Break(outcome) => return outcome,
                Continue(message) => last = message,
            }
            clock.reset_immediately();
        }
    };
    match timeout(limit, waiting).await {
        Ok(outcome) => outcome,
        Err(_) => Err(late(&what, goal, limit, &last, named)),
    }
}

fn what(named: &Named) -> String {
    format!("cluster {}/{}", named.project, named.name)
}

fn gone(what: &str, state: &str) -> Error {
    Error::new(code::NOT_FOUND, Exit::NotFound, format!("{what} {state}"))
        .help("see what there is with `skep get clusters -A`")
}

fn late(what: &str, goal: &str, limit: Duration, last: &str, named: &Named) -> Error {
    let seconds = limit.as_secs();
    Error::new(code::TIMEOUT, Exit::Timeout, format!("{what} is not {goal} after {seconds} s: {last}")).help(
        format!(
            "it goes on; see `skep describe cluster {} -n {}`, or wait on with `skep wait cluster`",
            named.name, named.project
        ),
    )
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use skep_api::{ClusterSpec, ClusterStatus};

    use super::*;

    fn cluster(observed: i64, conditions: &[(ConditionType, bool, &str)]) -> Cluster {
        let mut cluster = Cluster::new("web", ClusterSpec::default());
        cluster.metadata.generation = Some(2);
        let mut status = ClusterStatus { observed_generation: Some(observed), ..ClusterStatus::default() };
        for (type_, holds, message) in conditions {
            let now = Time(Timestamp::UNIX_EPOCH);
            condition::set(
                &mut status.conditions,
                *type_,
                (*holds).into(),
                "X",
                *message,
                Some(observed),
                &now,
            );
        }
        cluster.status = Some(status);
        cluster
    }

    #[test]
    fn only_what_is_said_about_the_current_spec_counts() {
        use ConditionType::{Accepted, Progressing, Ready};
        let ready = [(Ready, true, "serves")];
        assert_eq!(standing(&cluster(2, &ready)), Standing::Ready);
        assert_eq!(standing(&cluster(1, &ready)), Standing::Waiting("serves".into()));
        let rolling = [(Ready, true, "serves"), (Progressing, true, "rolling")];
        assert_eq!(standing(&cluster(2, &rolling)), Standing::Waiting("rolling".into()));
        let refused = [(Accepted, false, "no such version")];
        assert_eq!(standing(&cluster(2, &refused)), Standing::Refused("no such version".into()));
        assert!(matches!(standing(&cluster(1, &refused)), Standing::Waiting(_)));
        assert!(matches!(standing(&Cluster::new("web", ClusterSpec::default())), Standing::Waiting(_)));
    }
}
