//! Ending the processes of an installation in order, whoever started them.
//!
//! Pods are halted by their nodes, in [`stages`], so that it counts as no crash. The rest works on what the kernel knows
//! (every process carries the installation's marker), so it needs neither records nor an API server: it is what is left
//! to do after a crash, and the last step of every stop. Order: helpers, then tenants'
//! schedulers, controllers, API servers, etcd, then the same of the hub. What needs its data written ends last and
//! gets the most time.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use skep_api::labels::component;
use skep_vnode::{
    backend::HaltStage,
    process::{Marker, Process, StopPlan, kill, marker, stop},
};

use crate::{Error, Result};

/// Order and patience of one kind of process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    hub: bool,
    order: u8,
    grace: Duration,
}

/// Programs that keep nothing: a little time to close connections, not the delay a rolling update wants.
const STATELESS: Duration = Duration::from_secs(3);
/// Programs that write on their way out.
const STATEFUL: Duration = Duration::from_secs(15);

/// Rank of a process by its path below the installation's marker.
fn rank(path: &[&str], helper: bool) -> Rank {
    let (hub, name) = match path {
        ["hub", name, ..] => (true, *name),
        [_node, _pod, container, ..] => (false, *container),
        _ => (false, ""),
    };
    let (order, grace) = match name {
        _ if helper => (0, Duration::ZERO),
        component::SCHEDULER => (2, STATELESS),
        component::CONTROLLER_MANAGER => (3, STATELESS),
        component::API_SERVER => (4, STATELESS),
        component::ETCD => (5, STATEFUL),
        // Whatever else runs in pods.
        _ => (1, STATEFUL),
    };
    Rank { hub, order, grace }
}

/// In which order nodes halt their pods, and with how much patience.
pub fn stages() -> Vec<HaltStage> {
    let stage = |pods: fn(&Pod) -> bool, grace| HaltStage { pods, grace };
    vec![
        stage(|pod| !PROGRAMS.into_iter().any(|name| runs(pod, name)), STATEFUL),
        stage(|pod| runs(pod, component::SCHEDULER), STATELESS),
        stage(|pod| runs(pod, component::CONTROLLER_MANAGER), STATELESS),
        stage(|pod| runs(pod, component::API_SERVER), STATELESS),
        // What is left: etcd.
        stage(|_| true, STATEFUL),
    ]
}

/// Programs that have a place in the order.
const PROGRAMS: [&str; 4] =
    [component::SCHEDULER, component::CONTROLLER_MANAGER, component::API_SERVER, component::ETCD];

fn runs(pod: &Pod, name: &str) -> bool {
    pod.spec.iter().flat_map(|spec| &spec.containers).any(|container| container.name == name)
}

/// Ends every process below `instance`; reports how many are left on `progress`. Returns how many were ended.
///
/// # Errors
/// [`Error::StillRunning`] when something survives even SIGKILL, or the process table cannot be read.
pub async fn everything(instance: &Marker, progress: impl Fn(usize)) -> Result<usize> {
    end(instance, |_| true, progress).await
}

/// The same for everything but the hub itself.
///
/// # Errors
/// As [`everything`].
pub async fn tenants(instance: &Marker, progress: impl Fn(usize)) -> Result<usize> {
    end(instance, |rank| !rank.hub, progress).await
}

async fn end(instance: &Marker, wanted: impl Fn(&Rank) -> bool, progress: impl Fn(usize)) -> Result<usize> {
    let mut ended = 0;
    let mut last = None;
    // Each round ends the lowest rank there is; a rank that comes again was restarted by somebody and is killed.
    loop {
        let mut found = find(instance).await?;
        found.retain(|(rank, ..)| wanted(rank));
        let Some(lowest) = found.iter().map(|(rank, ..)| *rank).min() else { return Ok(ended) };
        progress(found.len());
        let again = last == Some(lowest);
        let group = found.into_iter().filter(|(rank, ..)| *rank == lowest);
        let endings = group.map(|(rank, process, marker)| async move {
            if again || rank.grace.is_zero() {
                kill(&process).await;
            } else {
                stop(&process, &marker, StopPlan::term(rank.grace)).await;
            }
        });
        let count = join_all(endings).await.len();
        // Helpers and remains are not what a person counts.
        ended += if lowest.order == 0 { 0 } else { count };
        if again {
            let mut left = find(instance).await?;
            left.retain(|(rank, ..)| wanted(rank));
            return if left.is_empty() { Ok(ended) } else { Err(still_running(&left)) };
        }
        last = Some(lowest);
    }
}

