//! The same against a real API server, which is hub and tenant at once: what it takes, what it lets whom do, what its
//! garbage collector does. Only machines, kubelets and the signer are played.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use http::Request;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use serde_json::{Value, json};
use skep_agent::config::PodNetwork;
use skep_api::{Cluster, ControlPlane, Machine, NodePool, Provider};
use skep_kubeops::{ClientConfig, Metrics, Recorder};
use skep_node::{Config, Infrastructure, NodeCredentials};
use skep_testkit::{ApiServer, Options, PATIENCE};
use tokio_util::sync::CancellationToken;

use crate::provider::{FakeProvider, address};
use crate::world::TENANT;

struct Bed {
    server: ApiServer,
    client: Client,
    provider: FakeProvider,
}

async fn until<T, F: Future<Output = Result<Option<T>>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> Result<T> {
    let looking = async {
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.with_context(|| format!("no {what}"))?
}

impl Bed {
    async fn new() -> Result<Self> {
        let flags = ["--enable-bootstrap-token-auth=true", "--enable-admission-plugins=NodeRestriction"];
        let options = Options {
            controller_manager: true,
            apiserver_flags: flags.map(str::to_owned).to_vec(),
            ..Options::default()
        };
        let server = ApiServer::start(options).await?;
        let client = server.client().await?;
        let bed = Self { server, client, provider: FakeProvider::default() };
        bed.plant().await?;
        Ok(bed)
    }

    async fn create(&self, path: &str, object: Value) -> Result<Value> {
        let request = Request::post(path).body(object.to_string().into_bytes())?;
        self.client.request(request).await.with_context(|| format!("POST {path}"))
    }

    async fn get(&self, path: &str) -> Result<Value> {
        Ok(self.client.request(Request::get(path).body(Vec::new())?).await?)
    }

    /// A cluster that serves: the API server itself.
    async fn plant(&self) -> Result<()> {
        let endpoint = json!({"server": self.server.server(), "host": "kubernetes.default.svc"});
        self.create("/api/v1/namespaces", json!({"metadata": {"name": TENANT}})).await?;
        for file in [
            include_str!("../../../../deploy/catalogue/machine-classes.yaml"),
            include_str!("../../../../deploy/catalogue/releases.yaml"),
        ] {
            for object in serde_saphyr::from_multiple::<Value>(file)? {
                let plural = if object["kind"] == "Release" { "releases" } else { "machineclasses" };
                self.create(&format!("/apis/skep.dev/v1alpha1/{plural}"), object).await?;
            }
        }
        let mut plane = serde_json::to_value(skep_testkit::objects::control_plane("v1.36.3", |_| {}))?;
        (plane["spec"]["endpoint"], plane["metadata"]["namespace"]) = (endpoint.clone(), json!(TENANT));
        plane["spec"]["cluster"] = json!({"namespace": "default", "name": "demo", "uid": "c-uid"});
        let planes: Api<ControlPlane> = Api::namespaced(self.client.clone(), TENANT);
        planes.create(&PostParams::default(), &serde_json::from_value(plane)?).await?;
        let clusters: Api<Cluster> = Api::namespaced(self.client.clone(), "default");
        clusters.create(&PostParams::default(), &Cluster::new("demo", Default::default())).await?;
        let status = json!({"status": {"tenant": TENANT, "version": "v1.36.3", "endpoint": endpoint, "conditions": [{
            "type": "Ready", "status": "True", "reason": "Serving", "message": "it serves",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        clusters.patch_status("demo", &PatchParams::default(), &Patch::Merge(&status)).await?;
        let value = base64::engine::general_purpose::STANDARD.encode(self.server.kubeconfig());
        self.create(
            "/api/v1/namespaces/default/secrets",
            json!({"metadata": {"name": "demo-kubeconfig"}, "type": "cluster.x-k8s.io/secret", "data": {"value": value}}),
        )
        .await?;
        Ok(())
    }

    fn config(&self) -> Config {
        let infrastructure = Infrastructure {
            provider: Arc::new(self.provider.clone()),
            gateway: "https://198.19.1.1:6443".into(),
            pod_network: PodNetwork::HostGw,
            registry: None,
            resolver: false,
            credentials: NodeCredentials::Own,
        };
        Config::new(
            self.client.clone(),
            self.server.server().to_owned(),
            HashMap::from([(Provider::Local, Ok(infrastructure))]),
            Metrics::default(),
            Recorder::new(self.client.clone(), "skep-operator", "test"),
        )
    }

    /// A client with this bearer token, as a kubelet has before it has joined.
    fn by_token(&self, token: &str) -> Result<Client> {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "c", "cluster": {"server": self.server.server(), "certificate-authority-data":
                base64::engine::general_purpose::STANDARD.encode(self.server.authority().cert_pem())}}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        });
        self.build(config)
    }

    /// A client with the certificate that the signer would have given the node.
    fn as_node(&self, name: &str) -> Result<Client> {
        let leaf = skep_pki::Leaf::client(format!("system:node:{name}"), Duration::from_secs(3600))
            .organization("system:nodes");
        let pair = self.server.authority().issue(&leaf, k8s_openapi::jiff::Timestamp::now())?;
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "c", "cluster": {"server": self.server.server(), "certificate-authority-data":
                encode(self.server.authority().cert_pem())}}],
            "users": [{"name": "u", "user": {"client-certificate-data": encode(&pair.cert_pem),
                "client-key-data": encode(pair.key_pem.as_str())}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        });
        self.build(config)
    }

    fn build(&self, config: Value) -> Result<Client> {
        let config = futures::executor::block_on(ClientConfig::from_yaml(&config.to_string()))?;
        Ok(config.retries(0).build("test")?)
    }

    async fn machine(&self) -> Result<Option<Value>> {
        let machines = self.get("/apis/skep.dev/v1alpha1/namespaces/default/machines").await?;
        Ok(machines["items"].as_array().and_then(|items| items.first().cloned()))
    }

    async fn phase(&self, phase: &str) -> Result<Value> {
        let found = until(phase, || async {
            Ok(self.machine().await?.filter(|machine| machine["status"]["phase"] == phase))
        });
        match found.await {
            Ok(machine) => Ok(machine),
            Err(error) => Err(error.context(format!("{:#?}", self.machine().await?))),
        }
    }

    /// Asks for a certificate and waits for the verdict: its type and reason.
    async fn ask(
        &self,
        client: &Client,
        name: &str,
        signer: &str,
        node: &str,
        names: Vec<SanType>,
    ) -> Result<String> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
        params.subject_alt_names = names;
        let pem = params.serialize_request(&KeyPair::generate()?)?.pem()?;
        let kind = if signer.ends_with("serving") { "server auth" } else { "client auth" };
        let csr = json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
            "spec": {"request": base64::engine::general_purpose::STANDARD.encode(pem), "signerName": signer,
                "usages": ["digital signature", kind]},
        });
        let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
        let request = Request::post(path).body(csr.to_string().into_bytes())?;
        let _: DynamicObject =
            client.request(request).await.with_context(|| format!("{name} is not taken"))?;
        until(&format!("verdict on {name}"), || async {
            let csr = self.get(&format!("{path}/{name}")).await?;
            let condition = &csr["status"]["conditions"][0];
            Ok(condition["type"]
                .as_str()
                .map(|type_| format!("{type_} {}", condition["reason"].as_str().unwrap_or_default())))
        })
        .await
    }
}

const CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const SERVING: &str = "kubernetes.io/kubelet-serving";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_api_server_agrees() -> Result<()> {
    let bed = Bed::new().await?;
    let stop = CancellationToken::new();
    let running = tokio::spawn(skep_node::run(bed.config(), stop.clone()));
    let _stop = stop.clone().drop_guard();
    let pools: Api<NodePool> = Api::namespaced(bed.client.clone(), "default");
    let pool = serde_json::from_value(json!({"metadata": {"name": "workers"},
        "spec": {"cluster": "demo", "replicas": 1, "template": {"machineClass": "local-small"}}}))?;
    pools.create(&PostParams::default(), &pool).await?;

    bounds_that_contradict_are_refused(&pools).await?;
    let name = joins(&bed).await?;
    its_spec_is_guarded(&bed, &name).await?;
    leaves(&bed, &pools, &name).await?;

    // One more, which goes with its cluster.
    let scale = json!({"spec": {"replicas": 1}});
    pools.patch_scale("workers", &PatchParams::default(), &Patch::Merge(&scale)).await?;
    bed.phase("Joining").await?;
    let clusters: Api<Cluster> = Api::namespaced(bed.client.clone(), "default");
    clusters.delete("demo", &DeleteParams::default()).await?;
    until("end of all machines", || async { Ok(bed.machine().await?.is_none().then_some(())) }).await?;
    ensure!(bed.provider.machines().is_empty() && pools.get_opt("workers").await?.is_none());
    stop.cancel();
    running.await?;
    Ok(())
}

