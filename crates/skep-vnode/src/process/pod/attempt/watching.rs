//! While a container runs: its postStart hook, then its startup probe, then liveness and readiness until it ends or
//! must be ended.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Probe};
use tokio::time::Instant;

use super::{Attempt, Ledger};
use crate::process::handle::Exit;
use crate::process::pod::Kind as Role;
use crate::process::pod::cell::Running;
use crate::process::probe::pace::{Kind, Pace, Record};
use crate::process::probe::{Check, Outcome, Sessions};

/// Bound on a postStart hook. The API has none; a hook that never ends would keep the container from ever starting.
const HOOK: Duration = Duration::from_secs(600);

/// How watching ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The process has ended by itself.
    Gone(Exit),
    /// It must be ended.
    Stop(Why),
}

/// Why a container must be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// By order.
    Ordered,
    /// A probe says so.
    Unwell(Kind),
    /// Its postStart hook failed.
    Hook,
}

/// A probe at work.
struct Prober<'a> {
    kind: Kind,
    check: Check,
    pace: Pace,
    record: Record,
    running: &'a Running,
    born: Instant,
    sessions: Sessions,
}

impl Attempt {
    pub(super) async fn watch_over(&self, ledger: &Ledger, running: &Running, adopted: bool) -> Turn {
        let mut order = self.order.clone();
        let ordered = async move {
            if order.wait_for(Option::is_some).await.is_err() {
                // The worker has gone without an order: the container is left alone.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            exit = running.process.wait() => Turn::Gone(exit),
            () = ordered => Turn::Stop(Why::Ordered),
            why = Box::pin(self.life(ledger, running, adopted)) => Turn::Stop(why),
        }
    }

    /// Ends only when the container must be ended.
    async fn life(&self, ledger: &Ledger, running: &Running, adopted: bool) -> Why {
        let Ok(container) = self.container() else { return std::future::pending().await };
        if !adopted && !self.post_start(container, running).await {
            return Why::Hook;
        }
        if !running.started {
            if self.place.kind != Role::Init
                && let Some(probe) = &container.startup_probe
                && !self.watch(Kind::Startup, probe, container, ledger, running).await
            {
                return Why::Unwell(Kind::Startup);
            }
            self.cell.update(Some(true), None);
            ledger.change(|record| record.started = true).await;
        }
        // Probes of ordinary init containers are refused by the API.
        let probes = (self.place.kind != Role::Init).then_some(());
        let readiness = async {
            match probes.and(container.readiness_probe.as_ref()) {
                Some(probe) => self.watch(Kind::Readiness, probe, container, ledger, running).await,
                None => {
                    if self.cell.update(None, Some(true)) {
                        ledger.change(|record| record.ready = true).await;
                    }
                    std::future::pending().await
                }
            }
        };
        let liveness = async {
            match probes.and(container.liveness_probe.as_ref()) {
                Some(probe) => self.watch(Kind::Liveness, probe, container, ledger, running).await,
                None => std::future::pending().await,
            }
        };
        // Readiness never ends by itself.
        tokio::select! {
            _ = liveness => {}
            _ = readiness => {}
        }
        Why::Unwell(Kind::Liveness)
    }

    async fn post_start(&self, container: &Container, running: &Running) -> bool {
        let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) else {
            return true;
        };
        let outcome = match Check::of_hook(hook, container, self.pod_ip) {
            Ok(check) => Box::pin(check.try_once(&running.beside, &Sessions::default(), HOOK)).await,
            Err(why) => Outcome::Error(why),
        };
        if outcome == Outcome::Success {
            return true;
        }
        // What it printed may hold secrets.
        self.reporter.warning("FailedPostStartHook", "PostStartHook failed");
        false
    }

    /// Probes until there is a verdict that ends it: startup both ways, liveness when it fails, readiness never.
    async fn watch(
        &self,
        kind: Kind,
        probe: &Probe,
        container: &Container,
        ledger: &Ledger,
        running: &Running,
    ) -> bool {
        let check = match Check::of_probe(probe, container, self.pod_ip) {
            Ok(check) => check,
            Err(why) => {
                self.reporter.warning(
                    "Unhealthy",
                    format!("{} probe errored and resulted in unknown state: {why}", kind.title()),
                );
                return std::future::pending().await;
            }
        };
        let pace = Pace::new(kind, probe, check.is_costly());
        let age = Timestamp::now().duration_since(running.since);
        let age = Duration::try_from(age).unwrap_or_default();
        let born = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
        let was_well = kind == Kind::Readiness && ledger.read(|r| r.was_ready).await;
        let record = Record::new(pace, born.elapsed(), was_well);
        let mut prober = Prober { kind, check, pace, record, running, born, sessions: Sessions::default() };
        loop {
            let verdict = prober.next(self).await;
            match kind {
                Kind::Startup => return verdict,
                Kind::Liveness if !verdict => return false,
                Kind::Liveness => {}
                Kind::Readiness => {
                    if self.cell.update(None, Some(verdict)) {
                        let change = |record: &mut crate::process::pod::record::AttemptRecord| {
                            record.ready = verdict;
                            record.was_ready |= verdict;
                        };
                        ledger.change(change).await;
                    }
                }
            }
        }
    }
}

impl Prober<'_> {
    /// Tries until there is a verdict.
    async fn next(&mut self, attempt: &Attempt) -> bool {
        loop {
            let turn = self.record.next(self.born.elapsed());
            tokio::time::sleep_until(self.born + turn.at).await;
            // Boxed, because this task sleeps nearly always.
            let outcome =
                Box::pin(self.check.try_once(&self.running.beside, &self.sessions, self.pace.timeout)).await;
            let age = self.born.elapsed();
            let title = self.kind.title();
            let verdict = match outcome {
                Outcome::Success => self.record.note(turn, age, true),
                Outcome::Failure(why) => {
                    let verdict = self.record.note(turn, age, false);
                    if turn.counts && self.record.is_news() {
                        attempt.reporter.warning("Unhealthy", format!("{title} probe failed: {why}"));
                    }
                    verdict
                }
                Outcome::Error(why) => {
                    if self.record.skip(turn, age) {
                        let text = format!("{title} probe errored and resulted in unknown state: {why}");
                        attempt.reporter.warning("Unhealthy", text);
                    }
                    None
                }
            };
            if let Some(verdict) = verdict {
                return verdict;
            }
        }
    }
}
