use proptest::prelude::*;

use super::*;

fn plane(namespace: &str, name: &str, created: i64, tenant: &str, host: &str) -> ControlPlaneFact {
    ControlPlaneFact { key: Key::new(namespace, name), created, tenant: tenant.into(), host: host.into() }
}

fn pod(namespace: &str, name: &str, uid: &str, tenant: &str, address: u8, ready: bool) -> PodFact {
    PodFact {
        key: Key::new(namespace, name),
        uid: uid.into(),
        tenant: tenant.into(),
        address: (address > 0).then(|| SocketAddr::from(([127, 0, 0, address], 6443))),
        ready,
        closing: None,
    }
}

fn uids(table: &RouteTable, host: &str) -> Vec<(String, bool)> {
    table.route(host).map(|r| r.pods.into_iter().map(|p| (p.uid, p.ready)).collect()).unwrap_or_default()
}

#[test]
fn pods_may_be_known_before_their_control_plane() {
    let mut table = RouteTable::default();
    assert!(table.apply_pod(pod("t1", "api-0", "u0", "t1", 1, true)).is_empty());
    assert_eq!(table.route("t1.skep.internal"), None);
    let touched = table.apply_control_plane(plane("t1", "t1", 1, "t1", "t1.skep.internal"));
    assert_eq!(touched, Touched::from(["t1.skep.internal".into()]));
    assert_eq!(uids(&table, "t1.skep.internal"), [("u0".into(), true)]);
}

#[test]
fn a_pod_of_another_namespace_never_serves_a_tenant() {
    let mut table = RouteTable::default();
    table.apply_control_plane(plane("t1", "t1", 1, "t1", "h"));
    assert!(table.apply_pod(pod("t2", "api-0", "u0", "t1", 1, true)).is_empty());
    assert!(table.apply_pod(pod("t1", "api-0", "u1", "t2", 1, true)).is_empty());
    assert_eq!(uids(&table, "h"), []);
}

#[test]
fn the_oldest_claim_keeps_a_host() {
    let mut table = RouteTable::default();
    table.apply_control_plane(plane("b", "b", 5, "b", "h"));
    table.apply_control_plane(plane("a", "a", 9, "a", "h"));
    assert_eq!(&*table.route("h").unwrap().tenant, "b");
    assert_eq!(table.losers("h").collect::<Vec<_>>(), [&Key::new("a", "a")]);
    assert_eq!(table.delete_control_plane(&Key::new("b", "b")), Touched::from(["h".into()]));
    assert_eq!(&*table.route("h").unwrap().tenant, "a");
}

#[test]
fn a_moved_host_touches_both() {
    let mut table = RouteTable::default();
    table.apply_control_plane(plane("a", "a", 1, "a", "old"));
    let touched = table.apply_control_plane(plane("a", "a", 1, "a", "new"));
    assert_eq!(touched, Touched::from(["old".into(), "new".into()]));
    assert!(table.route("old").is_none() && table.route("new").is_some());
}

#[test]
fn what_says_nothing_new_touches_nothing() {
    let mut table = RouteTable::default();
    table.apply_control_plane(plane("a", "a", 1, "a", "h"));
    table.apply_pod(pod("a", "p", "u", "a", 1, true));
    assert!(table.apply_control_plane(plane("a", "a", 1, "a", "h")).is_empty());
    assert!(table.apply_pod(pod("a", "p", "u", "a", 1, true)).is_empty());
    assert!(table.reset_pods(vec![pod("a", "p", "u", "a", 1, true)]).is_empty());
    assert!(table.delete_pod(&Key::new("a", "other")).is_empty());
}

#[test]
fn a_pod_without_an_address_is_no_destination() {
    let mut table = RouteTable::default();
    table.apply_control_plane(plane("a", "a", 1, "a", "h"));
    table.apply_pod(pod("a", "p", "u", "a", 0, true));
    assert_eq!(uids(&table, "h"), []);
}

#[derive(Clone, Debug)]
enum Op {
    Plane(ControlPlaneFact),
    PlaneGone(Key),
    Planes(Vec<ControlPlaneFact>),
    Pod(PodFact),
    PodGone(Key),
    Pods(Vec<PodFact>),
}

fn small(prefix: &'static str) -> impl Strategy<Value = String> {
    (0..3u8).prop_map(move |n| format!("{prefix}{n}"))
}

fn planes() -> impl Strategy<Value = ControlPlaneFact> {
    (small("t"), small("n"), 0..3i64, small("t"), prop_oneof![4 => small("h"), 1 => Just(String::new())])
        .prop_map(|(namespace, name, created, tenant, host)| {
            plane(&namespace, &name, created, &tenant, &host)
        })
}

