//! A hub with pools, servers over it, and clients.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use prost::Message;
use serde_json::{Value, json};
use skep_autoscaler::{Figures, Rpc, Server, Settings, Tls, TlsFiles};
use skep_kubeops::Metrics;
use skep_pki::{Authority, KeyPair, Leaf};
use skep_testkit::FakeApiServer;
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::client::Grpc;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

pub const NAMESPACE: &str = "team";
pub const CLUSTER: &str = "demo";
const LIFE: Duration = Duration::from_secs(3600);

/// A hub with class `small` and, of the cluster, pool `web` with two ready machines and pool `batch` with none.
pub fn hub() -> FakeApiServer {
    let fake = FakeApiServer::new();
    fake.plant(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}));
    fake.plant(json!({
        "apiVersion": "skep.dev/v1alpha1", "kind": "MachineClass", "metadata": {"name": "small"},
        "spec": {
            "provider": "Local", "zones": ["a", "b"], "hourlyPrice": "0.10",
            "capacity": {"cpu": "2", "memory": "2Gi", "ephemeralStorage": "10Gi", "pods": 110},
        },
    }));
    for (name, replicas, scaling, cluster) in [
        ("web", 2, json!({"min": 1, "max": 5}), CLUSTER),
        ("batch", 0, json!({"min": 0, "max": 10}), CLUSTER),
        ("fixed", 1, Value::Null, CLUSTER),
        ("other", 1, json!({"min": 1, "max": 2}), "elsewhere"),
    ] {
        fake.plant(json!({
            "apiVersion": "skep.dev/v1alpha1", "kind": "NodePool",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "cluster": cluster, "replicas": replicas, "scaling": scaling,
                "template": {"machineClass": "small"},
            },
        }));
    }
    for name in ["web-1", "web-2"] {
        plant_machine(&fake, "web", name, "Ready");
    }
    plant_machine(&fake, "fixed", "fixed-1", "Ready");
    fake
}

