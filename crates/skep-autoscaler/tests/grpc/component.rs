//! The component from a cluster's wish to its autoscaler's calls: everything but the program itself.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use skep_autoscaler::Relay;
use skep_autoscaler::component::{self, Config, Offer};
use skep_autoscaler::proto::expander::{BestOptionsRequest, BestOptionsResponse, Choice};
use skep_autoscaler::proto::provider::{NodeGroupsResponse, Nothing};
use skep_controlplane::pki::Authorities;
use skep_kubeops::{Metrics, Recorder};
use skep_pki::{CaData, Credentials, KeyPair, Kubeconfig, Names, Pem};
use skep_testkit::{FakeApiServer, PATIENCE, objects::control_plane};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::bed::{self, CLUSTER, Caller, NAMESPACE};

/// A hub that is its own cell and its own tenants, and the component over it.
struct Bed {
    fake: FakeApiServer,
    address: SocketAddr,
    _stop: DropGuard,
}

/// Plants a cluster with its control plane and what the control plane's controller made for it.
fn plant(fake: &FakeApiServer, name: &str, tenant: &str, autoscaler: &str) {
    let uid = format!("uid-{name}");
    fake.plant(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant}}));
    fake.plant(json!({
        "apiVersion": "skep.dev/v1alpha1", "kind": "Cluster",
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": uid, "generation": 1},
        "spec": {"components": {"autoscaler": autoscaler}},
    }));
    let mut plane = control_plane("v1.36.3", |spec| {
        spec.tenant = tenant.into();
        spec.cluster.namespace = NAMESPACE.into();
        spec.cluster.name = name.into();
        spec.cluster.uid = uid;
    });
    plane.metadata.name = Some(tenant.into());
    plane.metadata.namespace = Some(tenant.into());
    let mut plane = serde_json::to_value(plane).unwrap();
    plane["status"] = json!({"conditions": [{
        "type": "Ready", "status": "True", "reason": "Serving", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]});
    fake.plant(plane);
    let authorities = Authorities::generate(tenant, Timestamp::now()).unwrap().to_data().into_map();
    let secret = |name: &str, data: Value| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": tenant}, "data": data,
        })
    };
    fake.plant(secret("authorities", serde_json::to_value(authorities).unwrap()));
    let inline = Credentials::Inline { cert_pem: "CERT".into(), key_pem: Pem::new("KEY") };
    let config =
        Kubeconfig::new(Names::same("admin"), "https://127.0.0.1:1", CaData::Inline("CA".into()), inline);
    fake.plant(secret("admin-kubeconfig", json!({"value": STANDARD.encode(config.to_yaml().unwrap())})));
}

impl Bed {
    async fn new(offered: bool) -> Self {
        let fake = bed::hub();
        fake.plant(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "skep-system"}}));
        plant(&fake, CLUSTER, "demo-abcd2345", "Managed");
        plant(&fake, "elsewhere", "else-abcd2345", "Managed");
        plant(&fake, "without", "none-abcd2345", "Off");
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let offer = Offer {
            listen: free,
            address: free.to_string(),
            image: "skep.dev/cluster-autoscaler:v1".into(),
            relay: "skep.dev/skep:1".into(),
            stock: None,
        };
        let client = fake.client();
        let tenants = client.clone();
        let config = Config {
            client: client.clone(),
            offer: offered.then_some(offer),
            gateway: "https://127.0.0.1:6443".into(),
            connect: Arc::new(move |_| std::future::ready(Ok(tenants.clone())).boxed()),
            metrics: Metrics::new(),
            recorder: Recorder::new(client, "test", "test"),
        };
        let stop = CancellationToken::new();
        tokio::spawn(component::run(config, stop.clone()));
        Self { fake, address: free, _stop: stop.drop_guard() }
    }

    /// Looks until it gives something.
    async fn eventually<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = look() {
                    return found;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("{what}"))
    }

    fn find(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.fake.objects(resource).into_iter().find(|object| {
            object["metadata"]["name"] == name
                && (namespace.is_empty() || object["metadata"]["namespace"] == namespace)
        })
    }

    /// A text in the Secret of a tenant's autoscaler.
    async fn file(&self, tenant: &str, key: &str) -> String {
        let secret =
            self.eventually("the Secret", || self.find("secrets", tenant, "cluster-autoscaler")).await;
        let data = secret["data"][key].as_str().unwrap_or_else(|| panic!("{key} is not in {secret}"));
        String::from_utf8(STANDARD.decode(data).unwrap()).unwrap()
    }

    /// A caller with the certificate that a tenant's pod was given.
    async fn caller(&self, tenant: &str) -> Caller {
        let ca = self.file(tenant, "provider-ca.crt").await;
        connect(self.address, &ca, Some(&self.pair(tenant).await)).await
    }

    async fn pair(&self, tenant: &str) -> KeyPair {
        let key_pem = Pem::new(self.file(tenant, "provider.key").await);
        KeyPair { cert_pem: self.file(tenant, "provider.crt").await, key_pem }
    }

    fn reason(&self, cluster: &str) -> Option<String> {
        let cluster = self.find("clusters.skep.dev", NAMESPACE, cluster)?;
        let conditions = cluster["status"]["conditions"].as_array()?;
        let one = conditions.iter().find(|one| one["type"] == "AutoscalerReady")?;
        one["reason"].as_str().map(str::to_owned)
    }
}

