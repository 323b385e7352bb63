//! Pools that are brought to their goal step by step, with machines that become ready and leave at their own pace.

use proptest::prelude::*;
use skep_api::node_pool::UpdateStrategy;

use super::super::fixtures::{goal, member};
use super::super::*;

const ZONES: [&str; 3] = ["a", "b", "c"];
/// Rounds after which even the slowest update of the largest pool below has ended.
const ROUNDS: usize = 400;

#[derive(Debug, Clone)]
struct World {
    goal: Goal,
    members: Vec<Member>,
    made: usize,
}

impl World {
    /// Carries the actions out.
    fn act(&mut self, plan: &Plan) {
        for action in &plan.actions {
            match action {
                Action::Create { zone } => {
                    self.made += 1;
                    let mut new = member(&self.goal, &format!("n{}", self.made), zone, 0);
                    new.created += k8s_openapi::jiff::SignedDuration::from_secs(self.made as i64);
                    (new.health, new.untried) = (Health::NotReady, true);
                    self.members.push(new);
                }
                Action::Delete { machine, .. } => self.find(machine).leaving = true,
                Action::Change { machine } => {
                    let template = self.goal.template.clone();
                    let member = self.find(machine);
                    (member.template, member.changing, member.health) = (template, true, Health::NotReady);
                    member.untried = true;
                }
            }
        }
    }

    fn find(&mut self, name: &str) -> &mut Member {
        self.members.iter_mut().find(|member| member.name == name).unwrap()
    }

    /// Time passes: of the machines that are on their way somewhere, those whose turn it is arrive.
    fn pass(&mut self, luck: u64) {
        let mut turn = luck;
        self.members.retain(|member| {
            turn = turn.rotate_right(1);
            !(member.leaving && turn & 1 == 0)
        });
        for member in &mut self.members {
            turn = turn.rotate_right(1);
            // What was broken before stays broken, unless it is changed.
            let recovers = member.template == self.goal.template && member.health != Health::Failed;
            if recovers && turn & 1 == 0 {
                (member.health, member.changing, member.untried) = (Health::Ready, false, false);
            }
        }
    }

    fn live(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| !member.leaving)
    }

    fn serving(&self) -> usize {
        self.live().filter(|member| member.health == Health::Ready && !member.changing).count()
    }
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![1 => Just(Health::Failed), 1 => Just(Health::NotReady), 4 => Just(Health::Ready)]
}

fn share() -> impl Strategy<Value = Share> {
    prop_oneof![(0usize..4).prop_map(Share::Number), (0usize..=100).prop_map(Share::Percent)]
}

