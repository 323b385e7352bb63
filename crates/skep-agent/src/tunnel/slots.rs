//! One slot for each gateway: connects, is connected, connects again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::backoff::Backoff;
use super::connect::connect;
use super::error::TunnelError;
use super::meeting::Meeting;
use super::session::{Ended, Session};
use super::settings::Settings;
use super::wire::MAX_GATEWAYS;

/// A connection that lasted this long begins a new row of tries.
const LASTED: Duration = Duration::from_secs(5);
/// How much longer a slot waits that met a gateway of another slot: it is the load balancer's turn to choose another.
const ANOTHER: u32 = 4;

/// Runs as many slots as there are gateways, and ends when all have.
pub(super) async fn run(settings: Settings, shutdown: CancellationToken) {
    let meeting = Meeting::new(settings.status.clone());
    let dropped = CancellationToken::new();
    let _guard = dropped.clone().drop_guard();
    let shared = Arc::new(Shared { settings, meeting, shutdown, dropped, sessions: TaskTracker::new() });
    let slots = TaskTracker::new();
    let mut status = shared.meeting.status();
    let mut running = 0;
    while !shared.shutdown.is_cancelled() {
        let wanted = status.borrow_and_update().wanted.clamp(1, MAX_GATEWAYS);
        while running < wanted {
            let slot = slot(Arc::clone(&shared), running);
            slots.spawn(shared.dropped.clone().run_until_cancelled_owned(slot));
            running += 1;
        }
        tokio::select! {
            _ = status.changed() => {}
            () = shared.shutdown.cancelled() => {}
        }
    }
    slots.close();
    slots.wait().await;
    shared.sessions.close();
    shared.sessions.wait().await;
}

struct Shared {
    settings: Settings,
    meeting: Arc<Meeting>,
    shutdown: CancellationToken,
    /// Whoever ran this does so no longer: everything ends at once.
    dropped: CancellationToken,
    /// Sessions, those whose gateway is leaving included.
    sessions: TaskTracker,
}

impl Shared {
    /// Whether there are fewer gateways by now than when the slot began.
    fn is_surplus(&self, slot: usize) -> bool {
        slot >= self.settings.status.borrow().wanted.max(1)
    }
}

async fn slot(shared: Arc<Shared>, number: usize) {
    let mut backoff = Backoff::default();
    let mut said: Option<String> = None;
    while !shared.shutdown.is_cancelled() {
        let pause = if shared.is_surplus(number) {
            // Kept for when there are more again; asks nobody meanwhile.
            Duration::from_secs(60)
        } else {
            let began = Instant::now();
            let ended = shared.shutdown.run_until_cancelled(once(&shared)).await;
            if began.elapsed() >= LASTED {
                backoff.reset();
            }
            match ended {
                None => return,
                Some(Ok(Ended::Farewell)) => {
                    backoff.reset();
                    continue;
                }
                Some(Ok(Ended::Known)) => backoff.next() * ANOTHER,
                Some(Ok(Ended::Closed)) => backoff.next(),
                Some(Err(error)) => {
                    report(&shared, &error, &mut said);
                    backoff.next()
                }
            }
        };
        shared.shutdown.run_until_cancelled(sleep(pause)).await;
    }
}

/// One connection, until it ends or its gateway is leaving. It goes on by itself then.
async fn once(shared: &Arc<Shared>) -> Result<Ended, TunnelError> {
    let tls = connect(&shared.settings).await?;
    let session = Session::new(
        shared.settings.clone(),
        Arc::clone(&shared.meeting),
        // Only this token ends it: a slot that ends leaves its session to drain.
        shared.shutdown.clone(),
    );
    let farewell = session.farewell();
    let running = shared.dropped.clone().run_until_cancelled_owned(session.run(tls));
    let running = shared.sessions.spawn(running);
    tokio::select! {
        ended = running => ended.ok().flatten().unwrap_or(Ok(Ended::Closed)),
        () = farewell.cancelled() => Ok(Ended::Farewell),
    }
}

/// Says what is wrong, once for each row of the same.
fn report(shared: &Shared, error: &TunnelError, said: &mut Option<String>) {
    let text = error.to_string();
    if said.as_ref() != Some(&text) {
        tracing::warn!(%error, "no tunnel; trying again");
    }
    shared.meeting.failed(text.clone());
    *said = Some(text);
}
