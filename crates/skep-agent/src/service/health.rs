//! Whether a program that runs is well, as upstream's `health-monitor.sh` for machines of Compute Engine asks
//! (`cluster/gce/gci/health-monitor.sh`): every 10 s, and one failure is enough.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use super::{cri, http};

/// Time between two questions.
const PERIOD: Duration = Duration::from_secs(10);

/// How and when to ask.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    /// What to ask.
    pub check: Check,
    /// How long a program that has got ready is left alone.
    pub quiet: Duration,
    /// Time between two questions.
    pub period: Duration,
    /// How long an answer may take.
    pub patience: Duration,
}

/// What to ask.
#[derive(Clone, Debug)]
pub(crate) enum Check {
    /// A container runtime, for its list of sandboxes, at this socket.
    Runtime(PathBuf),
    /// `GET /healthz` at this address.
    Healthz(SocketAddr),
}

impl Health {
    /// Of a container runtime: the list of sandboxes must come within 60 s.
    pub(crate) fn runtime(socket: PathBuf) -> Self {
        let check = Check::Runtime(socket);
        Self { check, quiet: PERIOD, period: PERIOD, patience: Duration::from_secs(60) }
    }

    /// Of a kubelet: two minutes after its start it must answer within 10 s.
    pub(crate) fn kubelet(address: SocketAddr) -> Self {
        let check = Check::Healthz(address);
        Self { check, quiet: Duration::from_secs(120), period: PERIOD, patience: Duration::from_secs(10) }
    }

    /// Asks again and again and returns why the answer was not the right one. Cancel safe.
    pub(super) async fn fails(&self) -> String {
        sleep(self.quiet).await;
        let mut ticks = interval_at(Instant::now(), self.period);
        // After a slow answer there is a pause all the same.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match timeout(self.patience, self.check.ask()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.to_string(),
                Err(_) => return format!("no answer within {} s", self.patience.as_secs()),
            }
        }
    }
}

impl Check {
    async fn ask(&self) -> io::Result<()> {
        match self {
            Self::Runtime(socket) => cri::list_sandboxes(socket).await,
            Self::Healthz(address) => http::healthz(*address).await,
        }
    }
}
