//! Certificates and keys of the component.
//!
//! One authority for the cell signs the server and its clients and nothing else; the name in a client's certificate is the
//! tenant's id. Towards its own cluster the autoscaler has a certificate of the cluster's authority, and the relay beside it
//! has an authority of its own, because the address it signs for is known only in the pod.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use k8s_openapi::jiff::Timestamp;
use skep_api::ControlPlane;
use skep_controlplane::pki::{Authorities, Data};
use skep_controlplane::{cell_authority, pki::digest};
use skep_kubeops::Applier;
use skep_pki::{AuthorityPlan, CaData, Credentials, Generations, KeyPair, Kubeconfig, Leaf, Names};
use tokio::sync::Mutex;

use crate::address::host;

/// Secret with the authority, in the system namespace.
const SECRET: &str = "autoscaler-authority";
/// User of cluster-autoscaler in its cluster; `deploy/components/autoscaler.yaml` binds it.
pub(super) const USER: &str = "system:cluster-autoscaler";
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
const OVERLAP: Duration = Duration::from_secs(90 * 86_400);
const LIFE: Duration = Duration::from_secs(365 * 86_400);
/// The relay's authority lives as its Secret does: its successor comes with the next certificate.
const RELAY_LIFE: Duration = Duration::from_secs(2 * 365 * 86_400);
/// How long what was read is believed.
const FRESH: i64 = 3600;
/// For one call; upstream's own default of 5 s is shorter than the hub's answers when it starts.
const TIMEOUT: &str = "20s";

/// Why certificates cannot be had.
pub(super) type Failed = skep_controlplane::Error;

/// The cell's authority for autoscalers, as this process last saw it, and how its server fares.
pub(super) struct Authority {
    applier: Applier,
    known: Mutex<Option<Known>>,
    trouble: ArcSwapOption<String>,
}

struct Known {
    generations: Generations,
    server: Option<KeyPair>,
    until: i64,
}

impl Authority {
    pub(super) fn new(applier: Applier) -> Self {
        Self { applier, known: Mutex::default(), trouble: ArcSwapOption::default() }
    }

    /// Says why nobody is served, or that they are.
    pub(super) fn trouble(&self, why: Option<String>) {
        self.trouble.store(why.map(Arc::new));
    }

    /// Why nobody is served.
    pub(super) fn why(&self) -> Option<Arc<String>> {
        self.trouble.load_full()
    }

    /// The server's certificate for this address, and whom its clients are verified by.
    ///
    /// # Errors
    /// The authority cannot be read or made.
    pub(super) async fn server(&self, address: &str, now: Timestamp) -> Result<(KeyPair, String), Failed> {
        let mut known = self.known.lock().await;
        let known = self.read(&mut known, now).await?;
        let leaf = named(Leaf::server("skep-autoscaler", LIFE), host(address));
        let ensured = known.generations.signer().ensure(known.server.as_ref(), &leaf, now)?;
        known.server = Some(ensured.pair.clone());
        Ok((ensured.pair, known.generations.trusted_pem()?))
    }

    /// The certificate of a tenant: the one it has while that is good. With it, whom servers are verified by.
    async fn client(
        &self,
        tenant: &str,
        existing: Option<&KeyPair>,
        now: Timestamp,
    ) -> Result<(KeyPair, String), Failed> {
        let mut known = self.known.lock().await;
        let known = self.read(&mut known, now).await?;
        let ensured = known.generations.signer().ensure(existing, &Leaf::client(tenant, LIFE), now)?;
        Ok((ensured.pair, known.generations.trusted_pem()?))
    }

    async fn read<'a>(&self, known: &'a mut Option<Known>, now: Timestamp) -> Result<&'a mut Known, Failed> {
        let fresh = known.take_if(|known| now.as_second() < known.until);
        let next = match fresh {
            Some(known) => known,
            None => {
                let plan = AuthorityPlan {
                    common_name: "skep autoscaler".to_owned(),
                    life: AUTHORITY_LIFE,
                    overlap: OVERLAP,
                    leaf_life: LIFE,
                };
                let generations = cell_authority::ensure(&self.applier, SECRET, &plan, now).await?;
                let server = known.take().and_then(|known| known.server);
                Known { generations, server, until: now.as_second() + FRESH }
            }
        };
        Ok(known.insert(next))
    }
}

/// What a tenant's Secret holds, and a digest of what cluster-autoscaler reads only once.
pub(super) struct Issued {
    pub(super) data: Data,
    pub(super) digest: String,
}

/// Everything for the pod of one tenant; what `stored` has is kept while it is good.
///
/// # Errors
/// A certificate cannot be made.
pub(super) async fn issue(
    plane: &ControlPlane,
    cluster: &Authorities,
    authority: &Authority,
    stored: &Data,
    (address, gateway): (&str, &str),
    now: Timestamp,
) -> Result<Issued, Failed> {
    let spec = &plane.spec;
    let mut data = Data::default();
    let user = Leaf::client(USER, LIFE);
    let client = cluster.cluster.signer()?.ensure(stored.pair("client").as_ref(), &user, now)?.pair;
    data.put_pair("client", &client);
    let ca = cluster.cluster.bundle()?;
    data.put("ca.crt", &ca);
    let files = Credentials::Files { cert: "client.crt".to_owned(), key: "client.key".to_owned() };
    let kubeconfig =
        Kubeconfig::new(Names::same("autoscaler"), gateway, CaData::File("ca.crt".to_owned()), files)
            .tls_server_name(&spec.endpoint.host)
            .to_yaml()?;
    data.put("kubeconfig", &kubeconfig);

    let (provider, trusted) = authority.client(&spec.tenant, stored.pair("provider").as_ref(), now).await?;
    data.put_pair("provider", &provider);
    data.put("provider-ca.crt", &trusted);
    // Paths count from the directory that the program starts in.
    let cloud = format!(
        "address: {address}\ncert: provider.crt\nkey: provider.key\ncacert: provider-ca.crt\ngrpc_timeout: {TIMEOUT}\n"
    );
    data.put("cloud-config", &cloud);

    let relay = relay(stored, now)?;
    data.put_pair("expander-ca", &relay);
    let digest = digest(&[&ca, &kubeconfig, &provider.cert_pem, &trusted, &cloud, &relay.cert_pem]);
    Ok(Issued { data, digest })
}

/// The relay's authority: the one that is there while it lives.
fn relay(stored: &Data, now: Timestamp) -> Result<KeyPair, Failed> {
    let kept = stored.pair("expander-ca").filter(|pair| {
        let read = skep_pki::Authority::from_pem(&pair.cert_pem, pair.key_pem.as_str());
        read.is_ok_and(|authority| !authority.validity().renewal_due(0, now))
    });
    match kept {
        Some(pair) => Ok(pair),
        None => Ok(skep_pki::Authority::generate("expander", RELAY_LIFE, now)?.pair()),
    }
}

fn named(leaf: Leaf, host: &str) -> Leaf {
    match host.parse::<IpAddr>() {
        Ok(address) => leaf.address(address),
        Err(_) => leaf.dns(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_for_addresses_and_names() {
        assert_eq!(named(Leaf::server("x", LIFE), "::1").addresses, ["::1".parse::<IpAddr>().unwrap()]);
        assert_eq!(named(Leaf::server("x", LIFE), "a.svc").dns_names, ["a.svc"]);
    }
}
