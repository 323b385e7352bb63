//! Decisions on given facts, and what holds for all of them.

use proptest::prelude::*;

use super::*;

const GIB: u64 = 1 << 30;

fn pool(zone: &str, price: Option<f64>) -> Pool {
    let size = Size { milli_cpu: 4000, memory: 8 * GIB };
    Pool { class: "large".into(), size, price, zones: vec![zone.into()] }
}

fn host(cores: u64, gib: u64) -> Hypervisor {
    Hypervisor { milli_cpu: cores * 1000, memory: gib * GIB }
}

fn facts() -> Facts {
    let pools = [
        ("a", pool("a", Some(0.5))),
        ("b", pool("b", Some(0.2))),
        ("c", pool("c", None)),
        ("cheap", pool("a", Some(0.1))),
    ];
    Facts {
        pools: pools.map(|(name, pool)| (name.to_owned(), pool)).into(),
        stock: Stock(
            [("a", vec![host(8, 64), host(7, 64)]), ("b", vec![host(12, 16)])]
                .map(|(zone, hosts)| (zone.to_owned(), hosts))
                .into(),
        ),
    }
}

fn node(zone: &str) -> Labels {
    [(ZONE.to_owned(), zone.to_owned())].into()
}

fn candidate(group: &str, nodes: u32, zone: &str, pods: Vec<Pod>) -> Candidate {
    Candidate {
        group: group.into(),
        nodes,
        node: Some(node(zone)),
        pods: pods.into_iter().map(Arc::new).collect(),
    }
}

fn app(name: &str, apart: &[&str]) -> Pod {
    let selector =
        Selector(vec![Requirement { key: "app".into(), operator: Operator::In, values: vec![name.into()] }]);
    let term = |key: &&str| Term {
        key: (*key).to_owned(),
        selector: Some(selector.clone()),
        namespaces: Namespaces::Own,
    };
    Pod {
        namespace: "default".into(),
        labels: [("app".to_owned(), name.to_owned())].into(),
        apart: apart.iter().map(term).collect(),
        spread: Vec::new(),
    }
}

/// Groups that stay, and the last word about each of the others.
fn outcome(candidates: &[Candidate], facts: &Facts) -> (Vec<String>, Vec<String>) {
    let verdicts = decide(candidates, facts);
    let of = |kept: bool| candidates.iter().zip(&verdicts).filter(move |(_, verdict)| verdict.kept == kept);
    (
        of(true).map(|(candidate, _)| candidate.group.clone()).collect(),
        of(false).map(|(c, verdict)| format!("{}: {}", c.group, verdict.why.last().unwrap())).collect(),
    )
}

#[test]
fn a_machine_needs_room_on_one_hypervisor() {
    // Zone a has 15 free cores, but room for 2 + 1 machines; b has the cores for three and the memory for two.
    let options = [candidate("a", 4, "a", vec![]), candidate("b", 3, "b", vec![])];
    assert_eq!(
        outcome(&options, &facts()),
        (
            vec![],
            vec![
                "a: zone a has room for 3 machines of class large, and 4 are needed".to_owned(),
                "b: zone b has room for 2 machines of class large, and 3 are needed".to_owned(),
            ]
        )
    );
}

#[test]
fn the_rules_come_in_their_order() {
    // By cost alone it would be b: the zone with more free cores goes first, then the cheaper one there.
    let options = ["a", "b", "cheap"].map(|group| {
        let zone = if group == "b" { "b" } else { "a" };
        candidate(group, 1, zone, vec![])
    });
    let (kept, dropped) = outcome(&options, &facts());
    assert_eq!(kept, ["cheap"]);
    assert_eq!(
        dropped,
        [
            "a: 1 nodes cost 0.5000 an hour, but 1 nodes cost 0.1000 an hour",
            "b: zone b has 12 free cores, but zone a has 15 free cores",
        ]
    );
    let why = &decide(&options, &facts())[2].why;
    assert_eq!(
        why.join("; "),
        "zone a has room for 3 machines of class large; zone a has 15 free cores, the most; 1 nodes cost 0.1000 an \
         hour, the least"
    );
}