fn pods() -> impl Strategy<Value = PodFact> {
    (small("t"), small("p"), small("u"), small("t"), 0..3u8, any::<bool>())
        .prop_map(|(ns, name, uid, tenant, address, ready)| pod(&ns, &name, &uid, &tenant, address, ready))
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = |prefix| (small("t"), small(prefix)).prop_map(|(namespace, name)| Key::new(namespace, name));
    prop::collection::vec(
        prop_oneof![
            4 => planes().prop_map(Op::Plane),
            2 => key("n").prop_map(Op::PlaneGone),
            1 => prop::collection::vec(planes(), 0..4).prop_map(Op::Planes),
            6 => pods().prop_map(Op::Pod),
            3 => key("p").prop_map(Op::PodGone),
            1 => prop::collection::vec(pods(), 0..5).prop_map(Op::Pods),
        ],
        0..40,
    )
}

/// The plain meaning: facts in two maps, every route computed from scratch.
#[derive(Default)]
struct Model {
    planes: BTreeMap<Key, ControlPlaneFact>,
    pods: BTreeMap<Key, PodFact>,
}

impl Model {
    fn run(&mut self, op: Op) {
        match op {
            Op::Plane(fact) => drop(self.planes.insert(fact.key.clone(), fact)),
            Op::PlaneGone(key) => drop(self.planes.remove(&key)),
            Op::Planes(all) => self.planes = all.into_iter().map(|f| (f.key.clone(), f)).collect(),
            Op::Pod(fact) => drop(self.pods.insert(fact.key.clone(), fact)),
            Op::PodGone(key) => drop(self.pods.remove(&key)),
            Op::Pods(all) => self.pods = all.into_iter().map(|f| (f.key.clone(), f)).collect(),
        }
    }

    fn route(&self, host: &str) -> Option<Route> {
        let plane = self.planes.values().filter(|p| p.host == host).min_by_key(|p| (p.created, &p.key))?;
        let mine = |p: &&PodFact| p.tenant == plane.tenant && p.key.namespace == plane.key.namespace;
        let pods = self.pods.values().filter(mine);
        let pods = pods.filter_map(|p| {
            let (name, uid) = (p.key.name.clone(), p.uid.clone());
            Some(RoutePod { name, uid, address: p.address?, ready: p.ready, closing: p.closing })
        });
        let (tenant, namespace) = (plane.tenant.as_str().into(), plane.key.namespace.as_str().into());
        Some(Route { tenant, namespace, pods: pods.collect() })
    }
}

fn run(table: &mut RouteTable, op: Op) -> Touched {
    match op {
        Op::Plane(fact) => table.apply_control_plane(fact),
        Op::PlaneGone(key) => table.delete_control_plane(&key),
        Op::Planes(all) => table.reset_control_planes(all),
        Op::Pod(fact) => table.apply_pod(fact),
        Op::PodGone(key) => table.delete_pod(&key),
        Op::Pods(all) => table.reset_pods(all),
    }
}

proptest! {
    #[test]
    fn agrees_with_the_plain_meaning_and_tells_every_change(ops in ops()) {
        let (mut table, mut model) = (RouteTable::default(), Model::default());
        for op in ops {
            let hosts = ["h0", "h1", "h2"];
            let before = hosts.map(|h| table.route(h));
            let touched = run(&mut table, op.clone());
            model.run(op.clone());
            for (host, before) in hosts.into_iter().zip(before) {
                let after = table.route(host);
                prop_assert_eq!(&after, &model.route(host), "{} after {:?}", host, op);
                prop_assert!(after == before || touched.contains(host), "{} changed untold by {:?}", host, op);
            }
            prop_assert_eq!(table.route(""), None);
        }
    }

    #[test]
    fn the_order_of_facts_does_not_matter(
        planes in prop::collection::vec(planes(), 0..6), pods in prop::collection::vec(pods(), 0..8),
        order in any::<u64>(),
    ) {
        let mut first = RouteTable::default();
        first.reset_control_planes(planes.clone());
        first.reset_pods(pods.clone());
        // Only the last fact of each key counts, whichever kind comes first.
        let mut second = RouteTable::default();
        if order % 2 == 0 {
            pods.into_iter().for_each(|p| drop(second.apply_pod(p)));
            planes.into_iter().for_each(|p| drop(second.apply_control_plane(p)));
        } else {
            second.reset_pods(pods);
            second.reset_control_planes(planes);
        }
        for host in ["h0", "h1", "h2"] {
            prop_assert_eq!(first.route(host), second.route(host));
        }
    }
}
