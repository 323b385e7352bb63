use std::net::SocketAddr;

use std::time::SystemTime;

use super::*;
use crate::closing::Closing;
use crate::routes::{ControlPlaneFact, Key, PodFact};

const BOUNDS: TenantBounds = TenantBounds { connections: 10, held: 5 };

fn plane(tenant: &str) -> ControlPlaneFact {
    ControlPlaneFact {
        key: Key::new(tenant, tenant),
        created: 0,
        tenant: tenant.into(),
        host: format!("{tenant}.skep.internal"),
    }
}

fn pod(tenant: &str, name: &str, last: u8, ready: bool) -> PodFact {
    PodFact {
        key: Key::new(tenant, name),
        uid: name.into(),
        tenant: tenant.into(),
        address: Some(SocketAddr::from(([127, 0, 0, last], 6443))),
        ready,
        closing: None,
    }
}

fn with_pods(pods: Vec<PodFact>) -> (Directory, Arc<Tenant>) {
    let directory = Directory::new(BOUNDS);
    directory.update(|t| t.apply_control_plane(plane("a")));
    directory.update(|t| t.reset_pods(pods));
    let tenant = directory.by_host(&name("a.skep.internal")).unwrap();
    (directory, tenant)
}

fn name(text: &str) -> ServerName {
    ServerName::parse(text.as_bytes()).unwrap()
}

#[test]
fn found_by_host_and_for_proxies_also_by_id() {
    let (directory, tenant) = with_pods(vec![]);
    assert!(directory.by_host(&name("a")).is_none());
    assert!(Arc::ptr_eq(&directory.by_authority(&name("a")).unwrap(), &tenant));
    assert!(Arc::ptr_eq(&directory.by_authority(&name("A.Skep.Internal")).unwrap(), &tenant));
    assert!(directory.by_authority(&name("b")).is_none());
}

#[test]
fn connections_go_to_the_least_loaded_ready_pod() {
    let (_, tenant) =
        with_pods(vec![pod("a", "p1", 1, true), pod("a", "p2", 2, true), pod("a", "p3", 3, false)]);
    let leases: Vec<_> = (0..10).filter_map(|_| tenant.pick(&[])).collect();
    let opens: Vec<_> = tenant.ready().iter().map(|b| (b.name().to_owned(), b.open())).collect();
    assert_eq!(opens, [("p1".into(), 5), ("p2".into(), 5)]);
    drop(leases);
    assert!(tenant.ready().iter().all(|b| b.open() == 0));
}

#[test]
fn what_was_tried_and_what_refused_comes_last() {
    let (_, tenant) = with_pods(vec![pod("a", "p1", 1, true), pod("a", "p2", 2, true)]);
    let first = tenant.ready()[0].clone();
    first.refused();
    for _ in 0..5 {
        let lease = tenant.pick(&[]).unwrap();
        assert_eq!(lease.name(), "p2");
        std::mem::forget(lease); // p2 has more connections now and still goes first
    }
    let second = tenant.ready()[1].clone();
    assert_eq!(tenant.pick(std::slice::from_ref(&second)).unwrap().name(), "p1");
    assert!(tenant.pick(&[first.clone(), second]).is_none());
    first.answered();
    assert_eq!(tenant.pick(&[]).unwrap().name(), "p1");
}

#[test]
fn a_pod_keeps_its_count_while_its_readiness_changes() {
    let (directory, tenant) = with_pods(vec![pod("a", "p1", 1, true)]);
    let lease = tenant.pick(&[]).unwrap();
    directory.update(|t| t.apply_pod(pod("a", "p1", 1, false)));
    assert!(tenant.pick(&[]).is_none());
    assert!(!lease.is_gone());
    directory.update(|t| t.apply_pod(pod("a", "p1", 1, true)));
    assert_eq!(tenant.ready()[0].open(), 1);
    directory.update(|t| t.delete_pod(&Key::new("a", "p1")));
    assert!(lease.is_gone());
}

/// The pod as it is deleted, to close its connections at once.
fn deleted(asked: i64) -> PodFact {
    let closing = Some(Closing { asked, after: Duration::ZERO });
    PodFact { closing, ..pod("a", "p1", 1, false) }
}

#[test]
fn answers_are_held_from_the_first_sight_of_a_deletion() {
    let (directory, tenant) = with_pods(vec![pod("a", "p1", 1, true)]);
    let lease = tenant.pick(&[]).unwrap();
    assert_eq!(lease.holds(), None);
    // The date does not matter: its clock may be wrong.
    directory.update(|t| t.apply_pod(deleted(0)));
    let until = lease.holds().unwrap();
    directory.update(|t| t.apply_pod(PodFact { ready: true, ..deleted(5) }));
    assert_eq!(lease.holds().unwrap(), until);
}

#[test]
fn a_deletion_that_may_be_old_is_believed_its_date() {
    let (_, tenant) = with_pods(vec![PodFact { ready: true, ..deleted(0) }]);
    assert_eq!(tenant.pick(&[]).unwrap().holds(), None, "it was being deleted when it was first seen");

    let (directory, tenant) = with_pods(vec![pod("a", "p1", 1, true)]);
    let lease = tenant.pick(&[]).unwrap();
    directory.set_interrupted();
    directory.update(|t| t.apply_pod(deleted(0)));
    assert_eq!(lease.holds(), None, "it may have been deleted while nobody looked");

    let (directory, tenant) = with_pods(vec![pod("a", "p1", 1, true)]);
    let lease = tenant.pick(&[]).unwrap();
    directory.set_interrupted();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    directory.update(|t| t.apply_pod(deleted(now.as_secs() as i64)));
    assert!(lease.holds().is_some());
}

#[test]
fn a_pod_made_again_is_another_one() {
    let (directory, tenant) = with_pods(vec![pod("a", "p1", 1, true)]);
    let old = tenant.pick(&[]).unwrap();
    let again = PodFact { uid: "other".into(), ..pod("a", "p1", 1, true) };
    directory.update(|t| t.apply_pod(again));
    assert!(old.is_gone());
    assert_eq!(tenant.ready()[0].open(), 0);
}

#[test]
fn a_deleted_tenant_is_unknown_and_its_pods_drain() {
    let (directory, tenant) = with_pods(vec![pod("a", "p1", 1, true)]);
    let lease = tenant.pick(&[]).unwrap();
    directory.update(|t| t.delete_control_plane(&Key::new("a", "a")));
    assert!(directory.is_empty() && directory.tenants().is_empty());
    assert!(tenant.is_retired() && lease.is_gone() && tenant.pick(&[]).is_none());
}

#[test]
fn a_tenant_keeps_its_counts_while_others_come() {
    let (directory, tenant) = with_pods(vec![]);
    directory.update(|t| t.apply_control_plane(plane("b")));
    assert!(Arc::ptr_eq(&directory.by_host(&name("a.skep.internal")).unwrap(), &tenant));
    assert_eq!(directory.len(), 2);
}

#[tokio::test]
async fn who_waits_is_woken_by_a_ready_pod() {
    let (directory, tenant) = with_pods(vec![]);
    let mut changed = std::pin::pin!(tenant.changed().notified());
    assert!(!changed.as_mut().enable());
    assert!(tenant.pick(&[]).is_none());
    directory.update(|t| t.apply_pod(pod("a", "p1", 1, true)));
    changed.await;
    assert!(tenant.pick(&[]).is_some());
}
