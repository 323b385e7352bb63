//! The thread of the tunnels: who arrives is let in, and everything they do happens here.

use std::future::pending;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue};
use skep_agent::tunnel::wire;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::agent::{self, Credentials};
use super::handshake::{self, Known};
use super::identity::{Door, Role};
use super::keeper::Keeper;
use super::{Identities, api_server};
use crate::config;
use crate::connection::{Client, refuse};
use crate::directory::Tenant;
use crate::hello::ServerName;
use crate::limits::Gate;
use crate::rejection::Rejection;
use crate::shared::{Seat, Shared};
use crate::worker::Running;

/// Connections that may be on their way to the thread.
const INBOX: usize = 1024;
/// How often identities that nobody uses are looked for, and the door is looked at.
const TIDY: Duration = Duration::from_secs(60);

/// Whose tunnel somebody wants.
pub(crate) enum Whose {
    Tenant(Arc<Tenant>),
    /// They cannot say: their certificate will.
    Door,
}

/// A connection on its way to the hall.
pub(crate) struct Arrival {
    pub(crate) socket: OwnedFd,
    /// What the client said first.
    pub(crate) said: Vec<u8>,
    pub(crate) source: SocketAddr,
    pub(crate) seat: Seat,
    pub(crate) whose: Whose,
}

/// The way in, for the threads that accept connections.
#[derive(Debug)]
pub(crate) struct Entrance {
    open: AtomicBool,
    /// Names of the door.
    door: ArcSwap<Vec<String>>,
    arrivals: mpsc::Sender<Arrival>,
    inbox: Mutex<Option<mpsc::Receiver<Arrival>>>,
}

impl Default for Entrance {
    fn default() -> Self {
        let (arrivals, inbox) = mpsc::channel(INBOX);
        let (open, door) = (AtomicBool::new(false), ArcSwap::default());
        Self { open, door, arrivals, inbox: Mutex::new(Some(inbox)) }
    }
}

impl Entrance {
    /// Whether there are tunnels at all.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Whether this is the gateway's own name, under which API servers come to the door.
    pub(crate) fn is_door(&self, name: &ServerName) -> bool {
        self.door.load().iter().any(|door| door == name.as_str())
    }

    /// Hands a connection over, or gives it back.
    // What comes back is told why and closed.
    #[allow(clippy::result_large_err)]
    pub(crate) fn enter(&self, arrival: Arrival) -> Result<(), Arrival> {
        self.arrivals.try_send(arrival).map_err(|error| match error {
            mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back) => back,
        })
    }
}

/// What everything on the thread shares.
pub(crate) struct Hall {
    shared: Arc<Shared>,
    keeper: Keeper,
    handshakes: Arc<Gate>,
    closing: CancellationToken,
    /// Which gateway this is.
    id: String,
    began: Instant,
}

impl Hall {
    /// Starts the thread; resolves when it has ended. Without identities there are no tunnels.
    pub(crate) fn start(
        shared: Arc<Shared>,
        identities: Arc<dyn Identities>,
        closing: CancellationToken,
        stop: CancellationToken,
    ) -> std::io::Result<Running> {
        let inbox = shared.tunnels.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (ended, running) = oneshot::channel();
        let Some(inbox) = inbox else { return Err(std::io::Error::other("the tunnels run already")) };
        let limits = &shared.config.tunnel;
        let hall = Arc::new(Self {
            keeper: Keeper::new(identities, limits.reload),
            handshakes: Gate::new(limits.handshakes),
            id: format!("{:016x}", rand::random::<u64>()),
            shared: Arc::clone(&shared),
            closing,
            began: Instant::now(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("skep-gw-tunnel".into()).spawn(move || {
            runtime.block_on(stop.run_until_cancelled(hall.run(inbox)));
            // Dropping the runtime closes what is still open; only then it has ended.
            drop(runtime);
            let _ = ended.send(Ok(()));
        })?;
        shared.tunnels.open.store(true, Ordering::Release);
        Ok(running)
    }

    async fn run(self: Arc<Self>, mut inbox: mpsc::Receiver<Arrival>) {
        let mut tidy = interval(TIDY);
        tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                arrival = inbox.recv() => match arrival {
                    Some(arrival) => drop(tokio::spawn(Arc::clone(&self).serve(arrival))),
                    None => return pending().await,
                },
                _ = tidy.tick() => {
                    self.keeper.tidy(&self.shared.directory);
                    let hall = Arc::clone(&self);
                    tokio::spawn(async move {
                        let door = hall.keeper.door().await;
                        hall.know_door(door.as_deref().and_then(Option::as_ref));
                    });
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, arrival: Arrival) {
        let Arrival { socket, said, source, seat, whose } = arrival;
        let Ok(stream) = TcpStream::from_std(socket.into()) else { return };
        let asked = match &whose {
            Whose::Tenant(tenant) => Some(Arc::clone(tenant)),
            Whose::Door => None,
        };
        let known = match self.handshakes.enter() {
            None => Err((Some(stream), Rejection::TunnelHandshakes)),
            Some(_handshake) => match whose {
                Whose::Tenant(tenant) => handshake::of_tenant(&self, tenant, said, stream).await,
                Whose::Door => handshake::at_door(&self, said, stream).await,
            },
        };
        let refused = match known {
            Ok(Known { tenant, role, tls }) => {
                let tunnel = Arc::clone(tenant.tunnel_within(self.config()));
                match role {
                    Role::ApiServer => {
                        api_server::serve(&self, &tenant, &tunnel, tls).await;
                        return;
                    }
                    Role::Agent { node, until } => {
                        let credentials = Credentials { node, until };
                        match agent::serve(&self, &tenant, &tunnel, tls, credentials).await {
                            Ok(()) => return,
                            Err(reason) => (None, reason),
                        }
                    }
                }
            }
            Err(refused) => refused,
        };
        let (stream, reason) = refused;
        let client = stream.map(Client::Registered);
        refuse::refuse(&seat, asked.as_deref(), client, source, reason).await;
    }

    pub(super) fn config(&self) -> &config::Tunnel {
        &self.shared.config.tunnel
    }

    pub(super) fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// Cancelled when the gateway stops.
    pub(super) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Agents that were connected to a gateway before this one have come by then.
    pub(super) fn settled(&self) -> Instant {
        self.began + self.config().settle
    }

    /// For a handshake, a greeting, a request.
    pub(super) fn patience(&self) -> Duration {
        self.shared.config.timeouts.handshake
    }

    /// For the last streams of an agent.
    pub(super) fn winding_up(&self) -> Duration {
        self.shared.config.timeouts.shutdown
    }

    /// For a stream of which one half is closed.
    pub(super) fn half_closed(&self) -> Duration {
        self.shared.config.timeouts.half_closed
    }

    /// The tenant with this host or id.
    pub(super) fn tenant(&self, name: &ServerName) -> Option<Arc<Tenant>> {
        self.shared.directory.by_authority(name)
    }

    /// From now on API servers find the door under its names.
    pub(super) fn know_door(&self, door: Option<&Door>) {
        let names = door.map(Door::names).unwrap_or_default();
        if self.shared.tunnels.door.load().as_slice() != names {
            self.shared.tunnels.door.store(Arc::new(names.to_vec()));
        }
    }

    /// What an agent is told first.
    pub(super) fn greeting(&self) -> HeaderMap {
        let id = HeaderValue::from_str(&self.id).unwrap_or_else(|_| HeaderValue::from_static("gateway"));
        HeaderMap::from_iter([(wire::GATEWAY, id), (wire::GATEWAYS, self.config().gateways.into())])
    }
}
