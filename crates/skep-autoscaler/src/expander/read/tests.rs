//! What upstream sends is understood; what nobody should send is refused and costs little.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::proto::expander::BestOptionsRequest;

/// A pod and a node as `Marshal` of k8s.io/api v0.37.1 writes them, with everything that is skipped here around it.
fn payload(text: &str) -> Bytes {
    STANDARD.decode(text.trim()).unwrap().into()
}

fn real_pod() -> Bytes {
    payload(include_str!("../../../tests/payloads/pod.b64"))
}

fn real_node() -> Bytes {
    payload(include_str!("../../../tests/payloads/node.b64"))
}

fn choice(group: &str, pods: Vec<Bytes>) -> Choice {
    Choice { node_group_id: group.into(), node_count: 2, debug: String::new(), pod_bytes: pods }
}

fn request(options: Vec<Choice>, nodes: &[(&str, Bytes)]) -> Bytes {
    let node_bytes_map: BTreeMap<_, _> =
        nodes.iter().map(|(group, bytes)| ((*group).to_owned(), bytes.to_vec())).collect();
    BestOptionsRequest { options, node_bytes_map }.encode_to_vec().into()
}

#[test]
fn payloads_of_upstream_are_read() {
    let message = request(
        vec![choice("a", vec![real_pod()]), choice("b", vec![real_pod(), real_pod()])],
        &[("a", real_node())],
    );
    let candidates = candidates(message).unwrap();
    assert_eq!((candidates[0].group.as_str(), candidates[0].nodes, candidates[1].pods.len()), ("a", 2, 2));
    assert_eq!(candidates[0].node.as_ref().unwrap()["topology.kubernetes.io/zone"], "a");
    assert_eq!(candidates[1].node, None);
    assert!(Arc::ptr_eq(&candidates[0].pods[0], &candidates[1].pods[1]), "the same bytes are read once");

    let requirement = |key: &str, operator, values: &[&str]| Requirement {
        key: key.into(),
        operator,
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    let (zone, hostname) = ("topology.kubernetes.io/zone", "kubernetes.io/hostname");
    let term = |key: &str, requirements, namespaces| Term {
        key: key.into(),
        selector: Some(Selector(requirements)),
        namespaces,
    };
    let expected = Pod {
        namespace: "shop".into(),
        labels: [("app", "db"), ("pod-template-hash", "abc")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
        apart: vec![
            term(zone, vec![requirement("app", Operator::In, &["db"])], Namespaces::Own),
            term(
                hostname,
                vec![requirement("tier", Operator::NotIn, &["web", "job"])],
                Namespaces::These(vec!["other".into()]),
            ),
            term(hostname, vec![], Namespaces::All),
        ],
        spread: vec![Spread { key: zone.into() }],
    };
    assert_eq!(*candidates[0].pods[0], expected);
}

#[test]
fn what_is_too_much_is_refused_before_it_is_decoded() {
    let many = |count: usize| Bytes::from([0x0a, 0x00].repeat(count));
    assert_eq!(candidates(many(OPTIONS)).unwrap().len(), OPTIONS);
    for (message, word) in [
        (many(OPTIONS + 1), "2001 options"),
        // Sixteen million empty options would be gigabytes.
        (many(8 << 20), "8388608 options"),
        (request(vec![choice("a", vec![Bytes::new(); PODS + 1])], &[]), "100001 pods"),
        (request(vec![choice("a", vec![Bytes::new(); PODS / 2 + 1]); 2], &[]), "100002 pods"),
        (request(vec![choice("a", vec![vec![0; OBJECT + 1].into()])], &[]), "bytes in a pod"),
        (request(vec![choice("a", vec![])], &[("a", vec![0; OBJECT + 1].into())]), "bytes in a node"),
        (request(vec![choice(&"a".repeat(NAME + 1), vec![])], &[]), "node group's name"),
        (request(vec![Choice { node_count: -1, ..choice("a", vec![]) }], &[]), "would get -1 nodes"),
        (
            request(vec![choice("a", vec![Bytes::from_static(b"\xff\xff")])], &[]),
            "a pod for node group \"a\"",
        ),
        (
            request(vec![choice("a", vec![])], &[("a", Bytes::from_static(b"\x0a\xff"))]),
            "the node of node group",
        ),
        (Bytes::from_static(b"\x0a\x05ab"), "the request cannot be decoded"),
    ] {
        let said = candidates(message).unwrap_err();
        assert!(said.contains(word), "{word:?} is missing in {said:?}");
    }
}

#[test]
fn parts_of_a_pod_are_counted() {
    let pod = |terms: usize, values: usize, operator: &str| {
        let expression = core::LabelSelectorRequirement {
            key: "k".into(),
            operator: operator.into(),
            values: vec!["v".into(); values],
        };
        let selector = LabelSelector { match_expressions: vec![expression], ..Default::default() };
        let term = PodAffinityTerm { label_selector: Some(selector), ..Default::default() };
        let anti = core::PodAntiAffinity { required: vec![term; terms] };
        let spec = core::PodSpec {
            affinity: Some(core::Affinity { pod_anti_affinity: Some(anti) }),
            ..Default::default()
        };
        let pod = core::Pod { metadata: None, spec: Some(spec) };
        candidates(request(vec![choice("a", vec![pod.encode_to_vec().into()])], &[]))
    };
    assert!(pod(PARTS, VALUES, "In").is_ok());
    for (said, word) in [
        (pod(PARTS + 1, 1, "In"), "65 anti-affinity terms"),
        (pod(1, VALUES + 1, "In"), "257 values"),
        (pod(1, 1, "Like"), "the operator \"Like\""),
    ] {
        assert!(said.unwrap_err().contains(word), "{word}");
    }
}

proptest! {
    #[test]
    fn nothing_that_is_sent_brings_it_down(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = candidates(bytes.into());
    }

    #[test]
    fn a_damaged_pod_is_read_or_refused(at in 0..500_usize, new in any::<u8>(), length in 0..900_usize) {
        let mut pod = real_pod().to_vec();
        pod.truncate(length);
        if let Some(byte) = pod.get_mut(at) {
            *byte = new;
        }
        let _ = candidates(request(vec![choice("a", vec![pod.into()])], &[]));
    }
}
