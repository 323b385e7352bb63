//! Ending a container, and what is done when it has ended.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use rustix::process::Signal;
use tokio::time::Instant;

use super::watching::Why;
use super::{Attempt, Ledger};
use crate::process::handle::Exit;
use crate::process::pod::Kind as Role;
use crate::process::pod::cell::{Cause, Order, Running};
use crate::process::pod::record::Ended;
use crate::process::probe::pace::Kind;
use crate::process::probe::{Check, Outcome, Sessions};
use crate::process::{log, stop};

/// Grace period when nothing says otherwise (the API's default).
const GRACE: i64 = 30;
/// Longest termination message, and how much of the log stands in for one (kubelet: `MaxContainerTerminationMessage…`).
const MESSAGE: u64 = 4096;
const MESSAGE_LOG_BYTES: usize = 2048;
const MESSAGE_LOG_LINES: usize = 80;

impl Attempt {
    /// preStop hook, its turn, the polite signal, patience, the end.
    pub(super) async fn end(&self, running: &Running, why: Why) -> Exit {
        let container = self.container().ok();
        let name = self.name();
        let restarted = "will be restarted";
        let message = match (why, *self.order.borrow()) {
            (Why::Unwell(kind), _) => {
                format!("Container {name} failed {} probe, {restarted}", kind.title().to_lowercase())
            }
            (Why::Hook, _) => format!("Container {name} failed postStart hook, {restarted}"),
            (Why::Ordered, Some(Order { cause: Cause::Changed, .. })) => {
                format!("Container {name} definition changed, {restarted}")
            }
            (Why::Ordered, _) => format!("Stopping container {name}"),
        };
        self.reporter.normal("Killing", message);
        let own = Instant::now() + self.grace(container, why);
        let fixed = (why != Why::Ordered).then_some(own);

        tokio::select! {
            biased;
            exit = running.process.wait() => return exit,
            () = async {
                tokio::select! {
                    () = Box::pin(self.pre_stop(container, running)) => {}
                    () = self.patience(fixed, None) => {}
                }
                if self.place.kind == Role::Sidecar {
                    tokio::select! {
                        () = self.turn() => {}
                        () = self.patience(fixed, None) => {}
                    }
                }
            } => {}
        }
        let signal = container.and_then(|c| c.lifecycle.as_ref()?.stop_signal.as_deref());
        let _ = running.process.signal(signal.and_then(signal_of_name).unwrap_or(Signal::TERM));
        let least = Instant::now() + self.site.config.timings.least_grace;
        tokio::select! {
            biased;
            exit = running.process.wait() => exit,
            () = self.patience(fixed, Some(least)) => stop::kill(&running.process).await,
        }
    }

    /// How long a container has when nobody gives an order with a deadline.
    fn grace(&self, container: Option<&Container>, why: Why) -> Duration {
        let probe = match why {
            Why::Unwell(Kind::Liveness) => container.and_then(|c| c.liveness_probe.as_ref()),
            Why::Unwell(Kind::Startup) => container.and_then(|c| c.startup_probe.as_ref()),
            _ => None,
        };
        let seconds = probe.and_then(|p| p.termination_grace_period_seconds);
        let seconds =
            seconds.or_else(|| self.pod.spec.as_ref()?.termination_grace_period_seconds).unwrap_or(GRACE);
        Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    }