/// A machine of a pool; one that is ready has a node and a provider id.
pub fn plant_machine(fake: &FakeApiServer, pool: &str, name: &str, phase: &str) {
    let owner = object(fake, "nodepools.skep.dev", pool)["metadata"]["uid"].clone();
    let joined = phase == "Ready";
    fake.plant(json!({
        "apiVersion": "skep.dev/v1alpha1", "kind": "Machine",
        "metadata": {
            "name": name, "namespace": NAMESPACE,
            "labels": {"skep.dev/cluster": CLUSTER, "skep.dev/pool": pool},
            "ownerReferences": [{
                "apiVersion": "skep.dev/v1alpha1", "kind": "NodePool", "name": pool, "uid": owner, "controller": true,
            }],
        },
        "spec": {"cluster": CLUSTER, "zone": "a", "template": {"machineClass": "small"}},
        "status": {
            "phase": phase, "node": joined.then_some(name),
            "providerId": joined.then(|| format!("skep-local://{name}")),
            "conditions": [{
                "type": "Ready", "status": if joined { "True" } else { "False" },
                "reason": if phase == "Failed" { "OutOfStock" } else { "Waiting" }, "message": "no address is free",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
        },
    }));
}

pub fn object(fake: &FakeApiServer, resource: &str, name: &str) -> Value {
    let found = fake.objects(resource).into_iter().find(|object| object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("there is no {name} among {resource}"))
}

/// `spec.replicas` and `spec.scaling.remove` of a pool.
pub fn size(fake: &FakeApiServer, pool: &str) -> (i64, Vec<String>) {
    let spec = object(fake, "nodepools.skep.dev", pool)["spec"].clone();
    let removed = spec["scaling"]["remove"].as_array().cloned().unwrap_or_default();
    (
        spec["replicas"].as_i64().unwrap(),
        removed.iter().map(|name| name.as_str().unwrap().to_owned()).collect(),
    )
}

pub fn authority(name: &str) -> Authority {
    Authority::generate(name, LIFE, Timestamp::now()).unwrap()
}

pub fn client_pair(authority: &Authority) -> KeyPair {
    authority.issue(&Leaf::client("cluster-autoscaler", LIFE), Timestamp::now()).unwrap()
}

fn server_pair(authority: &Authority) -> KeyPair {
    let leaf = Leaf::server("autoscaler", LIFE).address(IpAddr::V4(Ipv4Addr::LOCALHOST));
    authority.issue(&leaf, Timestamp::now()).unwrap()
}

/// A server that runs until it is dropped.
pub struct Running {
    pub address: SocketAddr,
    pub authority: Authority,
    pub metrics: Metrics,
    pub files: TlsFiles,
    pub tls: std::sync::Arc<Tls>,
    _directory: TempDir,
    _stop: DropGuard,
}

impl Running {
    /// Serves `rpc`; clients need a certificate when `mutual`.
    pub async fn new(rpc: impl Rpc, mutual: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = authority("autoscaler");
        let at = |name: &str| directory.path().join(name);
        let files = TlsFiles {
            certificate: at("tls.crt"),
            key: at("tls.key"),
            client_ca: mutual.then(|| at("ca.crt")),
        };
        write(&files, &authority);
        let tls = Tls::new(&files.read().unwrap()).unwrap();
        let metrics = Metrics::new();
        let settings = Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            tls: tls.clone(),
            figures: Figures::new(&metrics),
        };
        let server = Server::bind(settings).await.unwrap();
        let address = server.address().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(server.run(rpc, stop.clone()));
        Self { address, authority, metrics, files, tls, _directory: directory, _stop: stop.drop_guard() }
    }

    /// A client that trusts the server and shows a certificate, if it has one.
    pub async fn connect(&self, identity: Option<&KeyPair>) -> Result<Caller, String> {
        connect(self.address, &self.authority, identity).await
    }

    /// A client with a certificate of the right authority.
    pub async fn caller(&self) -> Caller {
        self.connect(Some(&client_pair(&self.authority))).await.unwrap()
    }
}

/// New certificates of this authority in the place of the old.
pub fn write(files: &TlsFiles, authority: &Authority) {
    let pair = server_pair(authority);
    std::fs::write(&files.certificate, &pair.cert_pem).unwrap();
    std::fs::write(&files.key, pair.key_pem.as_str()).unwrap();
    if let Some(path) = &files.client_ca {
        std::fs::write(path, authority.cert_pem()).unwrap();
    }
}

pub async fn connect(
    address: SocketAddr,
    trusted: &Authority,
    identity: Option<&KeyPair>,
) -> Result<Caller, String> {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(trusted.cert_pem()));
    if let Some(pair) = identity {
        tls = tls.identity(Identity::from_pem(&pair.cert_pem, pair.key_pem.as_str()));
    }
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap();
    endpoint.connect().await.map(Caller).map_err(|error| format!("{error:?}"))
}

/// Makes calls.
#[derive(Clone)]
pub struct Caller(Channel);

impl Caller {
    pub fn new(channel: Channel) -> Self {
        Self(channel)
    }

    pub async fn call<M, A>(&self, path: &str, message: M) -> Result<A, Status>
    where
        M: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = Grpc::new(self.0.clone()).max_decoding_message_size(128 << 20);
        grpc.ready().await.map_err(|error| Status::unavailable(format!("{error:?}")))?;
        let path = path.parse().unwrap();
        let answer = grpc.unary(Request::new(message), path, ProstCodec::<M, A>::new()).await?;
        Ok(answer.into_inner())
    }

    /// A call of the cloud provider.
    pub async fn provider<M, A>(&self, method: &str, message: M) -> Result<A, Status>
    where
        M: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let service = "clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider";
        self.call(&format!("/{service}/{method}"), message).await
    }
}

/// The provider over this hub.
pub fn provider(client: Client) -> skep_autoscaler::Provider {
    skep_autoscaler::Provider::new(skep_autoscaler::Hub::new(client, NAMESPACE, CLUSTER))
}
