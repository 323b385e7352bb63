//! Leader election by a `coordination.k8s.io` Lease.
//!
//! Guarantees: the work is running only while the lease is surely ours; when it
//! cannot be renewed in time the work is told to stop and [`lead`] fails, so
//! that the process ends and starts again (fail-stop). A clean stop gives the
//! lease back, so that a successor starts at once.
//!
//! A lease is not a fence: whoever writes outside the API server needs
//! preconditions of their own.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::{Metrics, error::describe};

mod decide;
mod hold;

pub use decide::{Decision, Sighting, evaluate};

/// How a lease is held.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    /// Namespace of the lease.
    pub namespace: String,
    /// Name of the lease: one per role.
    pub name: String,
    /// Who we are. A process that comes back with the identity it had (an embedded installation
    /// after a crash) takes its own lease over without waiting; two living processes must differ.
    pub identity: String,
    /// Without renewal for this long, others may take the lease. 15 s if not set.
    pub duration: Duration,
    /// Pause between renewals; at most a third of the duration. 5 s if not set.
    pub renew_every: Duration,
}

impl LeaseConfig {
    /// A lease with the usual times (15 s, renewed every 5 s).
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            duration: Duration::from_secs(15),
            renew_every: Duration::from_secs(5),
        }
    }

    /// From the last good renewal, how long we may believe that the lease is ours: two thirds of
    /// the duration, so that we stop well before another can begin.
    fn certainty(&self) -> Duration {
        self.duration * 2 / 3
    }
}

/// Why leading ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The lease could not be renewed in time. End the process: another may lead by now.
    #[error("the lease {name} was lost: {why}; this process must stop and start again")]
    Lost {
        /// The lease.
        name: String,
        /// What happened.
        why: String,
    },
}

/// Waits until this process leads, runs `work`, and keeps the lease while it runs.
///
/// `work` gets a token that is cancelled when it must stop: on `shutdown` or because the lease
/// was lost. It has a third of the lease's duration to end after that; then it is dropped.
/// When it has ended on its own or on `shutdown`, the lease is given back.
///
/// Gives `None` if `shutdown` came before this process led.
///
/// # Errors
/// [`LeaseError::Lost`]: end the process.
pub async fn lead<W, F, T>(
    client: Client,
    config: LeaseConfig,
    metrics: Option<Metrics>,
    shutdown: CancellationToken,
    work: W,
) -> Result<Option<T>, LeaseError>
where
    W: FnOnce(CancellationToken) -> F,
    F: Future<Output = T>,
{
    let api: Api<Lease> = Api::namespaced(client.clone(), &config.namespace);
    let Some(mut held) = hold::acquire(client, &api, &config, &shutdown).await else {
        return Ok(None);
    };
    let leading = |leads| metrics.iter().for_each(|metrics| metrics.leading(leads));
    tracing::info!(lease = config.name, identity = config.identity, "this process leads");
    leading(true);

    let stop = shutdown.child_token();
    let mut work = std::pin::pin!(work(stop.clone()));
    let result = tokio::select! {
        done = &mut work => Ok(Some(done)),
        why = held.keep(&api, &config) => {
            stop.cancel();
            let _ = timeout(config.duration / 3, &mut work).await;
            Err(LeaseError::Lost { name: config.name.clone(), why })
        }
    };
    leading(false);
    if result.is_ok() {
        match timeout(config.renew_every, held.release(&api)).await {
            Ok(Ok(())) => tracing::info!(lease = config.name, "lease given back"),
            Ok(Err(error)) => {
                tracing::warn!(lease = config.name, error = %describe(&error), "lease not given back")
            }
            Err(_) => tracing::warn!(lease = config.name, "lease not given back in time"),
        }
    }
    result
}

/// When a renewal that began at `began` stops being proof.
fn certain_until(began: Instant, config: &LeaseConfig) -> Instant {
    began + config.certainty()
}
