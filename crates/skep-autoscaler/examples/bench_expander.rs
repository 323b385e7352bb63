//! How long the expander takes for 500 options: `cargo run --release -p skep-autoscaler --example bench_expander`.
//!
//! The whole way is measured: TLS, decoding, rules, answer. The hub is in memory. Two loads: the same ten pods in all options,
//! as upstream sends them for one workload; and pods that are different in every option, which it never sends.

#![allow(clippy::unwrap_used, reason = "a bench that cannot run should say so loudly")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use prost::Message as _;
use serde_json::json;
use skep_autoscaler::proto::core::{
    Affinity, LabelSelector, Node, ObjectMeta, Pod, PodAffinityTerm, PodAntiAffinity, PodSpec,
};
use skep_autoscaler::proto::expander::{BestOptionsRequest, BestOptionsResponse, Choice};
use skep_autoscaler::{Expander, Figures, Hub, Server, Settings, Tls, TlsFiles};
use skep_kubeops::{Metrics, Recorder};
use skep_pki::{Authority, Leaf};
use skep_testkit::FakeApiServer;
use tokio_util::sync::CancellationToken;
use tonic::client::Grpc;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic_prost::ProstCodec;

const OPTIONS: usize = 500;
const PODS: usize = 10;
/// What a pod of a real workload has besides what is read of it: containers, volumes, status.
const REST: usize = 1500;
const ROUNDS: usize = 9;
const LIFE: Duration = Duration::from_secs(3600);
const GOAL: Duration = Duration::from_millis(50);

fn pod(name: &str) -> Bytes {
    let labels: std::collections::BTreeMap<_, _> = [("app".to_owned(), "web".to_owned())].into();
    let term = PodAffinityTerm {
        label_selector: Some(LabelSelector { match_labels: labels.clone(), ..Default::default() }),
        topology_key: "kubernetes.io/hostname".into(),
        ..Default::default()
    };
    let affinity = Affinity { pod_anti_affinity: Some(PodAntiAffinity { required: vec![term] }) };
    let pod = Pod {
        metadata: Some(ObjectMeta { name: name.into(), namespace: "default".into(), labels }),
        spec: Some(PodSpec { affinity: Some(affinity), ..Default::default() }),
    };
    let mut bytes = pod.encode_to_vec();
    // Field 3, the status: skipped.
    prost::encoding::bytes::encode(3, &vec![7_u8; REST], &mut bytes);
    bytes.into()
}

fn request(different: bool) -> BestOptionsRequest {
    let name = |option: usize| format!("pool-{option}");
    let node = |option: usize| {
        let labels = [
            ("topology.kubernetes.io/zone".to_owned(), ["a", "b"][option % 2].to_owned()),
            ("kubernetes.io/hostname".to_owned(), name(option)),
        ];
        let metadata = ObjectMeta { name: name(option), labels: labels.into(), ..Default::default() };
        Node { metadata: Some(metadata), ..Default::default() }.encode_to_vec()
    };
    let choice = |option: usize| {
        let of = if different { option } else { 0 };
        Choice {
            node_group_id: name(option),
            node_count: i32::try_from(PODS).unwrap(),
            debug: String::new(),
            pod_bytes: (0..PODS).map(|n| pod(&format!("web-{of}-{n}"))).collect(),
        }
    };
    BestOptionsRequest {
        options: (0..OPTIONS).map(choice).collect(),
        node_bytes_map: (0..OPTIONS).map(|option| (name(option), node(option))).collect(),
    }
}

fn hub() -> FakeApiServer {
    let fake = FakeApiServer::new();
    fake.plant(json!({
        "apiVersion": "skep.dev/v1alpha1", "kind": "MachineClass", "metadata": {"name": "small"},
        "spec": {
            "provider": "Local", "zones": ["a", "b"], "hourlyPrice": "0.10",
            "capacity": {"cpu": "2", "memory": "2Gi", "ephemeralStorage": "10Gi", "pods": 110},
        },
    }));
    for option in 0..OPTIONS {
        fake.plant(json!({
            "apiVersion": "skep.dev/v1alpha1", "kind": "NodePool",
            "metadata": {"name": format!("pool-{option}"), "namespace": "default"},
            "spec": {
                "cluster": "demo", "replicas": 0, "scaling": {"min": 0, "max": 100},
                "template": {"machineClass": "small"},
            },
        }));
    }
    fake
}

#[tokio::main]
async fn main() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let authority = Authority::generate("bench", LIFE, Timestamp::now()).unwrap();
    let leaf = Leaf::server("expander", LIFE).address(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let pair = authority.issue(&leaf, Timestamp::now()).unwrap();
    std::fs::write(at("crt"), &pair.cert_pem).unwrap();
    std::fs::write(at("key"), pair.key_pem.as_str()).unwrap();
    let files = TlsFiles { certificate: at("crt"), key: at("key"), client_ca: None };

    let fake = hub();
    let recorder = Recorder::new(fake.client(), skep_autoscaler::NAME, "bench");
    let expander = Expander::new(Hub::new(fake.client(), "default", "demo"), None, recorder);
    let settings = Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: Tls::new(&files.read().unwrap()).unwrap(),
        figures: Figures::new(&Metrics::new()),
    };
    let server = Server::bind(settings).await.unwrap();
    let address = server.address().unwrap();
    tokio::spawn(server.run(expander, CancellationToken::new()));
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.cert_pem()));
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap();
    let channel = endpoint.connect().await.unwrap();

    for (what, different) in
        [("the same pods in all options", false), ("different pods in every option", true)]
    {
        let message = request(different);
        let size = message.encoded_len() >> 20;
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            let mut grpc = Grpc::new(channel.clone());
            grpc.ready().await.unwrap();
            let request = tonic::Request::new(message.clone());
            let codec = ProstCodec::<BestOptionsRequest, BestOptionsResponse>::new();
            let began = Instant::now();
            let path = "/grpcplugin.Expander/BestOptions".parse().unwrap();
            let answer = grpc.unary(request, path, codec).await.unwrap().into_inner();
            took.push(began.elapsed());
            assert!(!answer.options.is_empty());
        }
        took.sort();
        let (median, most) = (took[ROUNDS / 2], took[ROUNDS - 1]);
        let verdict = if median <= GOAL { "within" } else { "above" };
        println!("{OPTIONS} options, {PODS} pods each, {size} MiB, {what}:");
        println!("  least {:?}, median {median:?}, most {most:?}; {verdict} the goal of {GOAL:?}", took[0]);
    }
}
