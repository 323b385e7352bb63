//! The pod's volumes: made ready before anything starts, kept up to date, watched for size.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::task::{AbortHandle, Id};
use tokio::time::Instant;

use super::{Done, Stop, Worker};
use crate::backend::{Eviction, PodContext};
use crate::process::pod::slot::span;
use crate::process::volumes::{Prepared, VolumeError, Volumes, size_of};
use crate::quantity;

/// Bound on making volumes ready: an object that cannot be had in this time counts as not there.
const DEADLINE: Duration = Duration::from_secs(60);
/// What a pod that is evicted gets (`gracePeriodOverride` of the eviction manager).
const EVICTION_GRACE: Duration = Duration::from_secs(1);

/// What tending came back with.
pub(super) enum Tended {
    Prepared(Result<Prepared, String>),
    Measured(Option<Eviction>),
}

/// How the volumes stand.
#[derive(Default)]
pub(super) struct Tending {
    /// They were ready once. From then on containers may start; an update that fails is tried again.
    ready: bool,
    /// Something asks for another look.
    stale: bool,
    /// The volumes are being made ready.
    job: Option<AbortHandle>,
    stopped: bool,
    failures: u32,
    retry_at: Option<Timestamp>,
    renew_at: Option<Timestamp>,
    measure_at: Option<Timestamp>,
    told: Option<String>,
}

impl Tending {
    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    /// Something may have changed.
    pub(super) fn refresh(&mut self) {
        self.stale = true;
    }

    /// Nothing is needed any more. Returns whether something is still under way; its end is told to the worker.
    pub(super) fn stop(&mut self) -> bool {
        self.stopped = true;
        self.job.as_ref().inspect(|job| job.abort()).is_some()
    }

    /// Whether this job makes the volumes ready.
    pub(super) fn is_job(&self, id: Id) -> bool {
        self.job.as_ref().is_some_and(|job| job.id() == id)
    }

    /// That job was given up.
    pub(super) fn given_up(&mut self) {
        self.job = None;
    }

    pub(super) fn alarm(&self) -> Option<Timestamp> {
        if self.job.is_some() || self.stopped {
            return None;
        }
        [self.retry_at, self.renew_at, self.measure_at].into_iter().flatten().min()
    }

    fn is_due(&self, now: Timestamp) -> bool {
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        self.job.is_none() && !self.stopped && (self.stale || due(self.retry_at) || due(self.renew_at))
    }
}

impl Worker {
    /// Returns whether containers may be started.
    pub(super) fn tend(&mut self, context: &PodContext) -> bool {
        let now = Timestamp::now();
        if self.tending.is_due(now) {
            self.tending.stale = false;
            self.tending.retry_at = None;
            self.tending.renew_at = None;
            let volumes = Volumes::new(self.identity.layout.volumes());
            let (pod, context, identity) = (self.pod.clone(), context.clone(), self.identity.clone());
            let job = self.jobs.spawn(async move {
                let work = Box::pin(volumes.prepare(&pod, &context, &identity.work));
                let result = match tokio::time::timeout(DEADLINE, work).await {
                    Ok(result) => result.map_err(|e: VolumeError| e.to_string()),
                    Err(_) => {
                        Err("unable to mount volumes: the objects they refer to did not come in time".into())
                    }
                };
                Done::Tended(Tended::Prepared(result))
            });
            self.tending.job = Some(job);
        } else if self.tending.measure_at.is_some_and(|at| at <= now) && self.tending.job.is_none() {
            self.tending.measure_at = None;
            let (pod, volumes) = (self.pod.clone(), Volumes::new(self.identity.layout.volumes()));
            self.jobs.spawn(async move {
                let measured = tokio::task::spawn_blocking(move || too_big(&pod, &volumes)).await;
                Done::Tended(Tended::Measured(measured.ok().flatten()))
            });
        }
        self.tending.ready
    }

    pub(super) fn tended(&mut self, tended: Tended) {
        let (now, timings) = (Timestamp::now(), self.site.config.timings);
        match tended {
            Tended::Prepared(Ok(prepared)) => {
                self.tending.job = None;
                self.tending.ready = true;
                self.tending.failures = 0;
                self.tending.told = None;
                self.tending.renew_at = prepared.renew_at;
                self.schedule_measuring(now);
            }
            Tended::Prepared(Err(why)) => {
                self.tending.job = None;
                let doubled = timings.volume_retry.saturating_mul(1 << self.tending.failures.min(10));
                self.tending.retry_at = Some(now + span(doubled.min(timings.retry)));
                self.tending.failures = self.tending.failures.saturating_add(1);
                if self.tending.told.as_ref() != Some(&why) {
                    self.reporter.warning("FailedMount", why.clone());
                    self.tending.told = Some(why);
                }
            }
            Tended::Measured(None) => self.schedule_measuring(now),
            Tended::Measured(Some(eviction)) => {
                self.reporter.warning("Evicted", eviction.message.clone());
                self.eviction = Some(eviction);
                if self.stop == Stop::No {
                    self.stop = Stop::By { deadline: Instant::now() + EVICTION_GRACE, halt: false };
                }
            }
        }
    }

    pub(super) fn schedule_measuring(&mut self, now: Timestamp) {
        if limits(&self.pod).next().is_some() && self.tending.measure_at.is_none() {
            self.tending.measure_at = Some(now + span(self.site.config.timings.size_check));
        }
    }
}

/// Volumes with a limit, and the limit as text and in bytes.
fn limits(pod: &Pod) -> impl Iterator<Item = (&k8s_openapi::api::core::v1::Volume, &str, u64)> {
    pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()).filter_map(|volume| {
        let limit = volume.empty_dir.as_ref()?.size_limit.as_ref()?;
        let bytes = quantity::units(limit).and_then(|b| u64::try_from(b).ok()).filter(|b| *b > 0)?;
        Some((volume, limit.0.as_str(), bytes))
    })
}

fn too_big(pod: &Pod, volumes: &Volumes) -> Option<Eviction> {
    limits(pod).find_map(|(volume, limit, bytes)| {
        let path = volumes.locate(volume, "").ok()?;
        let used = size_of(&path).unwrap_or_default();
        (used > bytes).then(|| Eviction {
            reason: "Evicted",
            message: format!("Usage of EmptyDir volume {:?} exceeds the limit {limit:?}. ", volume.name),
        })
    })
}
