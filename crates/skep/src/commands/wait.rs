//! `skep wait`, and the waiting in other commands: on a watch, with what the conditions say as progress.

use std::{
    ops::ControlFlow::{self, Break, Continue},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, Client, api::PropagationPolicy, core::NamespaceResourceScope};
use skep_api::{
    Cluster, NodePool,
    cluster::Phase,
    condition::{self, ConditionStatus, ConditionType},
    labels,
};
use skep_kubeops::{
    Cache, Object,
    watch::{Change, Select, changes},
};
use tokio::time::{interval, timeout};

use crate::{
    cli::{
        Global,
        cluster::{Goal, Named, Wait, WaitFor},
    },
    error::{Error, Result, code},
    exit::Exit,
    hub, output,
    output::progress::Progress,
};

/// How often the progress is shown again with a later clock.
const CLOCK: Duration = Duration::from_secs(1);

pub async fn run(global: &Global, args: &Wait) -> Result<()> {
    match args {
        Wait::Cluster(args) => goal::<Cluster>(global, args).await,
        Wait::Nodepool(args) => goal::<NodePool>(global, args).await,
    }
}

async fn goal<K: Awaited>(global: &Global, args: &WaitFor) -> Result<()> {
    let client = hub::client(global).await?;
    let mut progress = Progress::new(global.quiet);
    let state = match args.goal {
        Goal::Ready => {
            ready::<K>(&client, &args.named, None, args.timeout.0, &mut progress).await?;
            "ready"
        }
        Goal::Deleted => {
            deleted::<K>(&client, &args.named, None, args.timeout.0, &mut progress).await?;
            "deleted"
        }
    };
    progress.finish();
    output::print(&format!("{} {state}\n", full_name::<K>(&args.named)))
}

/// What can be waited for: an object of a project that says by conditions how it stands.
pub trait Awaited: Object + kube::Resource<Scope = NamespaceResourceScope> {
    /// What there is of what its spec can name.
    const CHOICES: &'static str;
    /// How it is deleted: `None` where a finalizer of its own waits for everything that belongs to it.
    const DELETION: Option<PropagationPolicy>;

    /// Its conditions and the generation they are about.
    fn said(&self) -> Option<(&[Condition], Option<i64>)>;

    /// What it does when no condition has a message.
    fn phase(&self) -> String;

    /// The command that shows what is not as it should be.
    fn look(named: &Named) -> String;
}

impl Awaited for Cluster {
    const CHOICES: &'static str = "`skep get releases`, `sizeclasses`, `profiles`";
    const DELETION: Option<PropagationPolicy> = None;

    fn said(&self) -> Option<(&[Condition], Option<i64>)> {
        self.status.as_ref().map(|status| (status.conditions.as_slice(), status.observed_generation))
    }

    fn phase(&self) -> String {
        self.status.as_ref().and_then(|status| status.phase).unwrap_or(Phase::Provisioning).to_string()
    }

    fn look(named: &Named) -> String {
        format!("skep get clusters {} -n {} -o wide", named.name, named.project)
    }
}

impl Awaited for NodePool {
    const CHOICES: &'static str = "`skep get clusters`, `machineclasses`, `releases`";
    /// It is gone when its machines are.
    const DELETION: Option<PropagationPolicy> = Some(PropagationPolicy::Foreground);

    fn said(&self) -> Option<(&[Condition], Option<i64>)> {
        self.status.as_ref().map(|status| (status.conditions.as_slice(), status.observed_generation))
    }

    fn phase(&self) -> String {
        let (ready, desired) =
            self.status.as_ref().map_or((0, 0), |status| (status.ready_replicas, status.desired));
        format!("{ready} of {desired} nodes ready")
    }

    /// Each machine says why it is not ready.
    fn look(named: &Named) -> String {
        format!("skep get machines -l {}={} -n {} -o wide", labels::POOL, named.name, named.project)
    }
}

/// `cluster.skep.dev/web`
pub fn full_name<K: Awaited>(named: &Named) -> String {
    format!("{}.{}/{}", K::kind(&()).to_lowercase(), skep_api::GROUP, named.name)
}

