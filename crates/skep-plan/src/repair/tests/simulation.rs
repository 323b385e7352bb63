//! Pools with a clock: nodes go dark and come back, machines are rebooted and replaced, and every order is counted.

use super::*;

/// Seconds between two looks.
const STEP: i64 = 20;
/// Seconds a machine needs to start.
const BOOT: i64 = 40;

#[derive(Clone)]
struct Node {
    name: String,
    zone: String,
    /// Not ready since, if it is not.
    dark: Option<i64>,
    /// It does not work until this.
    broken_until: i64,
    /// A reboot does not help.
    dead: bool,
    reboots: usize,
    last: Option<(i64, i64)>,
    /// It starts and is ready then.
    starts_until: Option<i64>,
}

struct World {
    rules: Rules,
    nodes: Vec<Node>,
    journal: Vec<Past>,
    calm: Calm,
    made: usize,
    /// Every order: when, whom, what.
    log: Vec<(i64, String, RepairAction)>,
}

impl World {
    fn new(zones: &[(&str, usize)], rules: Rules) -> Self {
        let mut world = Self {
            rules,
            nodes: Vec::new(),
            journal: Vec::new(),
            calm: Calm::default(),
            made: 0,
            log: Vec::new(),
        };
        for (zone, count) in zones {
            (0..*count).for_each(|_| world.make(zone, None));
        }
        world
    }

    fn make(&mut self, zone: &str, starts_until: Option<i64>) {
        self.made += 1;
        self.nodes.push(Node {
            name: format!("n{:04}", self.made),
            zone: zone.into(),
            dark: None,
            broken_until: i64::MIN,
            dead: false,
            reboots: 0,
            last: None,
            starts_until,
        });
    }

    fn patients(&self) -> Vec<Patient> {
        self.nodes
            .iter()
            .map(|node| Patient {
                reboots: node.reboots,
                last: node.last.map(|(decided, done)| (at(decided), at(done))),
                ..patient(
                    &node.name,
                    &node.zone,
                    match (node.starts_until, node.dark) {
                        (Some(_), _) if node.reboots == 0 => State::Busy,
                        (_, Some(since)) => State::NotReady(at(since)),
                        _ => State::Ready,
                    },
                )
            })
            .collect()
    }

    /// Everything of one step: nodes fail and come back, one decision, which is carried out at once.
    fn step(&mut self, now: i64) {
        for node in &mut self.nodes {
            if node.starts_until.is_some_and(|until| now >= until) {
                node.starts_until = None;
            }
            let works = now >= node.broken_until && !node.dead && node.starts_until.is_none();
            node.dark = if works { None } else { node.dark.or(Some(now)) };
        }
        let hour = i64::try_from(HOUR.as_secs()).unwrap();
        self.journal.retain(|order| order.at > at(now - hour));
        let decision =
            super::super::decide(&self.rules, &seen(), &self.calm, &self.patients(), &self.journal, at(now));
        self.calm = decision.calm;
        for order in decision.orders {
            self.log.push((now, order.machine.clone(), order.action));
            self.journal.push(Past { machine: order.machine.clone(), action: order.action, at: at(now) });
            let index = self.nodes.iter().position(|node| node.name == order.machine).unwrap();
            match order.action {
                RepairAction::Reboot => {
                    let node = &mut self.nodes[index];
                    node.reboots += 1;
                    node.last = Some((now, now));
                    node.starts_until = Some(now + BOOT);
                }
                RepairAction::Replace | RepairAction::Evacuate => {
                    let zone = self.nodes.remove(index).zone;
                    self.make(&zone, Some(now + BOOT));
                }
            }
        }
    }

    fn run(&mut self, from: i64, to: i64) {
        (from..to).step_by(usize::try_from(STEP).unwrap()).for_each(|now| self.step(now));
    }

    fn most_in_an_hour(&self) -> usize {
        let within =
            |begin: i64| self.log.iter().filter(|(at, ..)| (begin..begin + 3600).contains(at)).count();
        self.log.iter().map(|(at, ..)| within(*at)).max().unwrap_or(0)
    }
}

