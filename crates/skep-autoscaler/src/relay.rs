//! The way from cluster-autoscaler to an expander that wants to know who asks.
//!
//! Upstream's client of an expander shows no certificate. The relay stands in the same pod, takes its connections and passes
//! each on, byte by byte, over a connection of its own with the tenant's certificate. What it shows itself is signed by an
//! authority that lies beside it and is believed by nobody but this pod's cluster-autoscaler: the pod's address is only known
//! there. Files are read for each connection, so that they may be replaced at any time.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use rustls::pki_types::ServerName;
use skep_pki::{Authority, Leaf};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Error;
use crate::accept::accept;
use crate::address::host;
use crate::server::CONNECTIONS;
use crate::tls::{Client, Pems, server};

/// For both handshakes.
const HANDSHAKES: Duration = Duration::from_secs(10);
/// Life of what is shown to one connection's client: verified once, at its beginning.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// A relay that has its port.
pub struct Relay {
    listener: TcpListener,
    address: IpAddr,
    to: String,
    files: PathBuf,
}

impl Relay {
    /// Takes the port. `to` is `host:port` of the expander. In `files` are `expander-ca.crt` and `.key`, `provider.crt` and
    /// `.key`, `provider-ca.crt`.
    ///
    /// # Errors
    /// The port is taken or not ours.
    pub async fn bind(listen: SocketAddr, to: &str, files: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        Ok(Self { listener, address: listen.ip(), to: to.to_owned(), files: files.to_owned() })
    }

    /// The address it has.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Passes connections on until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let connections = TaskTracker::new();
        while let Some(Some((stream, place))) = stop.run_until_cancelled(accept(&self.listener, &room)).await
        {
            let (address, to, files) = (self.address, self.to.clone(), self.files.clone());
            let stop = stop.clone();
            connections.spawn(async move {
                tokio::select! {
                    passed = pass(stream, address, &to, &files) => {
                        if let Err(error) = passed {
                            tracing::warn!(error, "a connection is not passed on");
                        }
                    }
                    () = stop.cancelled() => {}
                }
                drop(place);
            });
        }
        connections.close();
        connections.wait().await;
    }
}

async fn pass(stream: TcpStream, address: IpAddr, to: &str, files: &Path) -> Result<(), String> {
    let both = async {
        let ends = Ends::read(address, to, files)?;
        let acceptor = TlsAcceptor::from(server(&ends.shown).map_err(|error| error.to_string())?);
        let inner = acceptor.accept(stream).await.map_err(|error| error.to_string())?;
        let outer = TcpStream::connect(to).await.map_err(|error| format!("{to}: {error}"))?;
        outer.set_nodelay(true).map_err(|error| error.to_string())?;
        let connector = TlsConnector::from(ends.client.config().map_err(|error| error.to_string())?);
        let outer = connector.connect(ends.name, outer).await.map_err(|error| format!("{to}: {error}"))?;
        Ok::<_, String>((inner, outer))
    };
    let both = tokio::time::timeout(HANDSHAKES, both).await;
    let (mut inner, mut outer) = both.map_err(|_| format!("{to} did not answer in time"))??;
    // How a connection ends, after it has stood, is its ends' business.
    let _ = copy_bidirectional(&mut inner, &mut outer).await;
    Ok(())
}

/// What both ends of a connection are made with.
struct Ends {
    shown: Pems,
    client: Client,
    name: ServerName<'static>,
}

impl Ends {
    fn read(address: IpAddr, to: &str, files: &Path) -> Result<Self, String> {
        let read = |name: &str| {
            let path = files.join(name);
            std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let authority = Authority::from_pem(&read("expander-ca.crt")?, &read("expander-ca.key")?)
            .map_err(|error| error.to_string())?;
        let leaf = Leaf::server("expander", LIFE).address(address);
        let pair = authority.issue(&leaf, Timestamp::now()).map_err(|error| error.to_string())?;
        let name = ServerName::try_from(host(to).to_owned()).map_err(|error| error.to_string())?;
        let client = Client {
            certificate: read("provider.crt")?,
            key: read("provider.key")?,
            authority: read("provider-ca.crt")?,
        };
        Ok(Self { shown: Pems::new(pair.cert_pem, pair.key_pem.into_string(), None), client, name })
    }
}
