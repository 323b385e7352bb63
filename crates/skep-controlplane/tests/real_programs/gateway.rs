//! A real gateway that knows the one tenant.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Result;
use futures::future::BoxFuture;
use skep_api::ControlPlane;
use skep_controlplane::pki::Data;
use skep_gateway::node_tunnel::{Identities, IdentityError, IdentityFiles};
use skep_gateway::routes::{ControlPlaneFact, Key, PodFact};
use skep_gateway::{Config, Metrics, Source};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The gateway.
pub struct Gateway {
    pub metrics: Metrics,
    running: JoinHandle<()>,
}

/// Secrets of the tenant and of the door.
struct Files(IdentityFiles, IdentityFiles);

impl Identities for Files {
    fn of_tenant<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<IdentityFiles, IdentityError>> {
        Box::pin(async { Ok(self.0.clone()) })
    }

    fn of_door(&self) -> BoxFuture<'_, Result<Option<IdentityFiles>, IdentityError>> {
        Box::pin(async { Ok(Some(self.1.clone())) })
    }
}

impl Gateway {
    /// Serves at this address; the API server is expected there as well, at its own port.
    pub fn start(owner: &ControlPlane, address: Ipv4Addr, tunnel: &Data, door: &Data) -> Result<Self> {
        let gateway = skep_gateway::Gateway::bind(Config {
            workers: 1,
            ..Config::on(SocketAddr::from((address, 7443)))
        })?;
        let gateway = gateway.with_identities(Arc::new(Files(files(tunnel), files(door))));
        let (directory, metrics) = (gateway.directory(), gateway.metrics());
        let (tenant, host) = (owner.spec.tenant.clone(), owner.spec.endpoint.host.clone());
        let key = Key::new(&tenant, &tenant);
        let pod = PodFact {
            key: key.clone(),
            uid: "uid".into(),
            tenant: tenant.clone(),
            address: Some(SocketAddr::from((address, 6443))),
            ready: true,
            closing: None,
        };
        directory
            .update(|table| table.apply_control_plane(ControlPlaneFact { key, created: 0, tenant, host }));
        directory.update(|table| table.apply_pod(pod));
        directory.set_complete();
        let running = gateway.run(Source::Directory, CancellationToken::new());
        Ok(Self { metrics, running: tokio::spawn(async { running.await.unwrap() }) })
    }
}

fn files(data: &Data) -> IdentityFiles {
    let file = |key: &str| (key.to_owned(), data.text(key).unwrap_or_default().as_bytes().to_vec());
    IdentityFiles::new(data.keys().map(file))
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.running.abort();
    }
}
