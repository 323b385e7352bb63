//! Keys and certificates of a tenant: what exists is kept while it is good, and every program gets only what it needs.
//!
//! ```text
//! authorities (mounted nowhere)       cluster CA · front-proxy CA · tunnel CA · service account key · encryption key
//!   ├─ kube-apiserver                 server and client certificates, token key, encryption config; no CA key
//!   ├─ kube-controller-manager        CA with key (it signs for nodes), token key, its own certificates
//!   ├─ kube-scheduler                 its own certificates
//!   ├─ tunnel                         what the gateway shows to node agents and API servers, and whom it believes
//!   └─ admin-kubeconfig               a certificate of group system:masters, in a kubeconfig
//! etcd-client                         certificate for the tenant's keys, from the datastore's own authority
//! ```
//!
//! Guarantees: pure (time is an argument); authorities are made once and only while nothing of the tenant exists; leaves
//! are renewed before two thirds of their life, authorities with overlap.
//!
//! What happens when a file changes, from upstream's sources (k8s.io/… v0.36 and v0.35):
//!
//! | file | read again? |
//! |---|---|
//! | serving certificates, `--client-ca-file`, `--requestheader-client-ca-file` | yes, `server/dynamiccertificates` |
//! | `--proxy-client-cert-file` | yes, the aggregator's dynamic content |
//! | `--kubelet-client-certificate` | yes, `ReloadTLSFiles` in `kubelet/client` |
//! | `--etcd-certfile` | yes, etcd's `TLSInfo` loads it at every handshake |
//! | `--encryption-provider-config` | yes, with `--encryption-provider-config-automatic-reload` |
//! | `--cluster-signing-cert-file` | yes, `certificates/signer` loads it dynamically |
//! | `client-certificate` in a kubeconfig | yes, client-go every five minutes |
//! | `--etcd-cafile`, `--service-account-*-key-file`, `--root-ca-file`, a kubeconfig itself | **no** |
//! | `--egress-selector-config-file` and all files it names | **no**, `server/egressselector` |
//!
//! The last two rows are what [`Issued::files`] is a digest of: a change of them rolls the program, nothing else
//! does.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use skep_api::ControlPlaneSpec;
use skep_datastore::TenantAccess;
use skep_pki::{CaData, Credentials, Kubeconfig, Names, Pem, Reason, encryption_config};
use skep_plan::egress::tunnel as contract;
use skep_plan::flags::Program;
use skep_plan::network;

use crate::Error;
use crate::names;

mod authorities;
mod leaves;
mod stored;

pub use authorities::Authorities;
pub use leaves::FRONT_PROXY_NAME;
pub use stored::{Data, Stored};

use leaves::{Bench, Signer};

/// Everything a tenant's Secrets contain, and when to look again.
#[derive(Debug)]
pub struct Issued {
    /// Content of each Secret, by name.
    pub secrets: BTreeMap<&'static str, Data>,
    /// Digest of what each program reads only once.
    pub files: BTreeMap<Program, String>,
    /// What was issued this time, and why. Empty when all was kept.
    pub news: Vec<(String, Reason)>,
    /// When the first renewal is due.
    pub renewal: Timestamp,
}

/// Stem of what the API server shows to the gateway's tunnels, in its Secret.
pub(crate) const TUNNEL_CLIENT: &str = "tunnel-client";
/// Key of the door's authorities in the API server's Secret; only there for API servers that have to come by the door.
pub(crate) const DOOR_AUTHORITIES: &str = "tunnel-door-ca.crt";

/// The gateway as the tenant's programs reach it.
#[derive(Debug, Clone, Copy)]
pub struct Gateway<'a> {
    /// Its URL.
    pub url: &'a str,
    /// Authorities of its door, for API servers that cannot be told a server name.
    pub door: Option<&'a str>,
}

