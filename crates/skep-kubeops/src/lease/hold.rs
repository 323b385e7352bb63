//! Taking, keeping and giving back the lease.

use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Decision, LeaseConfig, Sighting, certain_until, evaluate};
use crate::{
    Cache, Key,
    backoff::Backoff,
    error::{describe, is_already_exists, is_conflict},
    watch::{self, Change, Select},
};

/// The lease while it is ours, as last written.
pub(super) struct Held {
    lease: Lease,
    certain_until: Instant,
}

/// Waits until the lease is ours; `None` if `shutdown` came first.
///
/// One watch on the lease tells when it changes; nothing is polled. The only
/// timer is the expiry of the present holder.
pub(super) async fn acquire(
    client: Client,
    api: &Api<Lease>,
    config: &LeaseConfig,
    shutdown: &CancellationToken,
) -> Option<Held> {
    let cache = Cache::new();
    let key = Key::namespaced(config.namespace.as_str(), config.name.as_str());
    let select = Select::named(&config.name).namespace(config.namespace.as_str());
    let mut changes = watch::changes::<Lease>(client, select, cache.clone());
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let mut sighting: Option<Sighting> = None;
    let mut retry: Option<Instant> = None;
    loop {
        let now = Instant::now();
        let mut wake = retry;
        if cache.is_synced() && retry.is_none_or(|at| at <= now) {
            let seen = cache.get(&key);
            sighting = seen
                .as_ref()
                .map(|lease| Sighting::update(sighting.take(), lease.spec.clone().unwrap_or_default(), now));
            match evaluate(sighting.as_ref(), &config.identity, now, Timestamp::now()) {
                Decision::Wait(until) => wake = Some(until),
                Decision::Acquire | Decision::Renew => match take(api, config, seen.as_deref()).await {
                    Ok(held) => return Some(held),
                    Err(error) => {
                        tracing::debug!(lease = config.name, error = %describe(&error), "lease not taken");
                        retry = Some(now + backoff.next_delay());
                        wake = retry;
                    }
                },
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return None,
            Some(change) = changes.next() => if !matches!(change, Change::Interrupted(_)) { retry = None },
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => retry = None,
        }
    }
}

async fn take(api: &Api<Lease>, config: &LeaseConfig, seen: Option<&Lease>) -> kube::Result<Held> {
    let began = Instant::now();
    let now = MicroTime(Timestamp::now());
    let before = seen.and_then(|lease| lease.spec.clone()).unwrap_or_default();
    let same = before.holder_identity.as_deref() == Some(&config.identity);
    let spec = LeaseSpec {
        holder_identity: Some(config.identity.clone()),
        lease_duration_seconds: Some(i32::try_from(config.duration.as_secs()).unwrap_or(i32::MAX)),
        acquire_time: if same { before.acquire_time.clone() } else { Some(now.clone()) },
        renew_time: Some(now),
        lease_transitions: Some(before.lease_transitions.unwrap_or(0) + i32::from(!same && seen.is_some())),
        ..before
    };
    let lease = match seen {
        // The version makes it a compare-and-swap: of two who try, one gets a conflict.
        Some(lease) => {
            let lease = Lease { metadata: lease.metadata.clone(), spec: Some(spec) };
            api.replace(&config.name, &PostParams::default(), &lease).await?
        }
        None => {
            let metadata = ObjectMeta { name: Some(config.name.clone()), ..ObjectMeta::default() };
            api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await?
        }
    };
    Ok(Held { lease, certain_until: certain_until(began, config) })
}

impl Held {
    /// Renews for ever; returns why it is no longer ours.
    pub(super) async fn keep(&mut self, api: &Api<Lease>, config: &LeaseConfig) -> String {
        let mut last = String::from("no renewal was tried");
        loop {
            let pause = config.renew_every.min(config.duration / 3);
            sleep(pause).await;
            let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(1));
            loop {
                match timeout_at(self.certain_until, self.renew(api, config)).await {
                    Ok(Ok(())) => break,
                    Ok(Err(Refused::Taken(by))) => return format!("{by} holds it now"),
                    Ok(Err(Refused::Failed(error))) => last = error,
                    Err(_) => {
                        return format!(
                            "it could not be renewed for {} s: {last}",
                            config.certainty().as_secs()
                        );
                    }
                }
                let next = Instant::now() + backoff.next_delay();
                if next >= self.certain_until {
                    return format!("it could not be renewed for {} s: {last}", config.certainty().as_secs());
                }
                sleep_until(next).await;
            }
        }
    }

    async fn renew(&mut self, api: &Api<Lease>, config: &LeaseConfig) -> Result<(), Refused> {
        let began = Instant::now();
        let mut lease = self.lease.clone();
        lease.spec.get_or_insert_default().renew_time = Some(MicroTime(Timestamp::now()));
        match api.replace(&config.name, &PostParams::default(), &lease).await {
            Ok(lease) => {
                self.lease = lease;
                self.certain_until = certain_until(began, config);
                Ok(())
            }
            Err(error) if is_conflict(&error) || is_already_exists(&error) => {
                // Our own renewal whose answer was lost, somebody's label, or another holder.
                let lease = api.get(&config.name).await.map_err(|error| Refused::Failed(describe(&error)))?;
                let holder =
                    lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
                if holder != config.identity {
                    return Err(Refused::Taken(if holder.is_empty() { "nobody".into() } else { holder }));
                }
                self.lease = lease;
                Err(Refused::Failed("somebody else changed it".into()))
            }
            Err(error) => Err(Refused::Failed(describe(&error))),
        }
    }

    /// Gives the lease back: without a holder, so that the next one need not wait.
    pub(super) async fn release(mut self, api: &Api<Lease>) -> kube::Result<()> {
        let name = self.lease.metadata.name.clone().unwrap_or_default();
        let spec = self.lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        spec.lease_duration_seconds = Some(1);
        api.replace(&name, &PostParams::default(), &self.lease).await.map(|_| ())
    }
}

enum Refused {
    Taken(String),
    Failed(String),
}