type Member = (Rank, Process, Marker);

async fn find(instance: &Marker) -> Result<Vec<Member>> {
    let scan = instance.clone();
    let found = tokio::task::spawn_blocking(move || marker::find(&scan)).await;
    let found = match found {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(Error::io("/proc", error)),
        Err(error) => {
            return Err(Error::Part { part: "search for processes".into(), reason: error.to_string() });
        }
    };
    let member = |found: marker::Found| {
        let path = instance.below(&found.marker).unwrap_or_default();
        // Children of a main process end with it; only what stands alone is ended by itself.
        let helper = found.helper || !found.leader;
        let marker = path.iter().fold(instance.clone(), |marker, part| marker.join(part));
        let rank = rank(&path, helper);
        Process::adopt(&found.id).ok().flatten().map(|process| (rank, process, marker))
    };
    let members: Vec<Member> = found.into_iter().filter_map(member).collect();
    // While a main process lives, what belongs to it is its business.
    let mains: Vec<Marker> = members.iter().filter(|m| m.0.order != 0).map(|m| m.2.clone()).collect();
    let alone =
        |member: &Member| member.0.order != 0 || !mains.iter().any(|main| main.covers(member.2.as_str()));
    Ok(members.into_iter().filter(alone).collect())
}

fn still_running(left: &[Member]) -> Error {
    let names: Vec<String> =
        left.iter().take(10).map(|(_, process, marker)| format!("{marker} ({})", process.pid())).collect();
    Error::StillRunning { seconds: STATEFUL.as_secs(), processes: names.join(", ") }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use skep_vnode::process::Spawn;

    use super::*;

    /// Starts a script under the marker `<instance>/<path>` that writes its name into `log` when it is told to end.
    fn start(dir: &Path, instance: &Marker, path: &[&str], trap: &str) -> Process {
        let name = path.join("-");
        let program = dir.join(&name);
        let log = dir.join("log");
        let script = format!(
            "#!/bin/sh\ntrap '{trap}echo {name} >> {}; exit 0' TERM\ntouch {}\nwhile :; do sleep 0.05; done\n",
            log.display(),
            dir.join(format!("{name}.up")).display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        let marker = path.iter().fold(instance.clone(), |marker, part| marker.join(part));
        let process = Spawn::new(&program, &marker).env([("PATH", "/usr/bin:/bin")]).start().unwrap();
        while !dir.join(format!("{name}.up")).exists() {
            std::thread::yield_now();
        }
        process
    }

    #[tokio::test]
    async fn tenants_end_before_the_hub_and_etcd_ends_last() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Marker::new(&format!("halt-{}", std::process::id()));
        let processes: Vec<Process> = [
            &["hub", "etcd"][..],
            &["hub", "kube-apiserver"],
            &["skep-a", "u1", "etcd", "0"],
            &["skep-b", "u2", "kube-apiserver", "3"],
            &["skep-c", "u3", "kube-scheduler", "0"],
            &["skep-c", "u4", "kube-controller-manager", "0"],
            &["skep-c", "u5", "web", "0"],
        ]
        .into_iter()
        .map(|path| start(dir.path(), &instance, path, ""))
        .collect();
        let ended = everything(&instance, |_| {}).await.unwrap();
        assert_eq!(ended, processes.len());
        let log = fs::read_to_string(dir.path().join("log")).unwrap();
        assert_eq!(
            log.lines().collect::<Vec<_>>(),
            [
                "skep-c-u5-web-0",
                "skep-c-u3-kube-scheduler-0",
                "skep-c-u4-kube-controller-manager-0",
                "skep-b-u2-kube-apiserver-3",
                "skep-a-u1-etcd-0",
                "hub-kube-apiserver",
                "hub-etcd",
            ]
        );
        assert_eq!(everything(&instance, |_| {}).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn another_installation_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (Marker::new("halt-ours"), Marker::new("halt-ours-not"));
        let other = start(dir.path(), &theirs, &["hub", "etcd"], "");
        assert_eq!(everything(&ours, |_| {}).await.unwrap(), 0);
        assert_eq!(other.exit(), None);
        assert_eq!(everything(&theirs, |_| {}).await.unwrap(), 1);
    }

    #[test]
    fn helpers_first() {
        assert!(rank(&["skep-a", "u", "etcd", "0"], true) < rank(&["skep-a", "u", "web", "0"], false));
        assert!(rank(&["hub", "kube-scheduler"], false) > rank(&["skep-a", "u", "etcd", "0"], false));
    }
}
