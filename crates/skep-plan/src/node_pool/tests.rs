//! Steps, refusals, and pools that are simulated to their end.

use skep_api::node_pool::{Scaling, UpdateStrategy};

use super::fixtures::{facts, goal, member, spec};
use super::*;

mod simulation;
mod trials;

fn creates(plan: &Plan) -> Vec<&str> {
    plan.actions
        .iter()
        .filter_map(|action| if let Action::Create { zone } = action { Some(zone.as_str()) } else { None })
        .collect()
}

fn deletes(plan: &Plan) -> Vec<&str> {
    plan.actions
        .iter()
        .filter_map(|a| if let Action::Delete { machine, .. } = a { Some(machine.as_str()) } else { None })
        .collect()
}

fn changes(plan: &Plan) -> Vec<&str> {
    plan.actions
        .iter()
        .filter_map(|a| if let Action::Change { machine } = a { Some(machine.as_str()) } else { None })
        .collect()
}

fn three(goal: &Goal) -> Vec<Member> {
    vec![member(goal, "m1", "a", 30), member(goal, "m2", "b", 20), member(goal, "m3", "c", 10)]
}

fn old(mut members: Vec<Member>) -> Vec<Member> {
    members.iter_mut().for_each(|member| member.template.version = Some("v1.35.4".into()));
    members
}

#[test]
fn new_machines_are_spread_over_the_zones() {
    let goal = goal(5, UpdateStrategy::Surge);
    assert_eq!(creates(&plan(&goal, &[])), ["a", "b", "c", "a", "b"]);
    let plan =
        plan(&goal, &[member(&goal, "m1", "a", 1), member(&goal, "m2", "b", 1), member(&goal, "m3", "b", 1)]);
    assert_eq!(creates(&plan), ["c", "a"]);
}

#[test]
fn at_the_goal_nothing_happens() {
    for strategy in [UpdateStrategy::Surge, UpdateStrategy::InPlace, UpdateStrategy::OnDelete] {
        let goal = goal(3, strategy);
        let plan = plan(&goal, &three(&goal));
        assert!(plan.is_settled() && plan.outdated.is_empty(), "{plan:?}");
        assert_eq!(plan.to_string(), "No machine is touched.\n");
    }
}

#[test]
fn who_is_missed_least_goes_first() {
    let goal = goal(1, UpdateStrategy::OnDelete);
    let mut members = vec![
        member(&goal, "old-and-ready", "a", 90),
        member(&goal, "young-and-ready", "a", 10),
        member(&goal, "alone-in-its-zone", "b", 5),
        member(&goal, "not-ready", "c", 80),
        member(&goal, "failed", "c", 80),
        member(&goal, "outdated", "b", 80),
    ];
    members[3].health = Health::NotReady;
    members[4].health = Health::Failed;
    members[5].template.machine_class = "edge".into();
    // The zone of the outdated one loses it first, then a is the fullest, then youth decides.
    assert_eq!(
        deletes(&plan(&goal, &members)),
        ["failed", "not-ready", "outdated", "young-and-ready", "alone-in-its-zone"]
    );
}

#[test]
fn fewer_machines_leave_the_zones_balanced() {
    let goal = goal(3, UpdateStrategy::Surge);
    let zones = ["a", "a", "a", "b", "b", "c"];
    let members: Vec<_> = zones
        .iter()
        .enumerate()
        .map(|(at, zone)| member(&goal, &format!("m{at}"), zone, 60 - at as i64))
        .collect();
    assert_eq!(deletes(&plan(&goal, &members)), ["m2", "m4", "m1"]);
}

#[test]
fn a_surge_makes_one_more_and_lets_an_old_one_go_when_it_is_ready() {
    let goal = goal(3, UpdateStrategy::Surge);
    let mut members = old(three(&goal));
    let first = plan(&goal, &members);
    assert_eq!((creates(&first), deletes(&first)), (vec!["a"], vec![]));
    assert_eq!(first.outdated.len(), 3);
    assert_eq!(first.outdated[0].because[0].to_string(), "version v1.35.4 → v1.36.3");

    members.push(member(&goal, "n1", "a", 1));
    members[3].health = Health::NotReady;
    let waiting = plan(&goal, &members);
    assert!(waiting.actions.is_empty(), "it stops by itself: {waiting:?}");
    let waits = [
        "1 machine to become ready",
        "3 outdated machines to be replaced when others are ready",
        "3 machines to leave before 2 more can be made",
    ];
    assert_eq!(waiting.waits, waits);

    members[3].health = Health::Ready;
    // Its zone has two now, so it is the one that goes.
    assert_eq!(deletes(&plan(&goal, &members)), ["m1"]);
    members[0].leaving = true;
    let draining = plan(&goal, &members);
    assert!(draining.actions.is_empty(), "one that drains still needs its place: {draining:?}");
}