    /// Until the deadline, which an order may bring nearer, but not before `least`.
    async fn patience(&self, fixed: Option<Instant>, least: Option<Instant>) {
        let mut order = self.order.clone();
        loop {
            let ordered = order.borrow_and_update().map(|o| o.deadline);
            let deadline = [fixed, ordered].into_iter().flatten().min().unwrap_or_else(Instant::now);
            let deadline = least.map_or(deadline, |least| deadline.max(least));
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return,
                changed = order.changed() => if changed.is_err() {
                    tokio::time::sleep_until(deadline).await;
                    return;
                },
            }
        }
    }

    /// Until those that must end before it have, if it is stopped with its pod.
    async fn turn(&self) {
        let mut order = self.order.clone();
        let mine = |order: &Option<Order>| order.is_none_or(|o| o.turn || o.cause != Cause::Pod);
        let _ = order.wait_for(mine).await;
    }

    async fn pre_stop(&self, container: Option<&Container>, running: &Running) {
        let Some(container) = container else { return };
        let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref()) else { return };
        let outcome = match Check::of_hook(hook, container, self.pod_ip) {
            // Patience ends it.
            Ok(check) => {
                check
                    .try_once(&running.beside, &Sessions::default(), Duration::from_secs(u64::from(u32::MAX)))
                    .await
            }
            Err(why) => Outcome::Error(why),
        };
        if outcome != Outcome::Success {
            self.reporter.warning("FailedPreStopHook", "PreStopHook failed");
        }
    }

    /// The process has ended: nothing of it may be left, its log must be complete, and how it ended is written down.
    pub(super) async fn close(&self, ledger: &Ledger, running: &Running, exit: Exit) -> Ended {
        let mut out_of_memory = false;
        if let Some(cgroup) = &running.beside.cgroup {
            out_of_memory = cgroup.ran_out_of_memory();
            cgroup.destroy();
        }
        stop::sweep(&self.family(), Some(running.process.id())).await;
        if let Some(cgroup) = &running.beside.cgroup {
            cgroup.destroy();
        }
        if let Err(error) = running.capture.finish().await {
            tracing::warn!(pod = self.identity.short_name(), container = self.name(), %error, "the end of a log could not be stored");
        }
        let code = exit.code();
        let lost = exit == Exit::Unknown;
        let reason = match (code, lost, out_of_memory) {
            (_, true, _) => "ContainerStatusUnknown",
            (_, _, true) => "OOMKilled",
            (0, ..) => "Completed",
            _ => "Error",
        };
        let message = if lost {
            Some(
                "how the container ended is not known: it was started by an earlier run of the node"
                    .to_owned(),
            )
        } else {
            self.message(code).await
        };
        let ended = ledger
            .read(|record| Ended {
                attempt: record.attempt,
                exit_code: code,
                reason: reason.to_owned(),
                message,
                started_at: record.started_at,
                finished_at: Timestamp::now(),
                image_id: record.image_id.clone(),
                sandbox: record.sandbox.clone(),
            })
            .await;
        let end = ended.clone();
        ledger
            .change(|record| {
                record.end = Some(end);
                record.ready = false;
                record.started = false;
            })
            .await;
        ended
    }

    async fn message(&self, code: i32) -> Option<String> {
        let layout = self.identity.layout.clone();
        let (name, attempt) = (self.name().to_owned(), self.cell.attempt);
        let policy = self.container().ok().and_then(|c| c.termination_message_policy.clone());
        let fall_back = code != 0 && policy.as_deref() == Some("FallbackToLogsOnError");
        let read = tokio::task::spawn_blocking(move || {
            let own = beginning(&layout.message(&name, attempt));
            if own.is_none() && fall_back {
                let log = layout.logs(&name, attempt).log;
                return log::tail(&log, MESSAGE_LOG_LINES, MESSAGE_LOG_BYTES)
                    .ok()
                    .filter(|text| !text.is_empty());
            }
            own
        });
        read.await.ok().flatten()
    }
}

fn beginning(path: &Path) -> Option<String> {
    use std::io::Read;
    let mut text = Vec::new();
    std::fs::File::open(path).ok()?.take(MESSAGE).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned()).filter(|text| !text.is_empty())
}

/// Signals a container may ask for (`lifecycle.stopSignal`).
fn signal_of_name(name: &str) -> Option<Signal> {
    Some(match name {
        "SIGTERM" => Signal::TERM,
        "SIGINT" => Signal::INT,
        "SIGQUIT" => Signal::QUIT,
        "SIGHUP" => Signal::HUP,
        "SIGUSR1" => Signal::USR1,
        "SIGUSR2" => Signal::USR2,
        "SIGWINCH" => Signal::WINCH,
        "SIGKILL" => Signal::KILL,
        _ => return None,
    })
}

impl Attempt {
    /// Of a container that ended while the node was away: stores the end of its log and how little is known.
    pub(in super::super) async fn bury(&self, record: crate::process::pod::record::AttemptRecord) -> Ended {
        let ended = record.end.clone().unwrap_or_else(|| record.lost());
        // What the main process left behind must not meet its successor.
        stop::sweep(&self.family(), record.process.as_ref()).await;
        let paths = self.identity.layout.logs(&record.container, record.attempt);
        let stored = match self.site.pump.open(paths, self.site.config.logs).await {
            Ok(capture) => capture.finish().await,
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            tracing::warn!(pod = self.identity.short_name(), container = record.container, %error, "the end of a log could not be stored");
        }
        Ledger::new(record, self.identity.clone()).change(|_| ()).await;
        ended
    }
}