#[test]
fn what_has_no_figures_is_not_compared() {
    let options =
        [candidate("c", 500, "c", vec![]), candidate("b", 1, "b", vec![]), candidate("x", 1, "x", vec![])];
    assert_eq!(outcome(&options, &facts()).0, ["c", "b", "x"]);
}

#[test]
fn pods_that_exclude_each_other_need_nodes_and_zones() {
    let zone = || app("db", &[ZONE]);
    let hostname = || app("web", &["kubernetes.io/hostname"]);
    let facts = Facts::default();
    let kept = |option: Candidate| outcome(&[option], &facts).0.len() == 1;
    assert!(kept(candidate("a", 1, "a", vec![zone()])));
    assert!(!kept(candidate("a", 2, "a", vec![zone(), zone()])), "two of them in one zone");
    assert!(kept(candidate("a", 2, "a", vec![hostname(), hostname()])));
    assert!(!kept(candidate("a", 1, "a", vec![hostname(), hostname()])), "two of them on one node");
    assert!(kept(candidate("a", 1, "a", vec![hostname(), app("other", &["kubernetes.io/hostname"])])));
    let elsewhere = Pod { namespace: "other".into(), ..zone() };
    assert!(kept(candidate("a", 1, "a", vec![zone(), elsewhere.clone()])), "another namespace");
    let mut everywhere = zone();
    everywhere.apart[0].namespaces = Namespaces::All;
    assert!(!kept(candidate("a", 1, "a", vec![everywhere, elsewhere])), "all namespaces");
    // A node without the label is in no domain.
    let option = Candidate { node: Some(Labels::new()), ..candidate("a", 1, "a", vec![zone(), zone()]) };
    assert!(kept(option));
    let option = Candidate { node: None, ..candidate("a", 1, "a", vec![zone(), zone()]) };
    assert!(kept(option), "nothing is known of the node");
}

#[test]
fn a_spread_needs_the_label() {
    let mut pod = app("web", &[]);
    pod.spread = vec![Spread { key: "rack".into() }, Spread { key: ZONE.into() }];
    let (kept, dropped) = outcome(&[candidate("a", 1, "a", vec![pod])], &Facts::default());
    assert_eq!(
        (kept.len(), dropped[0].as_str()),
        (0, "a: pods must be spread over rack, which the node has not")
    );
}

#[test]
fn selectors_are_upstreams() {
    let requirement = |operator| Requirement { key: "app".into(), operator, values: vec!["web".into()] };
    for (operator, of_web, of_db, of_none) in [
        (Operator::In, true, false, false),
        (Operator::NotIn, false, true, true),
        (Operator::Exists, true, true, false),
        (Operator::DoesNotExist, false, false, true),
    ] {
        let mut pod = app("x", &[ZONE]);
        pod.apart[0].selector = Some(Selector(vec![requirement(operator)]));
        let repels = |labels: Labels| pod.repels(&Pod { labels, ..app("y", &[]) }, ZONE);
        let labels = |name: &str| Labels::from([("app".to_owned(), name.to_owned())]);
        assert_eq!(
            (repels(labels("web")), repels(labels("db")), repels(Labels::new())),
            (of_web, of_db, of_none),
            "{operator:?}"
        );
    }
    let mut pod = app("x", &[ZONE]);
    pod.apart[0].selector = None;
    assert!(!pod.repels(&app("x", &[]), ZONE), "no selector selects nothing");
    pod.apart[0].selector = Some(Selector::default());
    assert!(pod.repels(&app("y", &[]), ZONE), "an empty one selects everything");
}

#[test]
fn the_work_is_bounded() {
    let pods =
        (0..5_000).map(|n| app(&format!("app{}", n % 3_000), &[ZONE, "kubernetes.io/hostname"])).collect();
    let options = vec![candidate("a", 5_000, "a", pods); 40];
    let mut budget = affinity::BUDGET;
    options.iter().for_each(|option| drop(affinity::judge(option, &mut budget)));
    assert_eq!(budget, 0, "it was not used up, so this shows nothing");
}

