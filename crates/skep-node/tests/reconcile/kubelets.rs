//! What happens on machines and in a tenant's control plane: kubelets that join, and the signer.

use base64::Engine as _;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::DeleteParams;
use kube::{Api, Client};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::{Value, json};
use skep_infra::State;
use skep_testkit::FakeApiServer;

use crate::provider::{FakeProvider, Made, address};

/// Upstream's prefix of the Secrets with tokens.
const PREFIX: &str = "bootstrap-token-";

/// One look of every kubelet at the world: those that have a good token and no node ask for a certificate; those whose
/// request is approved register, and get a pod.
pub async fn step(fake: &FakeApiServer, client: &Client, provider: &FakeProvider) {
    let csrs: Api<CertificateSigningRequest> = Api::all(client.clone());
    let machines = provider.machines();
    for (name, made) in &machines {
        if made.state != State::Running || provider.is_mute(made) || node(fake, name).is_some() {
            continue;
        }
        let request = format!("csr-{name}");
        let stored = fake.objects("certificatesigningrequests.certificates.k8s.io");
        match stored.iter().find(|csr| csr["metadata"]["name"] == request.as_str()) {
            None if token_is_good(fake, &made.order.join.token) => {
                fake.plant(join_request(&request, name, made));
            }
            Some(csr) if csr["status"]["conditions"][0]["type"] == "Approved" => {
                register(fake, name, made);
                csrs.delete(&request, &DeleteParams::default()).await.unwrap();
            }
            _ => {}
        }
    }
    // What nobody waits for any more goes with time.
    for csr in fake.objects("certificatesigningrequests.certificates.k8s.io") {
        let request = csr["metadata"]["name"].as_str().unwrap();
        if request
            .strip_prefix("csr-demo-")
            .is_some_and(|name| !machines.contains_key(&format!("demo-{name}")))
        {
            csrs.delete(request, &DeleteParams::default()).await.unwrap();
        }
    }
}

/// The node of this name.
pub fn node(fake: &FakeApiServer, name: &str) -> Option<Value> {
    fake.objects("nodes").into_iter().find(|node| node["metadata"]["name"] == name)
}

/// The tokens there are.
pub fn tokens(fake: &FakeApiServer) -> Vec<Value> {
    let is_token =
        |secret: &Value| secret["metadata"]["name"].as_str().unwrap_or_default().starts_with(PREFIX);
    fake.objects("secrets").into_iter().filter(is_token).collect()
}

/// A value of a Secret.
pub fn decoded(secret: &Value, key: &str) -> String {
    let text = secret["data"][key].as_str().unwrap_or_default();
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(text).unwrap()).unwrap()
}

/// What the API server does with a bearer token of that form.
fn token_is_good(fake: &FakeApiServer, token: &str) -> bool {
    tokens(fake).iter().any(|secret| {
        let made = format!("{}.{}", decoded(secret, "token-id"), decoded(secret, "token-secret"));
        let expires: k8s_openapi::jiff::Timestamp = decoded(secret, "expiration").parse().unwrap();
        made == token
            && secret["type"] == "bootstrap.kubernetes.io/token"
            && decoded(secret, "usage-bootstrap-authentication") == "true"
            && expires > k8s_openapi::jiff::Timestamp::now()
    })
}

/// A request for a client certificate by a token.
fn join_request(request: &str, name: &str, made: &Made) -> Value {
    let id = made.order.join.token.split('.').next().unwrap().to_owned();
    let groups = json!(["system:bootstrappers", "system:bootstrappers:skep", "system:authenticated"]);
    csr(request, &format!("system:bootstrap:{id}"), groups, name)
}

/// A request for the client certificate of a node.
pub fn csr(request: &str, username: &str, groups: Value, node: &str) -> Value {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
    let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": request},
        "spec": {
            "request": base64::engine::general_purpose::STANDARD.encode(pem),
            "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
            "username": username, "groups": groups, "usages": ["digital signature", "client auth"],
        },
        "status": {},
    })
}

/// A request of a node for what its kubelet serves with, for an address.
pub fn serving_csr(request: &str, node: &str, address: &str) -> Value {
    let mut params = CertificateParams::new(vec![node.to_owned(), address.to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
    let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    let user = format!("system:node:{node}");
    let mut csr = csr(request, &user, json!(["system:nodes", "system:authenticated"]), node);
    csr["spec"]["request"] = json!(base64::engine::general_purpose::STANDARD.encode(pem));
    csr["spec"]["signerName"] = json!("kubernetes.io/kubelet-serving");
    csr["spec"]["usages"] = json!(["digital signature", "server auth"]);
    csr
}

fn register(fake: &FakeApiServer, name: &str, made: &Made) {
    fake.plant(json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": made.order.join.labels},
        "spec": {"providerID": format!("fake://{name}")},
        "status": {
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "posting ready status"}],
            "addresses": [{"type": "InternalIP", "address": address(&made.order.zone).to_string()}],
            "nodeInfo": {"kubeletVersion": made.order.version.to_string(),
                "containerRuntimeVersion": "containerd://2.2.1", "kernelVersion": "6.1.0"},
        },
    }));
    fake.plant(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("app-{name}"), "namespace": "default"},
        "spec": {"nodeName": name}, "status": {"phase": "Running"},
    }));
}
