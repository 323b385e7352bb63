//! One connection to an etcd cluster: TLS, deadlines, and the repetition of what etcd asks to be repeated.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use skep_pki::KeyPair;
use tokio::sync::{Mutex, Semaphore};
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic_prost::ProstCodec;

use super::Failure;
use super::compaction::Mark;

/// Time to open a connection, handshake included.
const CONNECT: Duration = Duration::from_secs(2);
/// Time for one call. etcd itself gives up on a request after 7 s (5 s and twice the election timeout).
const CALL: Duration = Duration::from_secs(8);
/// A connection over which nothing has come for this long is asked for a sign of life. etcd closes connections that
/// ask more often than every 5 s (`--grpc-keepalive-min-time`).
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Calls at once over one connection; more wait.
const CALLS: usize = 32;
/// Repetitions of a call that met a change of users or roles.
const REVISIONS: usize = 16;

/// Who calls, and whom it believes.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// What members' certificates are verified with.
    pub server_ca_pem: String,
    /// The client certificate; its common name is the etcd user.
    pub client: KeyPair,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// A connection as one user. Cheap to clone; nothing is sent before the first call.
#[derive(Clone)]
pub struct Connection {
    members: Arc<[Channel]>,
    calls: Arc<Semaphore>,
    #[cfg(test)]
    pub(crate) stage: super::stage::Stage,
    /// Held while users and roles are changed: etcd refuses calls that cross such a change, ours as well.
    pub(super) changes: Arc<Mutex<Door>>,
    /// When history was last dropped; held while it is.
    pub(super) mark: Arc<Mutex<Option<Mark>>>,
}

/// May new users come in?
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// Yes.
    #[default]
    Open,
    /// No: the datastore is being deleted.
    Closed,
}

impl Connection {
    /// Prepares a connection to these client URLs (`https://…`).
    ///
    /// # Errors
    /// [`Failure::Refused`]: an URL or a certificate cannot be used, or there is no URL.
    pub fn new(endpoints: &[String], credentials: &Credentials) -> Result<Self, Failure> {
        let refused = |what: &str| Failure::Refused(what.to_owned());
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&credentials.server_ca_pem))
            .identity(Identity::from_pem(&credentials.client.cert_pem, &credentials.client.key_pem));
        let member = |url: &String| {
            let endpoint = Endpoint::from_shared(url.clone())
                .map_err(|_| refused("an endpoint is not a URL"))?
                .tls_config(tls.clone())
                .map_err(|_| refused("the certificates for the connection cannot be used"))?
                .connect_timeout(CONNECT)
                .timeout(CALL)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(KEEPALIVE)
                .keep_alive_timeout(CONNECT);
            Ok(endpoint.connect_lazy())
        };
        let members = endpoints.iter().map(member).collect::<Result<Arc<[_]>, _>>()?;
        if members.is_empty() {
            return Err(refused("the datastore has no endpoint"));
        }
        Ok(Self {
            members,
            calls: Arc::new(Semaphore::new(CALLS)),
            #[cfg(test)]
            stage: super::stage::Stage::default(),
            changes: Arc::default(),
            mark: Arc::default(),
        })
    }

    /// Takes over what another connection to the same cluster knew: whether it is closed, who is changing users, and
    /// when history was last dropped.
    pub fn succeed(&mut self, before: &Self) {
        self.changes = Arc::clone(&before.changes);
        self.mark = Arc::clone(&before.mark);
    }

    /// Lets nobody in any more. When this returns, whoever was coming in is in.
    pub async fn close(&self) {
        *self.changes.lock().await = Door::Closed;
    }

    /// One call. When a member does not answer the next one is asked, so only calls that may be repeated go through
    /// here; all of this client may.
    pub(super) async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Failure>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        #[cfg(test)]
        let number = self.stage.begin(path);
        #[cfg(test)]
        if let Some(answer) = self.stage.act(number, path, &request) {
            return answer;
        }
        let _turn = self.calls.acquire().await.map_err(|e| Failure::Unavailable(e.to_string()))?;
        let mut last = Failure::Unavailable("there is no member".to_owned());
        for member in self.members.iter() {
            last = match self.ask(member, path, &request).await {
                Err(failure @ Failure::Unavailable(_)) => failure,
                #[cfg(test)]
                other => return self.stage.delivered(number, other),
                #[cfg(not(test))]
                other => return other,
            };
        }
        Err(last)
    }

    async fn ask<Q, A>(&self, member: &Channel, path: &'static str, request: &Q) -> Result<A, Failure>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut attempt = 0;
        loop {
            let answer = match tokio::time::timeout(CALL, unary(member.clone(), path, request.clone())).await
            {
                Ok(answer) => answer,
                Err(_) => Err(Failure::Unavailable(format!("no answer within {} s", CALL.as_secs()))),
            };
            match answer {
                Err(Failure::OldRevision) if attempt < REVISIONS => attempt += 1,
                other => return other,
            }
        }
    }
}

async fn unary<Q, A>(channel: Channel, path: &'static str, request: Q) -> Result<A, Failure>
where
    Q: prost::Message + 'static,
    A: prost::Message + Default + 'static,
{
    let mut grpc = Grpc::new(channel);
    // The channel's own error type says nothing; the call below repeats it as a status with its source.
    grpc.ready().await.map_err(|e| Failure::Unavailable(e.to_string()))?;
    grpc.unary(Request::new(request), PathAndQuery::from_static(path), ProstCodec::<Q, A>::default())
        .await
        .map(tonic::Response::into_inner)
        .map_err(|status| Failure::from_status(&status))
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("members", &self.members.len()).finish_non_exhaustive()
    }
}
