//! Single judgements, what holds for every decision, and storms that are simulated to their end.

use proptest::prelude::*;
use skep_api::condition::ConditionStatus;

use super::*;

mod simulation;

/// A decision without a past of dark zones.
fn decide(rules: &Rules, sight: &Sight, patients: &[Patient], past: &[Past], now: Timestamp) -> Decision {
    super::decide(rules, sight, &Calm::default(), patients, past, now)
}

const LIMIT: Duration = Duration::from_secs(300);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn rules() -> Rules {
    Rules {
        policy: RepairPolicy::Replace,
        not_ready: LIMIT,
        max_unhealthy: Share::Percent(40),
        per_hour: 10,
        signs: OnFailureSigns::Report,
        drain: Duration::from_secs(600),
    }
}

fn patient(name: &str, zone: &str, state: State) -> Patient {
    Patient {
        name: name.into(),
        zone: zone.into(),
        exempt: false,
        state,
        stops: Vec::new(),
        signs: Vec::new(),
        reboots: 0,
        last: None,
    }
}

/// So many ready ones beside.
fn beside(ready: usize, others: Vec<Patient>) -> Vec<Patient> {
    let zone = |at: usize| ["a", "b", "c"][at % 3];
    let ready = (0..ready).map(|at| patient(&format!("ready-{at}"), zone(at), State::Ready));
    ready.chain(others).collect()
}

fn seen() -> Sight {
    Sight::Since(at(-100_000))
}

fn acts(decision: &Decision) -> Vec<(&str, RepairAction)> {
    decision.orders.iter().map(|order| (&*order.machine, order.action)).collect()
}

#[test]
fn one_dead_node_is_rebooted_then_replaced_each_once() {
    let dead = |reboots, last| Patient { reboots, last, ..patient("dead", "a", State::NotReady(at(0))) };
    let decide = |patient: Patient, past: &[Past], now: i64| {
        decide(&rules(), &seen(), &beside(9, vec![patient]), past, at(now))
    };
    let early = decide(dead(0, None), &[], 299);
    assert_eq!((acts(&early), early.reason, early.wake), (vec![], "Watching", Some(at(300))));
    assert_eq!(early.message, "rebooted unless they recover: dead at 2027-01-15T08:05:00Z");

    let due = decide(dead(0, None), &[], 300);
    assert_eq!(acts(&due), [("dead", RepairAction::Reboot)]);
    assert_eq!((due.reason, &*due.message), ("Repairing", "being rebooted: dead"));

    let ordered = [Past { machine: "dead".into(), action: RepairAction::Reboot, at: at(300) }];
    assert_eq!(acts(&decide(dead(0, None), &ordered, 400)), []);
    let rebooted = || dead(1, Some((at(300), at(310))));
    let waiting = decide(rebooted(), &ordered, 609);
    assert_eq!((acts(&waiting), waiting.wake), (vec![], Some(at(610))));
    assert_eq!(acts(&decide(rebooted(), &ordered, 610)), [("dead", RepairAction::Replace)]);
    let again = Past { machine: "dead".into(), action: RepairAction::Replace, at: at(610) };
    let both = [ordered[0].clone(), again];
    assert_eq!(acts(&decide(rebooted(), &both, 9_999)), []);
}

#[test]
fn a_reboot_that_nobody_can_carry_out_ends_in_another_machine() {
    let dead = patient("dead", "a", State::NotReady(at(0)));
    let ordered = [Past { machine: "dead".into(), action: RepairAction::Reboot, at: at(300) }];
    // The drain may take 600 s, and what follows as long as a node may be not ready.
    let decide =
        |rules: &Rules, now| decide(rules, &seen(), &beside(9, vec![dead.clone()]), &ordered, at(now));
    assert_eq!(acts(&decide(&rules(), 1199)), []);
    assert_eq!(acts(&decide(&rules(), 1200)), [("dead", RepairAction::Replace)]);
    let careful = Rules { policy: RepairPolicy::Reboot, ..rules() };
    assert_eq!(acts(&decide(&careful, 99_999)), []);
}