async fn connect(address: SocketAddr, ca: &str, pair: Option<&KeyPair>) -> Caller {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    if let Some(pair) = pair {
        tls = tls.identity(Identity::from_pem(&pair.cert_pem, pair.key_pem.as_str()));
    }
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap();
    let connect = async {
        loop {
            match endpoint.connect().await {
                Ok(channel) => return Caller::new(channel),
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, connect).await.expect("the server takes connections")
}

async fn groups(caller: &Caller) -> Result<Vec<String>, tonic::Status> {
    let answer: NodeGroupsResponse = caller.provider("NodeGroups", Nothing {}).await?;
    Ok(answer.node_groups.into_iter().map(|group| group.id).collect())
}

#[tokio::test]
async fn each_tenant_is_served_its_own_pools() {
    let bed = Bed::new(true).await;
    bed.eventually("both are installed", || {
        let installed = |cluster: &str| bed.reason(cluster).filter(|reason| reason == "Starting");
        installed(CLUSTER).and(installed("elsewhere"))
    })
    .await;
    let (demo, other) = (bed.caller("demo-abcd2345").await, bed.caller("else-abcd2345").await);
    assert_eq!(groups(&demo).await.unwrap(), ["batch", "web"]);
    assert_eq!(groups(&other).await.unwrap(), ["other"]);
    assert!(
        bed.find("secrets", "none-abcd2345", "cluster-autoscaler").is_none(),
        "who does not ask gets nothing"
    );

    let role =
        bed.find("clusterrolebindings.rbac.authorization.k8s.io", "", "skep:cluster-autoscaler").unwrap();
    assert_eq!(role["subjects"][0]["name"], "system:cluster-autoscaler");
    let deployment = bed.find("deployments.apps", "demo-abcd2345", "cluster-autoscaler").unwrap();
    assert_eq!(deployment["spec"]["strategy"]["type"], "Recreate");
    let config = bed.file("demo-abcd2345", "cloud-config").await;
    assert!(config.contains(&format!("address: {}\n", bed.address)), "{config}");

    // It no longer asks: all of it goes, and its certificate is good for nothing, whether shown already or anew.
    let pair = bed.pair("demo-abcd2345").await;
    let ca = bed.file("demo-abcd2345", "provider-ca.crt").await;
    bed.fake.edit("clusters.skep.dev", NAMESPACE, CLUSTER, |cluster| {
        cluster["spec"]["components"]["autoscaler"] = "Off".into();
        cluster["metadata"]["generation"] = 2.into();
    });
    bed.eventually("the condition is gone", || bed.reason(CLUSTER).is_none().then_some(())).await;
    for resource in ["deployments.apps", "secrets", "networkpolicies.networking.k8s.io"] {
        assert!(bed.find(resource, "demo-abcd2345", "cluster-autoscaler").is_none(), "{resource}");
        assert!(bed.find(resource, "else-abcd2345", "cluster-autoscaler").is_some(), "{resource} of another");
    }
    for caller in [demo, connect(bed.address, &ca, Some(&pair)).await] {
        assert_eq!(groups(&caller).await.unwrap_err().code(), tonic::Code::PermissionDenied);
    }
    assert_eq!(groups(&other).await.unwrap(), ["other"], "another goes on");
}

#[tokio::test]
async fn a_certificate_of_the_authority_without_a_tenant_is_refused() {
    let bed = Bed::new(true).await;
    let ca = bed.file("demo-abcd2345", "provider-ca.crt").await;
    let authority =
        bed.eventually("the authority", || bed.find("secrets", "skep-system", "autoscaler-authority")).await;
    let text = |key: &str| {
        String::from_utf8(STANDARD.decode(authority["data"][key].as_str().unwrap()).unwrap()).unwrap()
    };
    let authority = skep_pki::Authority::from_pem(&text("ca.crt"), &text("ca.key")).unwrap();
    let caller = connect(bed.address, &ca, Some(&bed::client_pair(&authority))).await;
    let refused = groups(&caller).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    assert!(refused.message().contains("SKEP-8102"), "{refused}");
}

#[tokio::test]
async fn the_relay_shows_the_tenants_certificate_to_the_expander() {
    let bed = Bed::new(true).await;
    let directory = tempfile::tempdir().unwrap();
    for name in ["expander-ca.crt", "expander-ca.key", "provider.crt", "provider.key", "provider-ca.crt"] {
        std::fs::write(directory.path().join(name), bed.file("demo-abcd2345", name).await).unwrap();
    }
    let listen = "127.0.0.1:0".parse().unwrap();
    let relay = Relay::bind(listen, &bed.address.to_string(), directory.path()).await.unwrap();
    let (address, stop) = (relay.address().unwrap(), CancellationToken::new());
    let running = tokio::spawn(relay.run(stop.clone()));
    let caller = connect(address, &bed.file("demo-abcd2345", "expander-ca.crt").await, None).await;
    let choice = |group: &str| Choice { node_group_id: group.into(), node_count: 1, ..Choice::default() };
    let ask = || BestOptionsRequest { options: vec![choice("web"), choice("batch")], ..Default::default() };
    let answered = async {
        loop {
            // Until the operator has looked at the cluster, it is a stranger.
            let answer: Result<BestOptionsResponse, _> =
                caller.call("/grpcplugin.Expander/BestOptions", ask()).await;
            match answer {
                Ok(answer) => return answer,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    };
    let answer = tokio::time::timeout(PATIENCE, answered).await.unwrap();
    assert_eq!(answer.options.len(), 2);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn an_installation_without_an_offer_says_so() {
    let bed = Bed::new(false).await;
    let reason = bed.eventually("a condition", || bed.reason(CLUSTER)).await;
    assert_eq!(reason, "NotOffered");
    assert!(bed.find("secrets", "demo-abcd2345", "cluster-autoscaler").is_none());
}