#[test]
fn without_surge_an_old_one_is_gone_before_the_next_is_made() {
    let mut goal = goal(3, UpdateStrategy::Surge);
    (goal.surge, goal.unavailable) = (Share::Number(0), Share::Number(1));
    let mut members = old(three(&goal));
    let first = plan(&goal, &members);
    assert_eq!((creates(&first), deletes(&first)), (vec![], vec!["m3"]));
    members[2].leaving = true;
    assert!(plan(&goal, &members).actions.is_empty());
    members.pop();
    assert_eq!(creates(&plan(&goal, &members)), ["c"], "where the one was that has gone");
}

#[test]
fn broken_old_machines_go_without_costing_anything() {
    let goal = goal(3, UpdateStrategy::Surge);
    let mut members = old(three(&goal));
    members[0].health = Health::Failed;
    members.push(member(&goal, "n1", "a", 1));
    let plan = plan(&goal, &members);
    assert_eq!(deletes(&plan), ["m1"], "three are ready, and it was none of them");
}

#[test]
fn shares_of_a_small_pool_never_stop_an_update() {
    let mut goal = goal(3, UpdateStrategy::Surge);
    (goal.surge, goal.unavailable) = (Share::Number(0), Share::Percent(10));
    assert_eq!(deletes(&plan(&goal, &old(three(&goal)))).len(), 1);
}

#[test]
fn in_place_keeps_machines_and_changes_one_at_a_time() {
    let goal = goal(3, UpdateStrategy::InPlace);
    let mut members = old(three(&goal));
    let first = plan(&goal, &members);
    assert_eq!((creates(&first).len(), deletes(&first).len(), changes(&first).len()), (0, 0, 1));
    let at = members.iter().position(|m| m.name == changes(&first)[0]).unwrap();
    members[at].template = goal.template.clone();
    members[at].changing = true;
    let waiting = plan(&goal, &members);
    assert!(waiting.actions.is_empty(), "{waiting:?}");
    assert!(waiting.waits.contains(&"2 outdated machines to be changed when others are ready".to_owned()));
    members[at].changing = false;
    assert_eq!(changes(&plan(&goal, &members)).len(), 1);
}

#[test]
fn in_place_replaces_what_needs_another_machine_first() {
    let mut goal = goal(3, UpdateStrategy::InPlace);
    let mut members = old(three(&goal));
    goal.zones = vec!["a".into(), "b".into()];
    goal.zones_are_asked_for = true;
    let first = plan(&goal, &members);
    assert_eq!((creates(&first), changes(&first).len()), (vec!["a"], 0));
    let moved = first.outdated.iter().find(|outdated| outdated.machine == "m3").unwrap();
    assert!(moved.needs_another() && moved.because[0].to_string() == "zone c → a or b", "{moved:?}");
    members.push(member(&goal, "n1", "a", 1));
    assert_eq!(deletes(&plan(&goal, &members)), ["m3"]);
}

#[test]
fn on_delete_only_says_what_is_outdated() {
    let goal = goal(3, UpdateStrategy::OnDelete);
    let plan = plan(&goal, &old(three(&goal)));
    assert!(plan.is_settled());
    assert_eq!(plan.outdated.len(), 3);
    assert_eq!(
        plan.to_string().lines().collect::<Vec<_>>()[..2],
        ["Not as the pool says:", "  m1: version v1.35.4 → v1.36.3"]
    );
}

#[test]
fn what_the_platform_changes_replaces_nothing() {
    let goal = goal(3, UpdateStrategy::Surge);
    let mut members = three(&goal);
    // The class lost the zone and its content changed; the pool names no zones.
    members[2].zone = "gone".into();
    assert!(plan(&goal, &members).is_settled());
    // A machine made by hand names no version: it has none to be behind with.
    members[1].template.version = None;
    assert!(plan(&goal, &members).outdated.is_empty());
}

#[test]
fn the_order_of_taints_means_nothing() {
    use skep_api::machine::{Taint, TaintEffect};
    let taint = |key: &str| Taint { key: key.into(), value: String::new(), effect: TaintEffect::NoSchedule };
    let mut goal = goal(1, UpdateStrategy::Surge);
    goal.template.taints = vec![taint("a"), taint("b")];
    let mut member = member(&goal, "m", "a", 1);
    member.template.taints.reverse();
    assert_eq!(differences(&goal, &member), []);
    member.template.taints.pop();
    assert_eq!(
        differences(&goal, &member)[0].to_string(),
        "taints b=:NoSchedule → a=:NoSchedule,b=:NoSchedule"
    );
}