#[test]
fn the_policy_is_the_limit() {
    let rebooted = Patient {
        reboots: 1,
        last: Some((at(300), at(310))),
        ..patient("dead", "a", State::NotReady(at(0)))
    };
    let pool = beside(9, vec![rebooted]);
    let careful = Rules { policy: RepairPolicy::Reboot, ..rules() };
    let said = decide(&careful, &seen(), &pool, &[], at(9_999));
    assert_eq!((acts(&said), said.reason), (vec![], "Helpless"));
    assert!(said.message.contains("dead") && said.message.contains("SKEP-8066"), "{}", said.message);
    let off = Rules { policy: RepairPolicy::Off, ..rules() };
    let said = decide(&off, &seen(), &pool, &[], at(9_999));
    assert_eq!(
        (acts(&said), said.allowed, &*said.message),
        (vec![], ConditionStatus::False, "repair.policy is Off; not ready: dead")
    );
}

#[test]
fn a_machine_that_never_joins_gets_more_time_and_then_the_same() {
    let pool = |state| beside(9, vec![patient("new", "a", state)]);
    let decide = |now| decide(&rules(), &seen(), &pool(State::Joining(at(0))), &[], at(now));
    assert_eq!(acts(&decide(899)), []);
    let due = decide(900);
    assert_eq!(due.orders[0].because, RepairCause::NeverJoined);
    // One that is being made, changed, or tried as a new version is nobody's patient.
    let busy = super::decide(&rules(), &seen(), &Calm::default(), &pool(State::Busy), &[], at(99_999));
    assert_eq!((acts(&busy), busy.reason), (vec![], "Idle"));
}

#[test]
fn nothing_is_judged_by_what_nobody_saw() {
    let pool = beside(9, vec![patient("dead", "a", State::NotReady(at(0)))]);
    let away = decide(&rules(), &Sight::Since(at(5_000)), &pool, &[], at(5_299));
    assert_eq!((acts(&away), away.wake), (vec![], Some(at(5_300))));
    let back = decide(&rules(), &Sight::Since(at(5_000)), &pool, &[], at(5_300));
    assert_eq!(acts(&back), [("dead", RepairAction::Reboot)]);
    let blind = decide(&rules(), &Sight::Blind("cluster demo does not serve".into()), &pool, &[], at(9_999));
    assert_eq!((acts(&blind), blind.allowed), (vec![], ConditionStatus::Unknown));
    assert_eq!(
        blind.message,
        "nothing is judged: cluster demo does not serve; last known as not ready: dead"
    );
}

#[test]
fn a_person_can_take_a_machine_out() {
    let exempt = Patient { exempt: true, ..patient("mine", "a", State::NotReady(at(0))) };
    let said = decide(&rules(), &seen(), &beside(2, vec![exempt.clone()]), &[], at(9_999));
    assert_eq!((acts(&said), &*said.message), (vec![], "exempt, left to a person: mine"));
    // It is no sign against the others either.
    let dead = patient("dead", "b", State::NotReady(at(0)));
    let said = decide(&rules(), &seen(), &beside(0, vec![exempt, dead]), &[], at(9_999));
    assert_eq!(acts(&said), [("dead", RepairAction::Reboot)]);
}

