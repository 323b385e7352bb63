//! Kubeconfigs: what is written, what is read, and that a person's own file is safe.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};
use skep_pki::kubeconfig::{contexts, merge, remove};
use skep_pki::{CaData, Credentials, Kubeconfig, Names, Pem};

fn config(name: &str) -> Kubeconfig {
    Kubeconfig::new(
        Names::same(name),
        "https://127.0.0.1:6443",
        CaData::Inline("CA of ".to_owned() + name),
        Credentials::Inline { cert_pem: "cert".into(), key_pem: Pem::new("key") },
    )
    .tls_server_name("demo.skep.internal")
}

fn tree(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).unwrap()
}

const THEIRS: &str = r#"
apiVersion: v1
kind: Config
preferences: {colors: true}
future-field: {kept: [1, 2.5, "3", null, true]}
current-context: work
clusters:
- name: work
  cluster:
    server: https://work.example:6443
    certificate-authority: ca.crt
    extensions:
    - name: tool
      extension: {note: "on", version: "1.10", number: 12}
- name: skep-demo
  cluster: {server: "https://old"}
contexts:
- name: work
  context: {cluster: work, user: me, namespace: "no"}
users:
- name: me
  user:
    exec: {command: login, apiVersion: client.authentication.k8s.io/v1, args: ["--yes", "1e3"]}
"#;

#[test]
fn files_round_trip() {
    let inline = config("demo").namespace("team");
    assert_eq!(Kubeconfig::parse(&inline.to_yaml().unwrap()).unwrap(), inline);
    let files = Kubeconfig {
        ca: CaData::File("ca.crt".into()),
        credentials: Credentials::Files { cert: "tls.crt".into(), key: "tls.key".into() },
        tls_server_name: None,
        ..config("kcm")
    };
    assert_eq!(Kubeconfig::parse(&files.to_yaml().unwrap()).unwrap(), files);
    assert!(!files.is_self_contained() && inline.is_self_contained());
}

#[test]
fn merging_keeps_everything_else() {
    let merged = merge(THEIRS, &config("skep-demo")).unwrap();
    let (before, mut after) = (tree(THEIRS), tree(&merged));
    assert_eq!(after["current-context"], "skep-demo");
    assert_eq!(after["clusters"][1]["cluster"]["server"], "https://127.0.0.1:6443", "replaced in its place");
    assert_eq!(after["clusters"].as_array().unwrap().len(), 2);
    assert_eq!(after["contexts"].as_array().unwrap().len(), 2);
    // Everything else is as it was.
    after["current-context"] = json!("work");
    after["clusters"][1] = before["clusters"][1].clone();
    after["contexts"].as_array_mut().unwrap().pop();
    after["users"].as_array_mut().unwrap().pop();
    assert_eq!(after, before);
    let (names, current) = contexts(&merged).unwrap();
    assert_eq!((names, current.as_deref()), (vec!["work".into(), "skep-demo".into()], Some("skep-demo")));
}

/// kubectl reads YAML 1.1: what it takes for a number or a boolean must stay one, and what is text must stay text.
#[test]
fn scalars_mean_the_same_to_kubectl() {
    let theirs = "a: yes\nb: 'yes'\nc: 0123\nd: '0123'\ne: 1.10\nf: '1.10'\ng: 1_000\nh: ~\n";
    let merged = merge(theirs, &config("demo")).unwrap();
    for line in
        ["a: true", "b: \"yes\"", "c: 83", "d: \"0123\"", "e: 1.1", "f: \"1.10\"", "g: 1000", "h: null"]
    {
        assert!(merged.lines().any(|l| l.replace('\'', "\"") == line), "{line} in\n{merged}");
    }
}

#[test]
fn a_new_file_is_complete() {
    for empty in ["", "\n", "---\n", "null", "apiVersion: v1\nkind: Config\nclusters: null\nusers: []\n"] {
        let merged = merge(empty, &config("demo")).unwrap();
        assert_eq!(Kubeconfig::parse(&merged).unwrap(), config("demo"), "{empty:?}");
        assert_eq!(tree(&merged)["kind"], "Config");
    }
}

