//! What is refused at the door, and how it is told.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use rustix::fs::FlockOperation;
use skep_api::Code;

use crate::backend::BackendError;
use crate::process::config::ProcessConfig;
use crate::process::pod::Place;
use crate::process::pod::face::{Face, Seen};
use crate::process::volumes::safe_name;

/// The pod asks for something that processes cannot have.
const IMPOSSIBLE: Code = Code::new(7102);
/// The data directory is taken.
const TAKEN: Code = Code::new(7103);

/// How often, and how long between, the lock of a killed run is waited for.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Two runs of one node would start everything twice.
pub(super) fn second_run(config: &ProcessConfig) -> Result<File, BackendError> {
    let path = config.data_dir.join("lock");
    let doing = || format!("opening {}", path.display());
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(|source| BackendError::io(doing(), source))?;
    // A killed run may have been about to start a program: until that program takes its place, the copy of the dead run
    // holds the lock. There is no event for that.
    let mut locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
    for _ in 0..LOCK_TRIES {
        if locked != Err(rustix::io::Errno::WOULDBLOCK) {
            break;
        }
        std::thread::sleep(LOCK_PAUSE);
        locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
    }
    match locked {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(BackendError::Refused {
            code: TAKEN,
            message: format!(
                "node {} already runs: another process holds {}; stop it first",
                config.node,
                path.display()
            ),
        }),
        Err(error) => Err(BackendError::io(doing(), error.into())),
    }
}

/// Names become file names, and some things cannot be had at all.
pub(super) fn impossible(pod: &Pod) -> Result<(), BackendError> {
    let refused = |message: String| Err(BackendError::Refused { code: IMPOSSIBLE, message });
    let places = Place::all(pod);
    if places.is_empty() {
        return refused("the pod has no containers".into());
    }
    for container in places.iter().filter_map(|place| place.of(pod)) {
        if let Err(why) = safe_name(&container.name) {
            return refused(format!("container name: {why}"));
        }
    }
    if pod.spec.as_ref().and_then(|s| s.os.as_ref()).is_some_and(|os| os.name != "linux") {
        return refused("the pod wants another operating system; this node runs linux".into());
    }
    Ok(())
}

pub(super) fn unknown_container(face: &Face, container: &str) -> Result<Seen, BackendError> {
    face.seen(container).ok_or_else(|| {
        let pod = face.pod();
        let names = Place::all(&pod).into_iter().filter_map(|place| Some(place.of(&pod)?.name.clone()));
        BackendError::UnknownContainer {
            pod: face.identity.short_name(),
            container: container.to_owned(),
            known: names.collect::<Vec<_>>().join(", "),
        }
    })
}

/// What a container does, in a word: `ContainerCreating`, `terminated: Completed`.
pub(super) fn state_of(face: &Face, container: &str) -> String {
    let status = face.status();
    let all = status.init_container_statuses.iter().chain(&status.container_statuses);
    let state = all.into_iter().find(|s| s.name == container).and_then(|s| s.state.as_ref());
    let Some(state) = state else { return "not known yet".into() };
    if let Some(waiting) = &state.waiting {
        return waiting.reason.clone().unwrap_or_default();
    }
    match &state.terminated {
        Some(ended) => format!("terminated: {}", ended.reason.clone().unwrap_or_default()),
        None => "running".into(),
    }
}
