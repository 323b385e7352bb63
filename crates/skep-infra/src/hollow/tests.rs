use skep_agent::config::{ClusterFacts, Join, KubeProxyMode, PodNetwork};
use skep_api::{
    MachineClassSpec, NodeTemplate, Provider as Kind, machine::KubeletSettings,
    machine_class::MachineCapacity,
};

use super::*;

pub(crate) fn order(uid: &str) -> Order {
    let capacity =
        MachineCapacity { cpu: "2".into(), memory: "4Gi".into(), ephemeral_storage: "8Gi".into(), pods: 110 };
    let template = NodeTemplate {
        machine_class: "hollow-small".into(),
        version: None,
        labels: [("a".to_owned(), "template".to_owned())].into(),
        taints: Vec::new(),
        kubelet: KubeletSettings { max_pods: Some(20), ..KubeletSettings::default() },
        runtimes: Vec::new(),
    };
    let cluster = ClusterFacts {
        server: "https://127.0.0.1:6443".into(),
        host: "demo-x.skep.internal".into(),
        authorities: "CERT".into(),
        api_server_address: [198, 18, 0, 1].into(),
        service_cidr: "10.96.0.0/16".into(),
        pod_cidr: "10.244.0.0/16".into(),
        cluster_domain: "cluster.local".into(),
        cluster_dns: [10, 96, 0, 10].into(),
        pod_network: PodNetwork::None,
        kube_proxy: KubeProxyMode::Nftables,
    };
    Order {
        uid: uid.into(),
        name: format!("demo-{uid}"),
        namespace: "team".into(),
        cluster: "demo".into(),
        zone: "a".into(),
        class: MachineClassSpec {
            provider: Kind::Hollow,
            capacity: capacity.clone(),
            zones: vec!["a".into()],
            hourly_price: None,
        },
        version: "v1.36.3".parse().unwrap(),
        join: Join {
            node: format!("demo-{uid}"),
            cluster,
            token: "abcdef.0123456789abcdef".into(),
            template,
            zone: "a".into(),
            labels: [("a".to_owned(), "machine".to_owned())].into(),
            capacity,
            registry: None,
        },
    }
}

#[tokio::test]
async fn a_machine_is_there_once_and_again_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let hollow = Hollow::open(dir.path()).unwrap();
    let mut changes = hollow.changes();
    let made = hollow.ensure(&order("u1")).await.unwrap();
    assert_eq!((made.provider_id.as_str(), &made.state), ("skep-hollow://u1", &State::Running));
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert_eq!(hollow.ensure(&order("u1")).await.unwrap(), made);
    assert!(!changes.has_changed().unwrap(), "nothing new is nothing to tell");
    hollow.reboot("u1").await.unwrap();
    assert!(hollow.console("u1").await.unwrap().contains("restarts: 1"));
    drop(hollow);

    // A writer that was killed leaves a file that nobody reads.
    std::fs::write(dir.path().join(".u2.json.new"), "{").unwrap();
    let again = Hollow::open(dir.path()).unwrap();
    assert_eq!(again.get("u1").await.unwrap(), Some(made));
    let machine = again.machines().remove(0);
    assert_eq!((machine.boot, machine.capacity.pods, &*machine.labels["a"]), (1, 20, "machine"));
    again.ensure(&order("u1")).await.unwrap();
    assert_eq!(again.machines()[0].boot, 1, "an order does not restart anything");
    for _ in 0..2 {
        assert_eq!(again.delete("u1").await.unwrap(), Deleted::Gone);
    }
    assert_eq!(Hollow::open(dir.path()).unwrap().machines().len(), 0);
    assert!(matches!(again.reboot("u1").await, Err(Error::NoMachine { .. })));
}

#[tokio::test]
async fn nothing_secret_is_written_and_nothing_leaves_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let hollow = Hollow::open(dir.path()).unwrap();
    hollow.ensure(&order("u1")).await.unwrap();
    let text = std::fs::read_to_string(dir.path().join("u1.json")).unwrap();
    assert!(!text.contains("0123456789abcdef"), "{text}");
    for bad in ["../u2", "", "a/b", "."] {
        assert!(matches!(hollow.ensure(&order(bad)).await, Err(Error::BadOrder { .. })), "{bad:?}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_damaged_record_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("u1.json"), "{}").unwrap();
    let error = Hollow::open(dir.path()).unwrap_err();
    assert!(matches!(&error, Error::Damaged { path, .. } if path.ends_with("u1.json")), "{error}");
}