prop_compose! {
    fn world()(
        replicas in 0usize..10,
        strategy in prop_oneof![Just(UpdateStrategy::Surge), Just(UpdateStrategy::InPlace), Just(UpdateStrategy::OnDelete)],
        (surge, unavailable) in (share(), share()),
        members in prop::collection::vec((0usize..3, 0i64..1000, health(), any::<bool>(), 0u8..3), 0..12),
        only in prop::option::of(0usize..3),
    ) -> World {
        let mut goal = Goal { surge, unavailable, ..goal(replicas, strategy) };
        if let Some(only) = only {
            goal.zones = vec![ZONES[only].to_owned()];
            goal.zones_are_asked_for = true;
        }
        let members = members
            .into_iter()
            .enumerate()
            .map(|(at, (zone, age, health, leaving, outdated))| {
                let mut member = member(&goal, &format!("m{at}"), ZONES[zone], age);
                member.health = health;
                member.leaving = leaving;
                match outdated {
                    1 => member.template.version = Some("v1.35.4".into()),
                    2 => member.template.machine_class = "edge".into(),
                    _ => {}
                }
                member
            })
            .collect();
        World { goal, members, made: 0 }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// It ends, and at the goal: as many machines as wanted, none outdated unless only people may delete them.
    #[test]
    fn every_pool_reaches_its_goal(mut world in world(), luck in any::<u64>()) {
        let mut luck = luck | 1;
        let mut settled = false;
        for _ in 0..ROUNDS {
            let plan = plan(&world.goal, &world.members);
            let broken = world.live().any(|member| member.health != Health::Ready || member.changing);
            settled = plan.actions.is_empty() && !broken && world.members.iter().all(|member| !member.leaving);
            if settled {
                break;
            }
            world.act(&plan);
            luck = luck.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            world.pass(luck);
            // Somebody, or repair, takes away what will never serve.
            world.members.retain(|member| {
                !(plan.actions.is_empty() && !member.leaving && member.health != Health::Ready
                    && (member.health == Health::Failed || member.template != world.goal.template))
            });
        }
        prop_assert!(settled, "still busy: {:?}", world);
        prop_assert_eq!(world.members.len(), world.goal.replicas);
        let last = plan(&world.goal, &world.members);
        prop_assert!(last.is_settled());
        if world.goal.strategy != UpdateStrategy::OnDelete {
            prop_assert!(last.outdated.is_empty());
        }
    }

    /// No step makes more machines than surge allows, or takes more that serve than may be missing.
    #[test]
    fn no_step_leaves_the_bounds(world in world()) {
        let goal = &world.goal;
        let plan = plan(goal, &world.members);
        let surge = goal.surge.rounded_up(goal.replicas);
        let unavailable = goal.unavailable.rounded_down(goal.replicas);
        let unavailable =
            if (surge, unavailable) == (0, 0) || goal.strategy == UpdateStrategy::InPlace { unavailable.max(1) } else { unavailable };
        let mut after = world.clone();
        after.act(&plan);
        let created = plan.actions.iter().filter(|a| matches!(a, Action::Create { .. })).count();
        if created > 0 {
            prop_assert!(world.live().count() + created <= goal.replicas + surge);
        }
        let least = goal.replicas.saturating_sub(unavailable);
        prop_assert!(after.serving() >= world.serving().min(least), "{} of {}: {:?}", after.serving(), world.serving(), plan);
        // Every machine is named once at most, and is there.
        let mut named: Vec<&str> = plan.actions.iter().filter_map(|action| match action {
            Action::Create { .. } => None,
            Action::Delete { machine, .. } | Action::Change { machine } => Some(machine.as_str()),
        }).collect();
        let all = named.len();
        named.sort_unstable();
        named.dedup();
        prop_assert_eq!(named.len(), all);
        prop_assert!(named.iter().all(|name| world.live().any(|member| member.name == *name)));
    }

    /// A pool that was only ever planned is spread evenly.
    #[test]
    fn zones_stay_even(sizes in prop::collection::vec(0usize..12, 1..5)) {
        let mut world = World { goal: goal(0, UpdateStrategy::Surge), members: Vec::new(), made: 0 };
        for size in sizes {
            world.goal.replicas = size;
            for _ in 0..3 {
                let plan = plan(&world.goal, &world.members);
                world.act(&plan);
                world.members.retain(|member| !member.leaving);
                world.members.iter_mut().for_each(|member| member.health = Health::Ready);
            }
            let count = |zone: &str| world.members.iter().filter(|member| member.zone == zone).count();
            let counts = ZONES.map(count);
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
        }
    }

    /// So is one whose machines have all been replaced, one after the other.
    #[test]
    fn an_update_leaves_zones_even(size in 1usize..12, surge in 0usize..4, unavailable in 0usize..3) {
        let mut goal = goal(size, UpdateStrategy::Surge);
        (goal.surge, goal.unavailable) = (Share::Number(surge), Share::Number(unavailable));
        let mut world = World { goal, members: Vec::new(), made: 0 };
        for version in ["v1.36.3", "v1.35.4"] {
            world.goal.template.version = Some(version.to_owned());
            for _ in 0..3 * size + 3 {
                let plan = plan(&world.goal, &world.members);
                world.act(&plan);
                world.members.retain(|member| !member.leaving);
                world.members.iter_mut().for_each(|member| member.health = Health::Ready);
            }
            prop_assert!(plan(&world.goal, &world.members).is_settled());
            let count = |zone: &str| world.members.iter().filter(|member| member.zone == zone).count();
            let counts = ZONES.map(count);
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
        }
    }

    /// The order in which machines are listed decides nothing.
    #[test]
    fn the_order_of_the_list_means_nothing(world in world(), rotation in 0usize..12) {
        let mut turned = world.members.clone();
        let by = rotation % turned.len().max(1);
        turned.rotate_left(by);
        let sorted = |mut plan: Plan| {
            plan.actions.sort_by_key(ToString::to_string);
            plan
        };
        prop_assert_eq!(sorted(plan(&world.goal, &world.members)), sorted(plan(&world.goal, &turned)));
    }
}
