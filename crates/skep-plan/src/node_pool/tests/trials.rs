//! A changed template that is not healthy: the update stops, and what is broken goes back.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use skep_api::NodePoolStatus;

use super::*;

const DEADLINE: Duration = Duration::from_secs(900);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// A goal of v1.36.3, and the template before it.
fn goals() -> (Goal, skep_api::NodeTemplate) {
    let goal = goal(3, UpdateStrategy::Surge);
    let healthy = skep_api::NodeTemplate { version: Some("v1.35.4".into()), ..goal.template.clone() };
    (goal, healthy)
}

fn broken(mut member: Member, since: i64) -> Member {
    (member.health, member.untried, member.unready) = (Health::NotReady, true, Some(at(since)));
    member
}

fn judged(goal: &Goal, healthy: &skep_api::NodeTemplate, members: &[Member], seen: i64, now: i64) -> Trial {
    trial(goal, Some(healthy), members, Some(at(seen)), DEADLINE, at(now))
}

#[test]
fn a_machine_that_does_not_come_up_in_time_ends_the_trial() {
    let (goal, healthy) = goals();
    let mut members = old(three(&goal));
    members.push(broken(member(&goal, "n1", "a", 1), 100));
    assert_eq!(judged(&goal, &healthy, &members, 0, 999), Trial::Open(Some(at(1000))));
    assert_eq!(judged(&goal, &healthy, &members, 0, 1000), Trial::Failed(vec!["n1".into()]));
    // Nobody could look for long enough.
    assert_eq!(judged(&goal, &healthy, &members, 500, 1399), Trial::Open(Some(at(1400))));
    assert_eq!(trial(&goal, Some(&healthy), &members, None, DEADLINE, at(9_999)), Trial::Open(None));
    // The very first template has nothing to go back to, and what was healthy before is not tried again.
    assert_eq!(trial(&goal, None, &members, Some(at(0)), DEADLINE, at(9_999)), Trial::Open(None));
    assert_eq!(judged(&goal, &goal.template, &members, 0, 9_999), Trial::Open(None));
}

#[test]
fn one_of_many_that_breaks_later_is_not_the_templates_fault() {
    let (goal, healthy) = goals();
    let mut members = three(&goal);
    members.extend(old(vec![member(&goal, "m4", "a", 50)]));
    (members[0].health, members[0].unready) = (Health::NotReady, Some(at(0)));
    assert_eq!(judged(&goal, &healthy, &members, 0, 9_999), Trial::Open(None));
    (members[1].health, members[1].unready) = (Health::NotReady, Some(at(0)));
    assert_eq!(judged(&goal, &healthy, &members, 0, 9_999), Trial::Failed(vec!["m1".into(), "m2".into()]));
}

#[test]
fn a_template_is_healthy_when_every_machine_has_been() {
    let (goal, healthy) = goals();
    let mut members = three(&goal);
    assert_eq!(judged(&goal, &healthy, &members, 0, 0), Trial::Healthy);
    // One of them is broken now: that says nothing about the template any more.
    (members[0].health, members[0].unready) = (Health::NotReady, Some(at(0)));
    assert_eq!(judged(&goal, &healthy, &members, 0, 0), Trial::Healthy);
    members[0].untried = true;
    assert_ne!(judged(&goal, &healthy, &members, 0, 0), Trial::Healthy);
    assert_ne!(judged(&goal, &healthy, &old(three(&goal)), 0, 0), Trial::Healthy);
    assert_ne!(judged(&goal, &healthy, &[], 0, 0), Trial::Healthy, "nobody has tried it");
}

fn stopped(goal: &Goal, healthy: Option<&skep_api::NodeTemplate>, machines: &[&str]) -> NodePoolStatus {
    let machines = machines.iter().map(|name| (*name).to_owned()).collect();
    NodePoolStatus {
        stopped: Some(Trial::stop(goal, 0, machines, at(0))),
        healthy_template: healthy.cloned(),
        ..NodePoolStatus::default()
    }
}

