//! Every call to etcd fails once, before it is carried out and after: the same end, whatever was lost.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use skep_api::TenantId;
use skep_api::control_plane::DatastoreRef;
use skep_kubeops::Key;
use skep_pki::{Authority, Leaf};
use skep_testkit::FakeApiServer;

use crate::datastores::Material;
use crate::etcd::stage::{FakeEtcd, Held, Moment, Stage};
use crate::etcd::wire::PermissionType;
use crate::etcd::{Connection, Credentials};
use crate::{Datastores, Error, EtcdTenants, Removal, TenantStore};

const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn own() -> DatastoreRef {
    DatastoreRef { namespace: "skep-system".into(), name: "main".into() }
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

pub(super) fn material() -> Material {
    let authority = Authority::generate("ca", 10 * YEAR, Timestamp::now()).unwrap();
    Material {
        uid: "uid".into(),
        endpoints: vec!["https://127.0.0.1:1".into()],
        server_ca_pem: authority.cert_pem().into(),
        root: authority.issue(&Leaf::client("root", YEAR), Timestamp::now()).unwrap(),
        client_authority: authority,
    }
}

/// A store over an etcd in memory, as one life of the operator has it.
fn store(etcd: &FakeEtcd, material: &Material) -> (EtcdTenants, Stage) {
    let stage = Stage::with(etcd);
    let datastores = Datastores::staged(FakeApiServer::new().client(), &stage);
    datastores.open(&Key::namespaced("skep-system", "main"), material.clone()).unwrap();
    (EtcdTenants::new(datastores), stage)
}

pub(super) fn connection(etcd: &FakeEtcd, material: &Material) -> Connection {
    let credentials =
        Credentials { server_ca_pem: material.server_ca_pem.clone(), client: material.root.clone() };
    let mut connection = Connection::new(&material.endpoints, &credentials).unwrap();
    connection.stage = Stage::with(etcd);
    connection
}

/// An etcd with authentication on and a neighbour that must not be touched.
async fn inhabited(material: &Material) -> FakeEtcd {
    let etcd = FakeEtcd::default();
    let root = connection(&etcd, material);
    root.enable_auth().await.unwrap();
    root.admit(&tenant("neighbour-1")).await.unwrap();
    write(&etcd, "neighbour-1", 3);
    etcd
}

fn write(etcd: &FakeEtcd, tenant: &str, keys: usize) {
    etcd.with(|held| held.keys.extend((0..keys).map(|i| format!("/skep/{tenant}/k{i:05}").into_bytes())));
}

fn held(etcd: &FakeEtcd) -> Held {
    etcd.with(|held| held.clone())
}

/// Runs `prepare` and `work` cleanly, then once for every call of `work` and both moments: with that call failing,
/// and again without a fault in a new life. Both must end alike.
async fn every_call_fails<F>(prepare: impl Fn(&FakeEtcd), work: F)
where
    F: AsyncFn(EtcdTenants) -> Result<(), Error>,
{
    let material = material();
    let prepared = async || {
        let etcd = inhabited(&material).await;
        prepare(&etcd);
        etcd
    };
    let clean = prepared().await;
    let (first, stage) = store(&clean, &material);
    stage.fail(None);
    work(first).await.unwrap();
    let calls = stage.calls();
    assert!(!calls.is_empty());
    for k in 1..=calls.len() {
        for moment in [Moment::Before, Moment::After] {
            let etcd = prepared().await;
            let (first, stage) = store(&etcd, &material);
            stage.fail(Some((k, moment)));
            let failed = work(first).await;
            assert!(matches!(failed, Err(Error::DatastoreUnavailable { .. })), "{k} {moment:?}: {failed:?}");
            work(store(&etcd, &material).0).await.unwrap();
            assert_eq!(held(&etcd), held(&clean), "call {k} ({}) failed {moment:?}", calls[k - 1]);
        }
    }
}

async fn ensure(store: EtcdTenants) -> Result<(), Error> {
    store.ensure(&own(), &tenant("demo-1"), None).await.map(drop)
}

async fn remove(store: EtcdTenants) -> Result<(), Error> {
    while store.remove(&own(), &tenant("demo-1")).await? != Removal::Done {}
    Ok(())
}

#[tokio::test]
async fn letting_a_tenant_in() {
    every_call_fails(|_| (), ensure).await;
}

#[tokio::test]
async fn repairing_a_tenant() {
    let damage = |etcd: &FakeEtcd| {
        etcd.with(|held| {
            let foreign = held.roles["neighbour-1"].clone();
            held.roles.insert("demo-1".into(), foreign);
            let roles = ["neighbour-1".to_owned(), "root".to_owned()];
            held.users.insert("demo-1".into(), BTreeSet::from(roles));
        });
    };
    every_call_fails(damage, ensure).await;
    let etcd = inhabited(&material()).await;
    damage(&etcd);
    ensure(store(&etcd, &material()).0).await.unwrap();
    let held = held(&etcd);
    assert_eq!(held.users["demo-1"], BTreeSet::from(["demo-1".to_owned()]), "its own role only");
    let [own_keys, history] = held.roles["demo-1"].as_slice() else { panic!("{:?}", held.roles["demo-1"]) };
    assert_eq!((own_keys.kind(), history.kind()), (PermissionType::ReadWrite, PermissionType::Read));
    assert_eq!(
        (own_keys.key.as_slice(), own_keys.range_end.as_slice()),
        (&b"/skep/demo-1/"[..], &b"/skep/demo-10"[..])
    );
    assert_eq!((history.key.as_slice(), history.range_end.as_slice()), (&b"compact_rev_key"[..], &b""[..]));
}

#[tokio::test]
async fn removing_a_tenant() {
    let full = |etcd: &FakeEtcd| {
        etcd.with(|held| {
            held.users.insert("demo-1".into(), BTreeSet::from(["demo-1".to_owned()]));
            held.roles.insert("demo-1".into(), Vec::new());
        });
        write(etcd, "demo-1", 2_500);
        // Looks like the tenant's, is not.
        write(etcd, "demo-10", 1);
        write(etcd, "demo", 1);
    };
    every_call_fails(full, remove).await;
    let etcd = inhabited(&material()).await;
    full(&etcd);
    remove(store(&etcd, &material()).0).await.unwrap();
    let held = held(&etcd);
    assert_eq!(held.keys.len(), 5, "three of the neighbour, and the two that only look alike");
    assert!(!held.users.contains_key("demo-1") && !held.roles.contains_key("demo-1"));
}

#[tokio::test]
async fn switching_authentication_on() {
    let material = material();
    let clean = FakeEtcd::default();
    let root = connection(&clean, &material);
    root.stage.fail(None);
    root.enable_auth().await.unwrap();
    let calls = root.stage.calls().len();
    for k in 1..=calls {
        for moment in [Moment::Before, Moment::After] {
            let etcd = FakeEtcd::default();
            let first = connection(&etcd, &material);
            first.stage.fail(Some((k, moment)));
            assert!(first.enable_auth().await.is_err());
            connection(&etcd, &material).enable_auth().await.unwrap();
            assert_eq!(held(&etcd), held(&clean), "call {k} {moment:?}");
        }
    }
    root.stage.fail(None);
    root.enable_auth().await.unwrap();
    assert_eq!(root.stage.calls().len(), 1, "steady state asks and changes nothing");
}

#[tokio::test]
async fn a_tenant_that_is_in_costs_nothing() {
    let material = material();
    let etcd = inhabited(&material).await;
    let (first, stage) = store(&etcd, &material);
    let access = first.ensure(&own(), &tenant("demo-1"), None).await.unwrap();
    assert_eq!(access.prefix, "/skep/demo-1");
    stage.fail(None);
    let again = first.ensure(&own(), &tenant("demo-1"), Some(&access.client.pair)).await.unwrap();
    assert_eq!((stage.calls().len(), again.client.issued), (0, None), "seen a moment ago");
    let (second, stage) = store(&etcd, &material);
    stage.fail(None);
    second.ensure(&own(), &tenant("demo-1"), Some(&access.client.pair)).await.unwrap();
    assert!(stage.calls().iter().all(|call| call.ends_with("Get")), "{:?}", stage.calls());
}

#[tokio::test]
async fn nobody_comes_into_a_datastore_that_is_being_deleted() {
    let material = material();
    let etcd = inhabited(&material).await;
    let root = connection(&etcd, &material);
    root.close().await;
    assert!(root.admit(&tenant("neighbour-1")).await.is_ok(), "who is in stays in");
    assert!(root.admit(&tenant("demo-1")).await.is_err());
    let mut next = connection(&etcd, &material);
    next.succeed(&root);
    assert!(next.admit(&tenant("demo-1")).await.is_err(), "also over a new connection");
    assert!(!held(&etcd).users.contains_key("demo-1"));
}

/// A tenant that was let in before there was anything to read of history.
#[tokio::test]
async fn a_missing_permission_is_added() {
    let admitted = |etcd: &FakeEtcd| {
        etcd.with(|held| {
            held.users.insert("demo-1".into(), BTreeSet::from(["demo-1".to_owned()]));
            let mut role = held.roles["neighbour-1"].clone();
            role.truncate(1);
            role[0].key = b"/skep/demo-1/".to_vec();
            role[0].range_end = b"/skep/demo-10".to_vec();
            held.roles.insert("demo-1".into(), role);
        });
    };
    every_call_fails(admitted, ensure).await;
    let etcd = inhabited(&material()).await;
    admitted(&etcd);
    let (store, stage) = store(&etcd, &material());
    stage.fail(None);
    ensure(store).await.unwrap();
    assert_eq!(held(&etcd).roles["demo-1"].len(), 2);
    let changes = stage.calls().iter().filter(|call| !call.ends_with("Get")).count();
    assert_eq!(changes, 1, "{:?}", stage.calls());
}

#[tokio::test]
async fn etcd_being_away_is_said_and_passes() {
    let material = material();
    let etcd = inhabited(&material).await;
    let (store, _) = store(&etcd, &material);
    etcd.with(|held| held.away = true);
    let error = store.ensure(&own(), &tenant("demo-1"), None).await.unwrap_err();
    assert!(error.is_unavailable());
    assert_eq!(
        error.to_string(),
        "SKEP-5001: etcd of datastore skep-system/main does not answer: connection refused"
    );
    etcd.with(|held| held.away = false);
    // What opens it is read again after a failure, and there is no such object here.
    let next = store.usage(&own(), &tenant("demo-1")).await;
    assert!(matches!(next, Err(Error::DatastoreNotFound { .. })), "{next:?}");
}

/// One thing that happens to a cell.
#[derive(Debug, Clone)]
enum Step {
    Ensure(usize),
    Remove(usize),
    Write(usize),
    Restart,
    Fail(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0usize..3).prop_map(Step::Ensure),
        3 => (0usize..3).prop_map(Step::Remove),
        1 => (0usize..3).prop_map(Step::Write),
        1 => Just(Step::Restart),
        3 => (1usize..9, any::<bool>()).prop_map(|(k, after)| Step::Fail(k, after)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever happened before, one clean pass ends where it should.
    #[test]
    fn any_history_ends_right(steps in prop::collection::vec(step(), 0..24), wanted in prop::collection::vec(any::<bool>(), 3)) {
        let names = ["demo-1", "demo-2", "demo"];
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let material = material();
            let etcd = inhabited(&material).await;
            let (mut now, mut stage) = store(&etcd, &material);
            for step in steps {
                match step {
                    Step::Ensure(i) => drop(now.ensure(&own(), &tenant(names[i]), None).await),
                    Step::Remove(i) => drop(now.remove(&own(), &tenant(names[i])).await),
                    Step::Write(i) => write(&etcd, names[i], 1_001),
                    Step::Restart => (now, stage) = store(&etcd, &material),
                    Step::Fail(k, after) => {
                        stage.fail(Some((k, if after { Moment::After } else { Moment::Before })));
                        continue;
                    }
                }
                // A failed call leaves the store without what opens the datastore; there is no API server to ask here.
                if !stage.calls().is_empty() {
                    (now, stage) = store(&etcd, &material);
                }
            }
            let (last, _) = store(&etcd, &material);
            for (name, wanted) in names.iter().zip(&wanted) {
                if *wanted {
                    last.ensure(&own(), &tenant(name), None).await.unwrap();
                } else {
                    while last.remove(&own(), &tenant(name)).await.unwrap() != Removal::Done {}
                }
            }
            let held = held(&etcd);
            for (name, wanted) in names.iter().zip(&wanted) {
                let (user, role) = (held.users.get(*name), held.roles.get(*name));
                let prefix = format!("/skep/{name}/").into_bytes();
                if *wanted {
                    assert_eq!(user, Some(&BTreeSet::from([(*name).to_owned()])));
                    assert_eq!(role.map(|r| (r.len(), r[0].key.clone())), Some((2, prefix)));
                } else {
                    assert_eq!((user, role), (None, None));
                    assert!(!held.keys.iter().any(|key| key.starts_with(&prefix)));
                }
            }
            assert_eq!(held.keys.iter().filter(|k| k.starts_with(b"/skep/neighbour-1/")).count(), 3);
        });
    }
}