#[test]
fn too_many_at_once_stop_everything() {
    let dead = |at_: usize| patient(&format!("dead-{at_}"), ["a", "b", "c"][at_ % 3], State::NotReady(at(0)));
    // 40 % of 10: four may be.
    let four = decide(&rules(), &seen(), &beside(6, (0..4).map(dead).collect()), &[], at(300));
    assert_eq!(four.orders.len(), 4);
    let five = decide(&rules(), &seen(), &beside(5, (0..5).map(dead).collect()), &[], at(300));
    assert_eq!(
        (acts(&five), five.reason, five.allowed),
        (vec![], "TooManyUnhealthy", ConditionStatus::False)
    );
    assert!(
        five.message.contains("5 nodes are unhealthy and repair.maxUnhealthy allows 4"),
        "{}",
        five.message
    );
    assert!(five.message.contains("SKEP-8064") && five.message.contains("dead-0"), "{}", five.message);
    // Of two one may be, of one too.
    assert_eq!(decide(&rules(), &seen(), &beside(1, vec![dead(0)]), &[], at(300)).orders.len(), 1);
    assert_eq!(decide(&rules(), &seen(), &beside(0, vec![dead(0)]), &[], at(300)).orders.len(), 1);
    assert_eq!(decide(&rules(), &seen(), &beside(0, vec![dead(0), dead(1)]), &[], at(300)).orders.len(), 0);
}

#[test]
fn a_dark_zone_is_left_alone_and_the_others_are_not() {
    let in_a = (0..3).map(|at_| patient(&format!("a-{at_}"), "a", State::NotReady(at(0))));
    let in_b = patient("b-0", "b", State::NotReady(at(0)));
    let pool: Vec<Patient> = (0..20)
        .map(|at_| patient(&format!("c-{at_}"), "c", State::Ready))
        .chain(in_a)
        .chain([in_b])
        .collect();
    let said = decide(&rules(), &seen(), &pool, &[], at(300));
    assert_eq!((acts(&said), said.reason), (vec![("b-0", RepairAction::Reboot)], "ZoneUnhealthy"));
    assert!(said.message.starts_with("most nodes of zone a are unhealthy"), "{}", said.message);
}

#[test]
fn an_hour_has_so_many_repairs_and_no_more() {
    let rules = Rules { per_hour: 3, ..rules() };
    let dead = |at_: i64| {
        patient(&format!("dead-{at_}"), ["a", "b", "c"][at_ as usize % 3], State::NotReady(at(at_)))
    };
    let pool = beside(20, (0..4).map(dead).collect());
    let first = decide(&rules, &seen(), &pool, &[], at(400));
    // The longest first.
    let reboot = |name| (name, RepairAction::Reboot);
    assert_eq!(acts(&first), [reboot("dead-0"), reboot("dead-1"), reboot("dead-2")]);
    assert_eq!((first.reason, first.wake), ("HourlyLimit", Some(at(4000))));
    let past: Vec<Past> = (0..3)
        .map(|at_| Past { machine: format!("old-{at_}"), action: RepairAction::Reboot, at: at(at_ * 10) })
        .collect();
    let full = decide(&rules, &seen(), &pool, &past, at(3599));
    assert_eq!((acts(&full), full.wake), (vec![], Some(at(3600))));
    assert!(
        full.message.contains("SKEP-8065") && full.message.contains("held back: dead-0"),
        "{}",
        full.message
    );
    assert_eq!(acts(&decide(&rules, &seen(), &pool, &past, at(3600))).len(), 1);
}

#[test]
fn signs_of_failing_are_said_and_acted_on_if_the_pool_wants_that() {
    let failing = |name: &str| Patient {
        signs: vec![("ReadonlyFilesystem".into(), at(0))],
        ..patient(name, "a", State::Ready)
    };
    let pool = beside(9, vec![failing("one"), failing("two")]);
    let said = decide(&rules(), &seen(), &pool, &[], at(9_999));
    assert_eq!((acts(&said), said.reason), (vec![], "Watching"));
    assert!(said.message.contains("one (ReadonlyFilesystem)"), "{}", said.message);

    let evacuate = Rules { signs: OnFailureSigns::Evacuate, ..rules() };
    assert_eq!(acts(&decide(&evacuate, &seen(), &pool, &[], at(299))), []);
    let due = decide(&evacuate, &seen(), &pool, &[], at(300));
    assert_eq!(acts(&due), [("one", RepairAction::Evacuate)], "one at a time");
    let past = [Past { machine: "one".into(), action: RepairAction::Evacuate, at: at(300) }];
    let mut leaving = pool.clone();
    leaving[9].state = State::Leaving;
    assert_eq!(acts(&decide(&evacuate, &seen(), &leaving, &past, at(9_999))), []);
    leaving.remove(9);
    assert_eq!(
        acts(&decide(&evacuate, &seen(), &leaving, &past, at(9_999))),
        [("two", RepairAction::Evacuate)]
    );
    // While somebody does not work at all, those that work stay.
    let mut worse = pool;
    worse.push(patient("dead", "b", State::NotReady(at(0))));
    assert_eq!(acts(&decide(&evacuate, &seen(), &worse, &[], at(9_999))), [("dead", RepairAction::Reboot)]);
}