/// How an object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// It answers and is as its spec says.
    Ready,
    /// On the way; this is what it does.
    Waiting(String),
    /// It will not get there by itself.
    Refused(String),
}

fn standing<K: Awaited>(object: &K) -> Standing {
    let Some((conditions, observed)) = object.said() else {
        return Standing::Waiting("waiting for the operator".into());
    };
    // What it said about an earlier spec does not count.
    let generation = object.meta().generation;
    let current = generation.is_none() || observed == generation;
    let accepted = condition::get(conditions, ConditionType::Accepted);
    if let Some(accepted) = accepted
        && accepted.status == ConditionStatus::False.as_ref()
        && accepted.observed_generation == generation
    {
        return Standing::Refused(accepted.message.clone());
    }
    let stopped = condition::get(conditions, ConditionType::Progressing).filter(|progressing| {
        progressing.reason == condition::UPDATE_STOPPED && progressing.observed_generation == generation
    });
    if let Some(stopped) = stopped {
        return Standing::Refused(stopped.message.clone());
    }
    let progressing = condition::is_true(conditions, ConditionType::Progressing);
    if current && condition::is_true(conditions, ConditionType::Ready) && !progressing {
        return Standing::Ready;
    }
    let said = [ConditionType::Progressing, ConditionType::Ready, ConditionType::ControlPlaneReady]
        .into_iter()
        .filter_map(|type_| condition::get(conditions, type_))
        .find(|condition| !condition.message.is_empty() && (progressing || condition.type_ != "Progressing"));
    Standing::Waiting(said.map_or_else(|| object.phase(), |condition| condition.message.clone()))
}

/// What keeps an object that is being deleted.
fn leaving<K: Awaited>(object: &K) -> String {
    let ready = object.said().and_then(|(conditions, _)| condition::get(conditions, ConditionType::Ready));
    if let Some(ready) = ready.filter(|ready| ready.reason == condition::DELETING) {
        return ready.message.clone();
    }
    match standing(object) {
        Standing::Waiting(message) | Standing::Refused(message) => message,
        Standing::Ready => "it is still there".into(),
    }
}

/// Waits until the object is ready as its current spec says, and gives it.
///
/// # Errors
/// At once when it does not exist, is being deleted, or its spec is refused; else when the time is over.
pub async fn ready<K: Awaited>(
    client: &Client,
    named: &Named,
    uid: Option<&str>,
    limit: Duration,
    progress: &mut Progress,
) -> Result<K> {
    let what = what::<K>(named);
    until("ready", client, named, uid, limit, progress, |sight: Sight<K>| match sight {
        Sight::There(object) if object.meta().deletion_timestamp.is_some() => {
            Break(Err(gone::<K>(&what, "is being deleted")))
        }
        Sight::There(object) => match standing(&*object) {
            Standing::Ready => Break(Ok(K::clone(&object))),
            Standing::Refused(message) => {
                Break(Err(Error::new(code::REFUSED, Exit::Refused, format!("{what}: {message}"))
                    .help(format!("change its spec; what is there: {}", K::CHOICES))))
            }
            Standing::Waiting(message) => Continue(message),
        },
        Sight::Gone(how) => Break(Err(gone::<K>(&what, how))),
        Sight::Unreadable(error) => {
            Break(Err(Error::new(code::API, Exit::Failure, format!("{what}: {error}"))
                .help("use the skep version of the hub")))
        }
    })
    .await
}

/// Waits until the object is gone; one that does not exist is.
///
/// # Errors
/// When the time is over.
pub async fn deleted<K: Awaited>(
    client: &Client,
    named: &Named,
    uid: Option<&str>,
    limit: Duration,
    progress: &mut Progress,
) -> Result<()> {
    until("deleted", client, named, uid, limit, progress, |sight: Sight<K>| match sight {
        Sight::There(object) => Continue(leaving(&*object)),
        Sight::Gone(_) => Break(Ok(())),
        Sight::Unreadable(error) => Continue(error),
    })
    .await
}