#[test]
fn what_is_broken_goes_back_and_what_is_healthy_stays() {
    let (mut ahead, healthy) = goals();
    ahead.template.labels.clear();
    let status = stopped(&ahead, Some(&healthy), &["n2"]);
    let Ok(Course::Back(back)) = steer(&spec(3), Some(&status), &facts()) else { panic!() };
    assert_eq!((back.version.to_string().as_str(), &back.template), ("v1.35.4", &healthy));
    let mut members = old(vec![member(&ahead, "m1", "a", 30), member(&ahead, "m2", "b", 30)]);
    members.push(member(&ahead, "n1", "c", 5));
    assert!(plan(&back, &members).is_settled(), "two old ones and a healthy new one are fine");
    members.push(broken(member(&ahead, "n2", "a", 1), 0));
    let first = plan(&back, &members);
    assert_eq!((creates(&first).len(), deletes(&first)), (0, vec!["n2"]));
    assert_eq!(first.outdated[0].because[0].to_string(), "version v1.36.3 → v1.35.4");
    // One that was made with it in the last moment goes too, and new ones are made as before.
    members[3].name = "n3".into();
    assert_eq!(deletes(&plan(&back, &members)), ["n3"]);
    assert_eq!(creates(&plan(&back, &members[..2])).len(), 1);
}

#[test]
fn a_stopped_update_is_tried_again_when_somebody_wants_that() {
    let (goal, healthy) = goals();
    let status = stopped(&goal, Some(&healthy), &[]);
    let steered = |change: &dyn Fn(&mut skep_api::NodePoolSpec)| {
        let mut spec = spec(3);
        change(&mut spec);
        steer(&spec, Some(&status), &facts()).unwrap()
    };
    assert!(matches!(steered(&|_| {}), Course::Back(_)));
    assert!(matches!(steered(&|spec| spec.replicas = Some(5)), Course::Back(_)), "an autoscaler is nobody");
    assert!(matches!(steered(&|spec| spec.update.attempt = 1), Course::Ahead(_)));
    let other = |spec: &mut skep_api::NodePoolSpec| drop(spec.template.labels.insert("a".into(), "b".into()));
    assert!(matches!(steered(&other), Course::Ahead(_)));
}

#[test]
fn without_a_way_back_everything_stays() {
    let (goal, healthy) = goals();
    let gone = skep_api::NodeTemplate { version: Some("v1.32.1".into()), ..healthy };
    for (healthy, why) in [(None, "no template was healthy"), (Some(&gone), "too old")] {
        let status = stopped(&goal, healthy, &["n1"]);
        let Ok(Course::Held(held, said)) = steer(&spec(3), Some(&status), &facts()) else { panic!() };
        assert!(said.contains(why), "{said}");
        let mut members = old(three(&goal));
        members.push(broken(member(&goal, "n1", "a", 1), 0));
        assert!(deletes(&plan(&held, &members)).len() <= 1, "only what is too many");
    }
}

proptest! {
    /// Every update of a template of which no machine ever gets healthy ends where it began, for any strategy.
    #[test]
    fn an_update_that_fails_ends_where_it_began(
        replicas in 1usize..8, surge in 0usize..3, unavailable in 0usize..3, in_place in any::<bool>(),
    ) {
        let strategy = if in_place { UpdateStrategy::InPlace } else { UpdateStrategy::Surge };
        let (_, healthy) = goals();
        let ahead = Goal { surge: Share::Number(surge), unavailable: Share::Number(unavailable), ..goal(replicas, strategy) };
        let zone = |at: usize| ["a", "b", "c"][at % 3];
        let mut members = old((0..replicas).map(|at| member(&ahead, &format!("m{at}"), zone(at), 90)).collect());
        let (mut course, mut now, mut made) = (ahead.clone(), 0, 0);
        for _ in 0..60 {
            let next = plan(&course, &members);
            for action in &next.actions {
                match action {
                    Action::Create { zone } => {
                        made += 1;
                        let mut new = member(&course, &format!("n{made}"), zone, 0);
                        if course.tried.is_none() { new = broken(new, now); }
                        members.push(new);
                    }
                    Action::Delete { machine, .. } => members.retain(|member| member.name != *machine),
                    Action::Change { machine } => {
                        let member = members.iter_mut().find(|member| member.name == *machine).unwrap();
                        member.template = course.template.clone();
                        let works = course.tried.is_some();
                        (member.health, member.untried, member.unready) =
                            if works { (Health::Ready, false, None) } else { (Health::NotReady, true, Some(at(now))) };
                    }
                }
            }
            now += 100;
            if course.tried.is_none() && let Trial::Failed(back) = judged(&course, &healthy, &members, 0, now) {
                course = Goal {
                    template: healthy.clone(),
                    tried: Some(Tried { template: ahead.template.clone(), back }),
                    ..ahead.clone()
                };
            }
        }
        prop_assert!(course.tried.is_some(), "it was stopped");
        prop_assert_eq!(members.len(), replicas);
        prop_assert!(members.iter().all(|member| member.template == healthy && member.health == Health::Ready));
    }
}