/// The machine's token gets it a certificate for its own name and for nobody else's; as a node it may do what a node does.
async fn joins(bed: &Bed) -> Result<String> {
    let machine = bed.phase("Joining").await?;
    let name = machine["metadata"]["name"].as_str().context("no name")?.to_owned();
    let made = bed.provider.machines().remove(&name).context("not made")?;
    let kubelet = bed.by_token(&made.order.join.token)?;
    ensure!(bed.ask(&kubelet, "other", CLIENT, "demo-workers-other", vec![]).await? == "Denied OtherName");
    ensure!(bed.ask(&kubelet, "own", CLIENT, &name, vec![]).await? == "Approved Machine");
    let forbidden = kubelet.request::<Value>(Request::get("/api/v1/secrets").body(Vec::new())?).await;
    ensure!(
        forbidden.is_err_and(|error| error.to_string().contains("forbidden")),
        "a token may ask, and nothing else"
    );

    let node = bed.as_node(&name)?;
    let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": made.order.join.labels},
        "spec": {"providerID": format!("fake://{name}")}});
    let request = Request::post("/api/v1/nodes").body(object.to_string().into_bytes())?;
    let _: Value =
        node.request(request).await.context("the labels of a machine are such that a node may have")?;
    let status = json!({"status": {
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "fine",
            "lastHeartbeatTime": k8s_openapi::jiff::Timestamp::now().to_string()}],
        "addresses": [{"type": "InternalIP", "address": address("a").to_string()}],
        "nodeInfo": {"machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "6.1", "osImage": "",
            "containerRuntimeVersion": "containerd://2.2.1", "kubeletVersion": "v1.36.3", "kubeProxyVersion": "",
            "operatingSystem": "linux", "architecture": "amd64"}}});
    let request = Request::patch(format!("/api/v1/nodes/{name}/status"))
        .header("content-type", "application/merge-patch+json")
        .body(status.to_string().into_bytes())?;
    let _: Value = node.request(request).await?;
    let machine = bed.phase("Ready").await?;
    ensure!(machine["status"]["versions"]["kubelet"] == "v1.36.3", "{machine:#}");
    let tokens = bed
        .get("/api/v1/namespaces/kube-system/secrets?fieldSelector=type%3Dbootstrap.kubernetes.io/token")
        .await?;
    ensure!(tokens["items"].as_array().is_some_and(Vec::is_empty), "its token is taken back");

    let dns = |name: &str| Ok::<_, rcgen::Error>(SanType::DnsName(name.try_into()?));
    let own = SanType::IpAddress(address("a").into());
    ensure!(
        bed.ask(&node, "serving", SERVING, &name, vec![dns(&name)?, own.clone()]).await?
            == "Approved Machine"
    );
    let stolen = vec![dns("kubernetes.default.svc")?, own];
    ensure!(bed.ask(&node, "stolen", SERVING, &name, stolen).await? == "Denied OtherNames");
    ensure!(bed.ask(&node, "renewal", CLIENT, &name, vec![]).await? == "Approved Machine");
    // What kube-proxy and the agent need of the kubelet's certificate.
    for path in ["/api/v1/services", "/api/v1/nodes", "/apis/discovery.k8s.io/v1/endpointslices"] {
        let _: Value =
            node.request(Request::get(path).body(Vec::new())?).await.with_context(|| path.to_owned())?;
    }
    Ok(name)
}

