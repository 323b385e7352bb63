//! A cluster for real nodes: an API server, the gateway's part in front of it, and what the operator does for nodes.

use std::{net::SocketAddr, time::Duration};

use k8s_openapi::{
    ByteString,
    api::{
        certificates::v1::CertificateSigningRequest,
        core::v1::{Node, Secret},
    },
};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use serde_json::json;
use skep_testkit::apiserver::{ApiServer, Options};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{machine::Segment, until};

/// The name in the server's certificate.
pub const HOST: &str = "kubernetes.default.svc";
pub const TOKEN: &str = "abcdef.0123456789abcdef";

pub struct Cluster {
    pub server: ApiServer,
    pub client: Client,
    /// Where nodes reach the gateway.
    pub gateway: SocketAddr,
    /// Connections that came with a PROXY header for the right tenant.
    pub proxied: watch::Receiver<usize>,
}

impl Cluster {
    pub async fn start(segment: &Segment) -> Self {
        let options = Options {
            controller_manager: true,
            crds: Vec::new(),
            apiserver_flags: vec!["--enable-bootstrap-token-auth=true".into()],
            ..Options::default()
        };
        let server = ApiServer::start(options).await.unwrap();
        let client = server.client().await.unwrap();
        let listener = TcpListener::bind((segment.host(), 0)).await.unwrap();
        let gateway = listener.local_addr().unwrap();
        let (count, proxied) = watch::channel(0);
        let target = server.server().strip_prefix("https://").unwrap().to_owned();
        tokio::spawn(async move {
            while let Ok((node, _)) = listener.accept().await {
                tokio::spawn(forward(node, target.clone(), count.clone()));
            }
        });
        let cluster = Self { server, client, gateway, proxied };
        cluster.admit_nodes().await;
        cluster
    }

    /// What the operator makes in a tenant's cluster for its nodes.
    async fn admit_nodes(&self) {
        let (id, secret) = TOKEN.split_once('.').unwrap();
        let data = [
            ("token-id", id),
            ("token-secret", secret),
            ("usage-bootstrap-authentication", "true"),
            ("auth-extra-groups", "system:bootstrappers:skep"),
        ];
        let token = Secret {
            metadata: kube::api::ObjectMeta {
                name: Some(format!("bootstrap-token-{id}")),
                ..Default::default()
            },
            type_: Some("bootstrap.kubernetes.io/token".into()),
            data: Some(data.map(|(key, value)| (key.to_owned(), ByteString(value.into()))).into()),
            ..Secret::default()
        };
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "kube-system");
        until("kube-system", || async { secrets.create(&PostParams::default(), &token).await.ok() }).await;
        for (role, group) in [
            ("system:node-bootstrapper", "system:bootstrappers:skep"),
            ("system:node-proxier", "system:nodes"),
        ] {
            let binding = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": role.replace(':', "-")},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
            });
            let bindings = Api::<k8s_openapi::api::rbac::v1::ClusterRoleBinding>::all(self.client.clone());
            bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
        }
        // So that Service `kubernetes` leads to the address that is on every node.
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "endpoints": [{"addresses": ["198.18.0.1"], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
        });
        let slices =
            Api::<k8s_openapi::api::discovery::v1::EndpointSlice>::namespaced(self.client.clone(), "default");
        let slice = serde_json::from_value(slice).unwrap();
        until("a slice", || async { slices.create(&PostParams::default(), &slice).await.ok() }).await;
        tokio::spawn(sign(self.client.clone(), self.server.authority().pair()));
        tokio::spawn(give_ranges(self.client.clone()));
    }
}

/// Reads a PROXY header, if there is one, as the gateway does.
async fn forward(mut node: TcpStream, target: String, count: watch::Sender<usize>) -> std::io::Result<()> {
    let mut first = [0; 1];
    node.read_exact(&mut first).await?;
    let mut server = TcpStream::connect(target).await?;
    if first == [b'\r'] {
        let mut fixed = [0; 15];
        node.read_exact(&mut fixed).await?;
        let mut rest = vec![0; usize::from(u16::from_be_bytes([fixed[13], fixed[14]]))];
        node.read_exact(&mut rest).await?;
        assert!(rest.ends_with(HOST.as_bytes()), "{rest:?}");
        count.send_modify(|count| *count += 1);
    } else {
        server.write_all(&first).await?;
    }
    copy_bidirectional(&mut node, &mut server).await.map(drop)
}

/// Approves and signs whatever nodes ask for.
async fn sign(client: Client, authority: skep_pki::KeyPair) {
    let api: Api<CertificateSigningRequest> = Api::all(client);
    let key = KeyPair::from_pem(authority.key_pem.as_str()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&authority.cert_pem, key).unwrap();
    loop {
        for request in api.list(&ListParams::default()).await.into_iter().flatten() {
            let name = request.metadata.name.clone().unwrap();
            if request.status.as_ref().is_some_and(|status| status.certificate.is_some()) {
                continue;
            }
            let purpose = match request.spec.signer_name.as_str() {
                "kubernetes.io/kubelet-serving" => ExtendedKeyUsagePurpose::ServerAuth,
                _ => ExtendedKeyUsagePurpose::ClientAuth,
            };
            let pem = String::from_utf8(request.spec.request.0.clone()).unwrap();
            let mut wanted = CertificateSigningRequestParams::from_pem(&pem).unwrap();
            wanted.params.extended_key_usages = vec![purpose];
            wanted.params.not_after = rcgen::date_time_ymd(2096, 1, 1);
            let certificate = wanted.signed_by(&issuer).unwrap();
            let approved = json!({"status": {"conditions": [
                {"type": "Approved", "status": "True", "reason": "Test", "message": "test"},
            ]}});
            if api.patch_approval(&name, &PatchParams::default(), &Patch::Merge(&approved)).await.is_err() {
                continue;
            }
            let status = json!({"status": {"certificate": ByteString(certificate.pem().into_bytes())}});
            let _ = api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Gives each node a range of pods, as kube-controller-manager does with `--allocate-node-cidrs`.
async fn give_ranges(client: Client) {
    let api: Api<Node> = Api::all(client);
    let mut next = 1;
    loop {
        for node in api.list(&ListParams::default()).await.into_iter().flatten() {
            if node.spec.as_ref().is_none_or(|spec| spec.pod_cidr.is_none()) {
                let range = format!("10.244.{next}.0/24");
                let spec = json!({"spec": {"podCIDR": range, "podCIDRs": [range]}});
                let name = node.metadata.name.unwrap();
                if api.patch(&name, &PatchParams::default(), &Patch::Merge(&spec)).await.is_ok() {
                    next += 1;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
