//! Finds an API server for a connection and hands both to a tunnel; asks another one when there is no answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{dial::dial, hold::hold};
use crate::directory::{Backend, Lease, Tenant};
use crate::rejection::Rejection;
use crate::shared::Shared;
use crate::tunnel::{Patience, Tunnel};

/// First pause after every ready API server refused; doubled up to [`MAX_PAUSE`]. Nobody tells when a server that is
/// called ready accepts again, so this one thing is asked for.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Moves bytes between the client and an API server that answers, to the end, or says why there was none.
pub(super) async fn relay(
    shared: &Shared,
    tenant: &Tenant,
    client: &mut TcpStream,
    mut opening: Vec<u8>,
) -> Result<(), Rejection> {
    let timeouts = &shared.config.timeouts;
    let patience = Patience { drain: timeouts.drain, half_closed: timeouts.half_closed };
    let mut search = Search::default();
    let mut unanswered = 0;
    loop {
        let Some((backend, server, sent)) = dial_next(shared, tenant, &mut search, &opening).await else {
            Box::pin(hold(shared, tenant, client, &mut search)).await?;
            continue;
        };
        let mut tunnel = Tunnel::new(client, server, opening, sent);
        tunnel.run(&backend, tenant.stats(), patience).await;
        let Some(said) = tunnel.unanswered() else { return Ok(()) };
        tracing::debug!(tenant = tenant.id(), pod = backend.name(), "API server closed without an answer");
        opening = said;
        unanswered += 1;
        if unanswered >= shared.config.limits.tries {
            return Err(Rejection::NoAnswer);
        }
        search.failed(&backend, tenant);
    }
}

/// What is known of the search for one connection's API server.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Asked in this round.
    tried: Vec<Arc<Backend>>,
    /// When our patience ends. Set when the connection is first held.
    pub(super) deadline: Option<Instant>,
    /// Pause before the next round if nothing happens.
    pause: Duration,
}

impl Search {
    fn failed(&mut self, backend: &Lease, tenant: &Tenant) {
        backend.refused();
        tenant.stats().dial_failures.fetch_add(1, Ordering::Relaxed);
        self.tried.push(Arc::clone(backend));
    }

    /// Begins another round; how long to wait for a change if all ready ones were asked.
    pub(super) fn next_round(&mut self) -> Option<Duration> {
        if self.tried.is_empty() {
            return None;
        }
        self.tried.clear();
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, MAX_PAUSE);
        Some(self.pause)
    }
}

/// A connection to a ready API server that was not asked in this round, with how much of the opening it took.
async fn dial_next(
    shared: &Shared,
    tenant: &Tenant,
    search: &mut Search,
    opening: &[u8],
) -> Option<(Lease, TcpStream, usize)> {
    let most = usize::try_from(shared.config.limits.tries).unwrap_or(usize::MAX);
    while search.tried.len() < most {
        let backend = tenant.pick(&search.tried)?;
        match dial(backend.address(), opening, &shared.config.timeouts).await {
            Ok((server, sent)) => return Some((backend, server, sent)),
            Err(error) => {
                tracing::debug!(tenant = tenant.id(), pod = backend.name(), %error, "API server refused a connection");
                search.failed(&backend, tenant);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::routes::{ControlPlaneFact, Key, PodFact};

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let mut search = Search::default();
        assert_eq!(search.next_round(), None, "nobody was asked: only a change can help");
        let shared = Shared::new(Config::default());
        let address = Some(([127, 0, 0, 1], 1).into());
        let (key, tenant) = (Key::new("a", "a"), "a".to_owned());
        let pod = PodFact {
            key: key.clone(),
            uid: "u".into(),
            tenant: tenant.clone(),
            address,
            ready: true,
            closing: None,
        };
        shared.directory.update(|t| t.apply_pod(pod));
        let plane = ControlPlaneFact { key, created: 0, tenant, host: "a".into() };
        shared.directory.update(|t| t.apply_control_plane(plane));
        let tenant = shared.directory.tenants().remove(0);
        let backend = tenant.pick(&[]).unwrap();
        let mut pause = || {
            search.failed(&backend, &tenant);
            search.next_round().unwrap().as_millis()
        };
        assert_eq!([(); 7].map(|()| pause()), [50, 100, 200, 400, 800, 1000, 1000]);
    }
}