#[test]
fn a_node_that_comes_and_goes_is_a_sign() {
    let stops = |count: i64| (0..count).map(|one| at(one * 60)).collect::<Vec<_>>();
    let flapping =
        |count| beside(9, vec![Patient { stops: stops(count), ..patient("flaps", "a", State::Ready) }]);
    let evacuate = Rules { signs: OnFailureSigns::Evacuate, ..rules() };
    let decide = |count, now| decide(&evacuate, &seen(), &flapping(count), &[], at(now));
    assert_eq!(acts(&decide(4, 600)), []);
    assert_eq!(acts(&decide(5, 539)), [], "the last time was not long enough ago");
    assert_eq!(decide(5, 540).orders[0].because, RepairCause::Flapping);
    assert_eq!(acts(&decide(5, 9_999)), [], "long ago");
}

fn state() -> impl Strategy<Value = State> {
    let since = -2000i64..2000;
    prop_oneof![
        4 => Just(State::Ready),
        3 => since.clone().prop_map(|s| State::NotReady(at(s))),
        1 => since.prop_map(|s| State::Joining(at(s))),
        1 => Just(State::Busy),
        1 => Just(State::Leaving),
    ]
}

/// A reboot that was ordered long ago and never done, and a machine that has been well since.
#[test]
fn an_old_order_does_not_make_a_new_failure_old() {
    let past = [Past { machine: "m".into(), action: RepairAction::Reboot, at: at(0) }];
    let rules = Rules { drain: Duration::ZERO, max_unhealthy: Share::Percent(100), ..rules() };
    let look = |now: i64| {
        let patients = beside(5, vec![patient("m", "a", State::NotReady(at(1000)))]);
        decide(&rules, &seen(), &patients, &past, at(now)).orders
    };
    let limit = i64::try_from(rules.not_ready.as_secs()).unwrap();
    assert_eq!(look(1000 + limit - 1), []);
    assert_eq!(look(1000 + limit)[0].action, RepairAction::Replace);
}

prop_compose! {
    fn patients()(
        all in prop::collection::vec(
            (state(), 0usize..3, any::<bool>(), prop::collection::vec(-4000i64..2000, 0..7), any::<bool>(),
                0usize..2, prop::option::of((-4000i64..0, 0i64..2000))), 0..30),
    ) -> Vec<Patient> {
        all.into_iter().enumerate().map(|(number, (state, zone, exempt, stops, sign, reboots, last))| Patient {
            exempt,
            stops: stops.into_iter().map(at).collect(),
            signs: sign.then(|| ("KernelDeadlock".to_owned(), at(-900))).into_iter().collect(),
            reboots,
            last: last.map(|(decided, took)| (at(decided), at(decided + took))),
            ..patient(&format!("m{number:02}"), ["a", "b", "c"][zone], state)
        }).collect()
    }
}