#[test]
fn a_zone_of_500_nodes_that_goes_dark_and_comes_back_costs_nothing() {
    for zones in [vec![("a", 500)], vec![("a", 500), ("b", 500), ("c", 500)], vec![("a", 500), ("b", 1000)]] {
        let mut world = World::new(&zones, rules());
        world.run(0, 100);
        // A switch is down for half an hour; its nodes come back one after the other.
        let mut number = 0;
        for node in world.nodes.iter_mut().filter(|node| node.zone == "a") {
            node.broken_until = 1900 + number % 300;
            number += 7;
        }
        world.run(100, 8000);
        assert_eq!(world.log, [], "{zones:?}");
        assert!(world.nodes.iter().all(|node| node.dark.is_none()));
    }
}

#[test]
fn a_storm_that_no_brake_sees_stays_within_the_hour() {
    // A third of a pool, all over its zones: fewer than the pool allows, more than anybody wants rebooted.
    let mut world = World::new(&[("a", 500), ("b", 500), ("c", 500)], rules());
    world.nodes.iter_mut().step_by(3).for_each(|node| node.dead = true);
    world.run(0, 4 * 3600);
    assert_eq!(world.most_in_an_hour(), 10);
    assert!(world.log.len() <= 40 && world.log.len() >= 30, "{}", world.log.len());
}

#[test]
fn one_dead_node_is_rebooted_once_replaced_once_and_that_is_all() {
    let mut world = World::new(&[("a", 4), ("b", 3), ("c", 3)], rules());
    world.run(0, 100);
    world.nodes[0].dead = true;
    world.run(100, 10_000);
    let name = || "n0001".to_owned();
    assert_eq!(world.log, [(400, name(), RepairAction::Reboot), (700, name(), RepairAction::Replace)]);
    assert!(world.nodes.len() == 10 && world.nodes.iter().all(|node| node.dark.is_none() && !node.dead));
}

#[test]
fn a_node_that_a_reboot_helps_is_not_replaced() {
    let mut world = World::new(&[("a", 4), ("b", 3), ("c", 3)], rules());
    world.nodes[0].broken_until = 401;
    world.run(0, 10_000);
    assert_eq!(world.log, [(300, "n0001".to_owned(), RepairAction::Reboot)]);
    assert_eq!(world.made, 10);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Nodes fail as they like, for as long as they like: no hour has more orders than it may, and when they have stopped
    /// failing, all are well in the end, with as many machines as there were.
    #[test]
    fn every_storm_ends_and_stays_in_bounds(
        failures in prop::collection::vec((0usize..30, 0i64..4000, 0i64..3000, 0u8..6), 0..40),
        per_hour in 1usize..8,
    ) {
        let mut world = World::new(&[("a", 10), ("b", 10), ("c", 10)], Rules { per_hour, ..rules() });
        for now in (0..5000).step_by(20) {
            for (index, begin, long, kind) in &failures {
                if *begin / STEP == now / STEP {
                    let node = &mut world.nodes[*index];
                    if *kind == 0 { node.dead = true } else { node.broken_until = now + long }
                }
            }
            world.step(now);
        }
        // What is dead is repaired within the hours that its limit takes, once the brakes are off.
        world.nodes.iter_mut().for_each(|node| node.broken_until = i64::MIN);
        let hours = 2 * 40 / i64::try_from(per_hour).unwrap() + 3;
        let dead = world.nodes.iter().filter(|node| node.dead).count();
        world.run(5000, 5000 + hours * 3600);
        prop_assert!(world.most_in_an_hour() <= per_hour);
        prop_assert_eq!(world.nodes.len(), 30);
        // What is left is what a brake holds: more than 40 % of the pool, or 55 % and more of a zone.
        let left = |zone: Option<&str>| {
            let dark = world.nodes.iter().filter(|node| node.dark.is_some());
            dark.filter(|node| zone.is_none_or(|zone| node.zone == zone)).count()
        };
        for zone in ["a", "b", "c"] {
            let held = left(None) > 12 || left(Some(zone)) > 5;
            prop_assert!(held || left(Some(zone)) == 0, "{} of {dead} dead in {zone}", left(Some(zone)));
        }
    }
}