/// Pods of three apps, some of which keep away from themselves or each other by one of two labels.
fn pods() -> impl Strategy<Value = Vec<Pod>> {
    let key = prop_oneof![Just(ZONE), Just("kubernetes.io/hostname"), Just("rack")];
    let pod = (0..3_usize, prop::option::of((key, 0..3_usize))).prop_map(|(own, apart)| {
        let name = |n: usize| format!("app{n}");
        let mut pod = app(&name(own), &[]);
        if let Some((key, other)) = apart {
            pod.apart = app(&name(other), &[key]).apart;
        }
        pod
    });
    prop::collection::vec(pod, 0..6)
}

/// Whether there is any way to place the pods on so many nodes.
fn placeable(pods: &[Arc<Pod>], nodes: usize, at: &mut Vec<usize>) -> bool {
    let Some(pod) = pods.get(at.len()) else { return true };
    (0..nodes).any(|node| {
        let clash = |key: &str, other: &Pod| pod.repels(other, key) || other.repels(pod, key);
        let fits = at.iter().zip(pods).all(|(there, other)| {
            !clash(ZONE, other) && (*there != node || !clash("kubernetes.io/hostname", other))
        });
        if !fits {
            return false;
        }
        at.push(node);
        let placed = placeable(pods, nodes, at);
        at.pop();
        placed
    })
}

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (0..5_usize, 0..6_u32, pods()).prop_map(|(group, nodes, pods)| {
        let (group, zone) = [("a", "a"), ("b", "b"), ("c", "c"), ("cheap", "a"), ("x", "b")][group];
        candidate(group, nodes, zone, pods)
    });
    prop::collection::vec(one, 0..8)
}

proptest! {
    #[test]
    fn pods_that_can_be_placed_are_never_refused(pods in pods(), nodes in 0..5_u32) {
        let option = candidate("a", nodes, "a", pods);
        let possible = placeable(&option.pods, nodes as usize, &mut Vec::new());
        let kept = decide(std::slice::from_ref(&option), &Facts::default())[0].kept;
        prop_assert!(kept || !possible, "{option:?}");
    }

    #[test]
    fn the_last_two_rules_leave_one_and_everything_has_a_reason(candidates in candidates()) {
        let facts = facts();
        let verdicts = decide(&candidates, &facts);
        prop_assert_eq!(verdicts.len(), candidates.len());
        prop_assert!(verdicts.iter().all(|verdict| verdict.kept || !verdict.why.is_empty()));
        let mut budget = affinity::BUDGET;
        let possible = candidates.iter().any(|candidate| {
            !matches!(stock::judge(candidate, &facts), Opinion::Impossible(_))
                && !matches!(affinity::judge(candidate, &mut budget), Opinion::Impossible(_))
        });
        prop_assert_eq!(verdicts.iter().any(|verdict| verdict.kept), possible);
    }

    #[test]
    fn asked_again_it_keeps_what_it_kept(candidates in candidates()) {
        let facts = facts();
        let verdicts = decide(&candidates, &facts);
        let kept: Vec<Candidate> =
            candidates.into_iter().zip(verdicts).filter(|(_, v)| v.kept).map(|(c, _)| c).collect();
        prop_assert!(decide(&kept, &facts).iter().all(|verdict| verdict.kept));
    }

    #[test]
    fn more_stock_never_takes_the_last_way(candidates in candidates(), cores in 0..64_u64) {
        let facts = facts();
        let before = decide(&candidates, &facts).iter().any(|verdict| verdict.kept);
        let mut more = facts;
        more.stock.0.entry("b".into()).or_default().push(host(cores, cores * 2));
        prop_assert!(!before || decide(&candidates, &more).iter().any(|verdict| verdict.kept));
    }
}