/// Decides on all certificates of a tenant.
///
/// # Errors
/// A certificate cannot be made; nothing was changed.
pub fn issue(
    spec: &ControlPlaneSpec,
    authorities: &Authorities,
    access: &TenantAccess,
    stored: &Stored,
    gateway: &Gateway<'_>,
    now: Timestamp,
) -> Result<Issued, Error> {
    let ranges = network::check(&spec.network).map_err(|refused| Error::Network(refused.to_string()))?;
    let cluster_ca = authorities.cluster.bundle()?;
    let token_key = &authorities.service_account;
    let kubeconfig = controllers_kubeconfig(spec, gateway.url).to_yaml()?;
    let mut bench = Bench::new(authorities, stored, now);

    let mut api = Data::default();
    bench.place(
        &mut api,
        Program::KubeApiserver.name(),
        "server",
        Signer::Cluster,
        &leaves::api_server(spec, &ranges),
    )?;
    bench.place(
        &mut api,
        Program::KubeApiserver.name(),
        "kubelet-client",
        Signer::Cluster,
        &leaves::kubelet_client(),
    )?;
    bench.place(
        &mut api,
        Program::KubeApiserver.name(),
        "front-proxy-client",
        Signer::FrontProxy,
        &leaves::front_proxy(),
    )?;
    bench.place(
        &mut api,
        Program::KubeApiserver.name(),
        TUNNEL_CLIENT,
        Signer::Tunnel,
        &leaves::tunnel_client(&spec.tenant),
    )?;
    api.put("ca.crt", &cluster_ca);
    // Kept once it was there: an API server that is about to be replaced may start once more and look for it.
    let kept = stored.get(Program::KubeApiserver.name()).and_then(|data| data.text(DOOR_AUTHORITIES));
    if let Some(authorities) = gateway.door.or(kept) {
        api.put(DOOR_AUTHORITIES, authorities);
    }
    let tunnel_cert = api.text(&format!("{TUNNEL_CLIENT}.crt")).unwrap_or_default().to_owned();
    api.put("front-proxy-ca.crt", authorities.front_proxy.bundle()?);
    api.put("service-account.key", token_key.private_pem.as_str());
    api.put("service-account.pub", &token_key.public_pem);
    api.put("encryption.yaml", encryption_config(authorities.encryption));

    let mut kcm = controller(&mut bench, Program::KubeControllerManager, &kubeconfig, &cluster_ca)?;
    let signer = authorities.cluster.signer()?;
    kcm.put("signer.crt", signer.cert_pem());
    kcm.put("signer.key", signer.key_pem().as_str());
    kcm.put("service-account.key", token_key.private_pem.as_str());
    let scheduler = controller(&mut bench, Program::KubeScheduler, &kubeconfig, &cluster_ca)?;

    let mut tunnel = Data::default();
    bench.place(&mut tunnel, contract::SECRET, "server", Signer::Cluster, &leaves::tunnel_server(spec))?;
    tunnel.put(contract::AGENT_AUTHORITIES, &cluster_ca);
    tunnel.put(contract::API_SERVER_AUTHORITIES, authorities.tunnel.bundle()?);

    let mut datastore = Data::default();
    datastore.put("ca.crt", &access.server_ca_pem);
    datastore.put("tls.crt", &access.client.pair.cert_pem);
    datastore.put("tls.key", access.client.pair.key_pem.as_str());
    if let Some(why) = access.client.issued {
        bench.news.push((format!("{}/tls", names::DATASTORE_CLIENT), why));
    }

    let admin_pair =
        bench.ensure(names::ADMIN, "client", Signer::Cluster, &leaves::admin(), stored.admin())?;
    let mut admin = Data::default();
    admin.put(names::KUBECONFIG_KEY, admin_kubeconfig(spec, &cluster_ca, admin_pair).to_yaml()?);

    let files = BTreeMap::from([
        (
            Program::KubeApiserver,
            digest(&[
                &token_key.public_pem,
                &access.server_ca_pem,
                &tunnel_cert,
                gateway.door.unwrap_or(&cluster_ca),
            ]),
        ),
        (Program::KubeControllerManager, digest(&[&token_key.public_pem, &cluster_ca, &kubeconfig])),
        (Program::KubeScheduler, digest(&[&cluster_ca, &kubeconfig])),
    ]);
    let secrets = BTreeMap::from([
        (Program::KubeApiserver.name(), api),
        (Program::KubeControllerManager.name(), kcm),
        (Program::KubeScheduler.name(), scheduler),
        (names::DATASTORE_CLIENT, datastore),
        (contract::SECRET, tunnel),
        (names::ADMIN, admin),
    ]);
    let renewal =
        [bench.renewal, Some(access.client.renewal), authorities.next()].into_iter().flatten().min();
    Ok(Issued { secrets, files, news: bench.news, renewal: renewal.unwrap_or(now) })
}

/// What both controllers have: a serving certificate, a client certificate, a kubeconfig that names it.
fn controller(bench: &mut Bench<'_>, program: Program, kubeconfig: &str, ca: &str) -> Result<Data, Error> {
    let mut data = Data::default();
    bench.place(&mut data, program.name(), "server", Signer::Cluster, &leaves::metrics_server(program))?;
    bench.place(&mut data, program.name(), "client", Signer::Cluster, &leaves::controller(program))?;
    data.put("ca.crt", ca);
    data.put("kubeconfig", kubeconfig);
    Ok(data)
}

/// The kubeconfig of a controller. All paths are relative: they count from the kubeconfig's own directory, wherever it
/// is mounted.
fn controllers_kubeconfig(spec: &ControlPlaneSpec, gateway: &str) -> Kubeconfig {
    let credentials = Credentials::Files { cert: "client.crt".to_owned(), key: "client.key".to_owned() };
    Kubeconfig::new(Names::same("control-plane"), gateway, CaData::File("ca.crt".to_owned()), credentials)
        .tls_server_name(&spec.endpoint.host)
}

fn admin_kubeconfig(spec: &ControlPlaneSpec, ca: &str, pair: skep_pki::KeyPair) -> Kubeconfig {
    let cluster = &spec.cluster;
    let name = format!("{}-{}", cluster.namespace, cluster.name);
    let credentials =
        Credentials::Inline { cert_pem: pair.cert_pem, key_pem: Pem::new(pair.key_pem.into_string()) };
    let names = Names { cluster: name.clone(), user: format!("{name}-admin"), context: name };
    Kubeconfig::new(names, &spec.endpoint.server, CaData::Inline(ca.to_owned()), credentials)
        .tls_server_name(&spec.endpoint.host)
}

/// A short digest of public texts.
pub fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