fn refused(change: impl FnOnce(&mut skep_api::NodePoolSpec)) -> String {
    let mut spec = spec(3);
    change(&mut spec);
    match resolve(&spec, &facts()) {
        Err(Unresolved::Refused(refused)) => refused.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_be_is_refused_with_what_can() {
    for (said, parts) in [
        (
            refused(|s| s.template.machine_class = "huge".into()),
            ["\"huge\"", "edge, local-small", "SKEP-8051"],
        ),
        (
            refused(|s| s.zones = vec!["a".into(), "d".into()]),
            ["cannot be had in zone d", "its zones are a, b, c", "SKEP-8052"],
        ),
        (
            refused(|s| s.zones = vec!["d".into()]),
            ["zone d", "classes that can be had there are edge", "SKEP-8052"],
        ),
        (
            refused(|s| s.template.version = Some("v1.36.9".into())),
            ["v1.36.9", "v1.32.1, v1.35.4", "SKEP-8053"],
        ),
        (
            refused(|s| s.template.version = Some("v1.37.0".into())),
            ["ahead of their control plane", "serves v1.36.3", "SKEP-8054"],
        ),
        (refused(|s| s.template.version = Some("v1.32.1".into())), ["too old", "from 1.33 on", "SKEP-8054"]),
        (
            refused(|s| drop(s.template.labels.insert("node-role.kubernetes.io/x".into(), String::new()))),
            ["template.labels[node-role.kubernetes.io/x]", "cannot give itself", "SKEP-8055"],
        ),
        (
            refused(|s| {
                s.update.max_surge =
                    k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::String("many".into());
            }),
            ["update.maxSurge", "\"many\"", "SKEP-8056"],
        ),
    ] {
        for part in parts {
            assert!(said.contains(part), "{part:?} is missing in {said}");
        }
    }
    let mut facts = facts();
    facts.cluster = ClusterState::Missing(vec!["other".into()]);
    let Err(Unresolved::Refused(said)) = resolve(&spec(3), &facts) else { panic!() };
    assert_eq!(
        said.to_string(),
        "there is no cluster \"demo\" in this namespace; known are other (SKEP-8050)"
    );
}

#[test]
fn all_reasons_are_said_at_once() {
    let said = refused(|s| {
        s.template.machine_class = "huge".into();
        s.template.version = Some("v1.37.0".into());
    });
    assert!(said.contains("SKEP-8051") && said.contains("SKEP-8054"), "{said}");
}

#[test]
fn a_pool_without_a_version_follows_the_oldest_api_server() {
    let mut facts = facts();
    let at = |serving: Option<&str>, wanted: &str| {
        ClusterState::Decided(Versions {
            serving: serving.map(|text| text.parse().unwrap()),
            wanted: wanted.parse().unwrap(),
        })
    };
    for (cluster, version) in [
        (at(Some("v1.35.4"), "v1.36.3"), "v1.35.4"),
        (at(None, "v1.36.3"), "v1.36.3"),
        (at(Some("v1.36.3"), "v1.36.3"), "v1.36.3"),
    ] {
        facts.cluster = cluster;
        let goal = resolve(&spec(3), &facts).unwrap();
        assert_eq!(goal.version.to_string(), version);
        assert_eq!(goal.template.version.as_deref(), Some(version));
    }
    facts.cluster = ClusterState::Undecided;
    assert_eq!(
        resolve(&spec(3), &facts),
        Err(Unresolved::Waits("cluster demo has to be accepted first".into()))
    );
}

#[test]
fn a_release_that_is_taken_out_stops_no_node_of_what_runs() {
    let mut facts = facts();
    facts.releases.clear();
    let mut spec = spec(3);
    spec.template.version = Some("v1.36.3".into());
    assert!(resolve(&spec, &facts).is_ok());
}

#[test]
fn the_number_of_machines_stays_within_an_autoscalers_bounds() {
    let with = |replicas: Option<i32>, scaling: Option<(i32, i32)>| {
        let mut spec = spec(0);
        spec.replicas = replicas;
        spec.scaling = scaling.map(|(min, max)| Scaling { min, max, remove: Vec::new() });
        resolve(&spec, &facts()).unwrap().replicas
    };
    assert_eq!(with(None, None), 1);
    assert_eq!(with(Some(0), None), 0);
    assert_eq!(with(None, Some((2, 5))), 2);
    assert_eq!(with(Some(9), Some((2, 5))), 5);
    assert_eq!(with(Some(1), Some((2, 5))), 2);
}

#[test]
fn named_machines_go_and_no_other() {
    let mut goal = goal(2, UpdateStrategy::Surge);
    let mut members: Vec<Member> =
        [("m1", 10), ("m2", 20), ("m3", 30)].map(|(name, age)| member(&goal, name, "a", age)).into();
    // By itself the pool would choose the one that is not ready.
    members[0].health = Health::NotReady;
    goal.remove = vec!["m3".into(), "gone".into()];
    let plan = plan(&goal, &members);
    assert_eq!(plan.actions, [Action::Delete { machine: "m3".into(), why: Why::Named }]);
    assert!(plan.to_string().contains("m3 drains and goes: it is named in scaling.remove"), "{plan}");
    members[2].leaving = true;
    assert_eq!(super::plan(&goal, &members).actions, []);
}

#[test]
fn a_named_machine_of_a_pool_that_grows_goes_and_others_come() {
    let mut goal = goal(3, UpdateStrategy::Surge);
    let members: Vec<Member> =
        [("m1", 10), ("m2", 20)].map(|(name, age)| member(&goal, name, "a", age)).into();
    goal.remove = vec!["m1".into()];
    let actions = plan(&goal, &members).actions;
    let created = actions.iter().filter(|action| matches!(action, Action::Create { .. })).count();
    assert_eq!((created, actions.len()), (2, 3), "{actions:?}");
}