/// At once, whoever writes them, and also through the subresource that autoscalers use.
async fn bounds_that_contradict_are_refused(pools: &Api<NodePool>) -> Result<()> {
    let within = "replicas must be within scaling.min and scaling.max";
    let of = |spec: Value| {
        let mut pool = json!({"metadata": {"name": "bounds"},
            "spec": {"cluster": "demo", "template": {"machineClass": "local-small"}}});
        for (field, value) in spec.as_object().into_iter().flatten() {
            pool["spec"][field] = value.clone();
        }
        serde_json::from_value::<NodePool>(pool)
    };
    for (spec, words) in [
        (json!({"scaling": {"min": 3, "max": 2}}), "scaling.min must not be above scaling.max"),
        (json!({"replicas": 4, "scaling": {"min": 1, "max": 3}}), within),
        (json!({"replicas": 0, "scaling": {"min": 1, "max": 3}}), within),
        (json!({"scaling": {"min": -1, "max": 3}}), "greater than or equal to 0"),
        (json!({"replicas": 5001}), "less than or equal to 5000"),
        (
            json!({"update": {"strategy": "Surge", "maxSurge": 0, "maxUnavailable": 0}}),
            "one of maxSurge and maxUnavailable must be above 0",
        ),
    ] {
        let refusal = pools.create(&PostParams::default(), &of(spec.clone())?).await.err();
        let text = refusal.map(|error| error.to_string()).unwrap_or_default();
        ensure!(text.contains(words), "{spec}: {text:?}");
        ensure!(pools.get_opt("bounds").await?.is_none());
    }
    // Without a cluster nobody makes machines of it.
    let mut bounded = of(json!({"replicas": 0, "scaling": {"min": 0, "max": 3}}))?;
    bounded.spec.cluster = "no-such-cluster".into();
    pools.create(&PostParams::default(), &bounded).await?;
    let scale = Patch::Merge(json!({"spec": {"replicas": 4}}));
    let refusal = pools.patch_scale("bounds", &PatchParams::default(), &scale).await.err();
    let text = refusal.map(|error| error.to_string()).unwrap_or_default();
    ensure!(text.contains(within), "{text:?}");
    pools.delete("bounds", &DeleteParams::default()).await?;
    Ok(())
}

async fn its_spec_is_guarded(bed: &Bed, name: &str) -> Result<()> {
    let machines: Api<Machine> = Api::namespaced(bed.client.clone(), "default");
    for (change, words) in [
        (json!({"zone": "b"}), "zone cannot change"),
        (json!({"cluster": "other"}), "cluster cannot change"),
        (json!({"template": {"machineClass": "local-medium"}}), "machineClass cannot change"),
        (json!({"drain": {"timeoutSeconds": -1}}), "greater than or equal to 0"),
    ] {
        let patch = Patch::Merge(json!({"spec": change}));
        let refusal = machines.patch(name, &PatchParams::default(), &patch).await;
        let text = refusal.err().map(|error| error.to_string()).unwrap_or_default();
        ensure!(text.contains(words), "{change}: {text:?}");
    }
    Ok(())
}

/// A disruption budget holds the node until it is taken away.
async fn leaves(bed: &Bed, pools: &Api<NodePool>, name: &str) -> Result<()> {
    let pods = "/api/v1/namespaces/default/pods";
    bed.create(
        pods,
        json!({"metadata": {"name": "app", "labels": {"app": "x"}}, "spec": {"nodeName": name,
            "containers": [{"name": "c", "image": "x"}], "terminationGracePeriodSeconds": 30}}),
    )
    .await?;
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    let api: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(bed.client.clone(), "default");
    api.patch_status("app", &PatchParams::default(), &Patch::Merge(&ready)).await?;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    bed.create(budgets, json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}}))
        .await?;
    until("budget", || async {
        let budget = bed.get(&format!("{budgets}/b")).await?;
        Ok((budget["status"]["currentHealthy"] == 1).then_some(()))
    })
    .await?;
    let scale = json!({"spec": {"replicas": 0}});
    pools.patch_scale("workers", &PatchParams::default(), &Patch::Merge(&scale)).await?;
    let held = until("word of the budget", || async {
        let machine = bed.machine().await?.context("gone although its pod was held")?;
        let text = machine["status"]["conditions"].to_string();
        Ok(text.contains("default/app (its disruption budget holds it)").then_some(machine))
    })
    .await?;
    ensure!(held["status"]["phase"] == "Draining");
    ensure!(bed.get(&format!("/api/v1/nodes/{name}")).await?["spec"]["unschedulable"] == true);

    let _: Value = bed.client.request(Request::delete(format!("{budgets}/b")).body(Vec::new())?).await?;
    until("eviction", || async {
        let pod = bed.get(&format!("{pods}/app")).await?;
        Ok((!pod["metadata"]["deletionTimestamp"].is_null()).then_some(()))
    })
    .await?;
    // The kubelet has ended it.
    api.delete("app", &DeleteParams::default().grace_period(0)).await?;
    until("end of the machine", || async { Ok(bed.machine().await?.is_none().then_some(())) }).await?;
    ensure!(bed.provider.machines().is_empty());
    let nodes = bed.get("/api/v1/nodes").await?;
    ensure!(nodes["items"].as_array().is_some_and(Vec::is_empty), "{nodes:#}");
    Ok(())
}