prop_compose! {
    fn any_rules()(
        policy in prop_oneof![Just(RepairPolicy::Off), Just(RepairPolicy::Reboot), Just(RepairPolicy::Replace)],
        limit in 30u64..600, share in 0usize..=100, per_hour in 1usize..12, evacuate in any::<bool>(), drain in 0u64..900,
    ) -> Rules {
        Rules {
            policy,
            not_ready: Duration::from_secs(limit),
            max_unhealthy: Share::Percent(share),
            per_hour,
            signs: if evacuate { OnFailureSigns::Evacuate } else { OnFailureSigns::Report },
            drain: Duration::from_secs(drain),
        }
    }
}

fn past() -> impl Strategy<Value = Vec<Past>> {
    let action =
        prop_oneof![Just(RepairAction::Reboot), Just(RepairAction::Replace), Just(RepairAction::Evacuate)];
    let one = (0usize..35, action, -5000i64..2000);
    prop::collection::vec(one, 0..15).prop_map(|all| {
        all.into_iter()
            .map(|(number, action, second)| Past { machine: format!("m{number:02}"), action, at: at(second) })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    /// Whatever is there, no order leaves the rules.
    #[test]
    fn no_order_leaves_the_rules(patients in patients(), rules in any_rules(), past in past(), watched in -3000i64..2000) {
        let now = at(2000);
        let decision = decide(&rules, &Sight::Since(at(watched)), &patients, &past, now);
        let in_the_hour = past.iter().filter(|order| after(order.at, HOUR) > now).count();
        prop_assert!(decision.orders.is_empty() || in_the_hour + decision.orders.len() <= rules.per_hour);
        let mut named: Vec<&str> = decision.orders.iter().map(|order| &*order.machine).collect();
        named.sort_unstable();
        named.dedup();
        prop_assert_eq!(named.len(), decision.orders.len(), "nobody twice");
        for order in &decision.orders {
            let patient = patients.iter().find(|patient| patient.name == order.machine).unwrap();
            prop_assert!(!patient.exempt && rules.policy != RepairPolicy::Off);
            prop_assert!(order.action == RepairAction::Reboot || rules.policy == RepairPolicy::Replace);
            prop_assert!(since(at(watched), now) >= rules.not_ready, "nobody has looked for that long");
            match patient.state {
                State::NotReady(then) => prop_assert!(since(then, now) >= rules.not_ready),
                State::Joining(then) => prop_assert!(since(then, now) >= rules.not_ready.max(JOIN)),
                State::Ready => prop_assert_eq!(order.action, RepairAction::Evacuate),
                State::Busy | State::Leaving => prop_assert!(false, "{:?}", patient),
            }
            prop_assert!(order.action != RepairAction::Reboot || patient.reboots == 0, "a reboot is tried once");
        }
        let live = patients.iter().filter(|patient| patient.state != State::Leaving).count();
        let unhealthy = patients.iter().filter(|patient| patient.is_unhealthy(&rules, now)).count();
        if unhealthy > rules.max_unhealthy.rounded_up(live) {
            prop_assert!(decision.orders.is_empty());
        }
        let evacuated = decision.orders.iter().filter(|order| order.action == RepairAction::Evacuate).count();
        prop_assert!(evacuated <= 1);
    }

    /// What was decided is not decided again as long as nobody has carried it out, and the order of lists means nothing.
    #[test]
    fn a_decision_is_made_once(patients in patients(), rules in any_rules(), past in past(), rotation in 0usize..30) {
        let rules = Rules { per_hour: 1000, ..rules };
        let now = at(2000);
        let first = decide(&rules, &seen(), &patients, &past, now);
        let mut turned = patients.clone();
        let by = rotation % turned.len().max(1);
        turned.rotate_left(by);
        prop_assert_eq!(&first, &decide(&rules, &seen(), &turned, &past, now));
        let given = first.orders.iter().map(|o| Past { machine: o.machine.clone(), action: o.action, at: now });
        let journal: Vec<Past> = past.into_iter().chain(given).collect();
        let second = decide(&rules, &seen(), &patients, &journal, now);
        for order in second.orders {
            prop_assert!(!first.orders.iter().any(|one| one.machine == order.machine), "{:?}", order);
        }
    }
}