/// What is seen of the object that is waited for.
enum Sight<K> {
    There(Arc<K>),
    /// It is not there, in words.
    Gone(&'static str),
    Unreadable(String),
}

/// Watches the object (with `uid` that very one, not its successor) until `verdict` breaks, showing what it says else.
async fn until<K: Awaited, T>(
    goal: &str,
    client: &Client,
    named: &Named,
    uid: Option<&str>,
    limit: Duration,
    progress: &mut Progress,
    verdict: impl Fn(Sight<K>) -> ControlFlow<Result<T>, String>,
) -> Result<T> {
    let what = what::<K>(named);
    let mut last = "nothing was heard of it".to_owned();
    let mut seen = false;
    let ours = |object: &K| uid.is_none_or(|uid| object.meta().uid.as_deref() == Some(uid));
    let api: Api<K> = Api::namespaced(client.clone(), &named.project);
    let select = Select::named(&named.name).namespace(&named.project);
    let mut watch = changes::<K>(client.clone(), select, Cache::new());
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
                None => return Err(gone::<K>(&what, "cannot be watched")),
                Some(Change::Applied(object)) if ours(&object) => Sight::There(object),
                Some(Change::Synced) if seen => continue,
                // The first list may be older than what was done a moment ago; a read is not.
                Some(Change::Applied(_) | Change::Synced) => match api.get_opt(&named.name).await {
                    Ok(Some(object)) if ours(&object) => Sight::There(Arc::new(object)),
                    Ok(_) => Sight::Gone("does not exist"),
                    Err(error) => {
                        last = format!("hub: {}", skep_kubeops::error::describe(&error));
                        continue;
                    }
                },
                Some(Change::Deleted(object)) if ours(&object) => Sight::Gone("was deleted"),
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
        Err(_) => Err(late::<K>(&what, goal, limit, &last, named)),
    }
}

/// `cluster default/web`
pub fn what<K: Awaited>(named: &Named) -> String {
    format!("{} {}/{}", K::kind(&()).to_lowercase(), named.project, named.name)
}

fn gone<K: Awaited>(what: &str, state: &str) -> Error {
    Error::new(code::NOT_FOUND, Exit::NotFound, format!("{what} {state}"))
        .help(format!("see what there is with `skep get {} -A`", K::plural(&())))
}

fn late<K: Awaited>(what: &str, goal: &str, limit: Duration, last: &str, named: &Named) -> Error {
    let seconds = limit.as_secs();
    Error::new(code::TIMEOUT, Exit::Timeout, format!("{what} is not {goal} after {seconds} s: {last}")).help(
        format!(
            "it goes on; see `{}`, or wait on with `skep wait {}`",
            K::look(named),
            K::kind(&()).to_lowercase()
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
        let mut stopped = cluster(2, &[(Ready, true, "serves"), (Progressing, false, "it was stopped")]);
        stopped.status.as_mut().unwrap().conditions[1].reason = condition::UPDATE_STOPPED.into();
        assert_eq!(standing(&stopped), Standing::Refused("it was stopped".into()));
        stopped.metadata.generation = Some(3);
        assert!(matches!(standing(&stopped), Standing::Waiting(_)), "somebody has changed the spec");
        assert!(matches!(standing(&Cluster::new("web", ClusterSpec::default())), Standing::Waiting(_)));
    }

    #[test]
    fn what_is_being_deleted_says_what_holds_it_whatever_else_is_wrong() {
        use ConditionType::{Accepted, Ready};
        let mut web =
            cluster(2, &[(Accepted, false, "no such version"), (Ready, false, "waits for a machine")]);
        assert_eq!(leaving(&web), "no such version");
        web.status.as_mut().unwrap().conditions[1].reason = condition::DELETING.into();
        assert_eq!(leaving(&web), "waits for a machine");
        assert_eq!(leaving(&cluster(2, &[(Ready, true, "serves")])), "it is still there");
    }
}