#[test]
fn duplicates_of_the_name_are_gone() {
    let doubled =
        "users:\n- {name: demo, user: {token: a}}\n- {name: x, user: {}}\n- {name: demo, user: {token: b}}\n";
    let users = tree(&merge(doubled, &config("demo")).unwrap())["users"].clone();
    assert_eq!(
        users.as_array().unwrap().iter().map(|u| u["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["demo", "x"]
    );
    assert!(users[0]["user"]["token"].is_null());
}

#[test]
fn removing_undoes_merging() {
    let merged = merge(THEIRS, &config("other")).unwrap();
    let removed = remove(&merged, &Names::same("other")).unwrap().unwrap();
    let mut expected = tree(THEIRS);
    expected["current-context"] = json!("");
    assert_eq!(tree(&removed), expected);
    assert_eq!(remove(THEIRS, &Names::same("nobody")).unwrap(), None, "nothing to do, nothing written");
    assert_eq!(remove("", &Names::same("nobody")).unwrap(), None);
}

#[test]
fn removing_keeps_what_others_use() {
    let shared = r"
contexts:
- {name: demo, context: {cluster: demo, user: demo}}
- {name: mine, context: {cluster: demo, user: me}}
clusters: [{name: demo, cluster: {server: x}}]
users: [{name: demo, user: {}}, {name: me, user: {}}]
current-context: mine
";
    let after = tree(&remove(shared, &Names::same("demo")).unwrap().unwrap());
    assert_eq!(after["clusters"].as_array().unwrap().len(), 1, "still used by context mine");
    assert_eq!(after["users"], json!([{"name": "me", "user": {}}]));
    assert_eq!(after["current-context"], "mine");
}

#[test]
fn a_file_that_is_no_kubeconfig_is_refused_and_not_quoted() {
    let secret = "token: c2VjcmV0";
    for bad in [
        format!("kind: Secret\ndata: {{{secret}}}"),
        format!("- {secret}"),
        format!("a: [unclosed\n{secret}"),
        format!("clusters: {{{secret}}}"),
        "just text".into(),
    ] {
        let error = merge(&bad, &config("demo")).unwrap_err().to_string();
        assert!(error.starts_with("kubeconfig: ") && !error.contains("c2VjcmV0"), "{error}");
    }
    let by_file = Kubeconfig { ca: CaData::File("ca.crt".into()), ..config("demo") };
    assert!(merge("", &by_file).is_err(), "relative paths would be wrong elsewhere");
    for incomplete in
        ["", "current-context: x", "current-context: x\ncontexts: [{name: x, context: {cluster: c}}]"]
    {
        assert!(Kubeconfig::parse(incomplete).is_err());
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,60}".prop_map(Value::from),
        "[yYnNoOfF0-9:._~eE+xX -]{0,12}".prop_map(Value::from),
        "[ -~\n]{0,120}".prop_map(Value::from),
        Just(Value::Null),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("\\PC{1,12}", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever unknown fields a file has, merging and removing brings them back unchanged.
    #[test]
    fn unknown_fields_survive(extension in value(), other in value(), name in "[a-z]{1,8}") {
        let theirs = json!({
            "kind": "Config", "apiVersion": "v1", "current-context": "",
            "x-other": other,
            "clusters": [{"name": "theirs", "cluster": {"server": "s", "extensions": extension}}],
            "contexts": [], "users": [],
        });
        let merged = merge(&theirs.to_string(), &config(&format!("skep-{name}"))).unwrap();
        let again = merge(&merged, &config(&format!("skep-{name}"))).unwrap();
        prop_assert_eq!(&again, &merged, "merging twice changes nothing");
        let removed = remove(&merged, &Names::same(format!("skep-{name}"))).unwrap().unwrap();
        prop_assert_eq!(tree(&removed), theirs);
    }

    #[test]
    fn junk_never_panics(text in "\\PC{0,200}") {
        let _ = merge(&text, &config("x"));
        let _ = remove(&text, &Names::same("x"));
        let _ = Kubeconfig::parse(&text);
    }
}
