//! The next steps of a pool.
//!
//! The sums of `Surge` are those of a Deployment (`pkg/controller/deployment/rolling.go`): what is outdated goes only as far
//! as enough others are ready, so an update whose new machines do not become ready stops by itself. What differs: a
//! machine that leaves still needs its place in the infrastructure while it drains, so it counts against the surge.

use serde::{Deserialize, Serialize};
use skep_api::node_pool::UpdateStrategy;

use super::difference::{Difference, Needs, differences};
use super::{Goal, Health, Member, choose};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "action")]
pub enum Action {
    /// A new machine.
    Create {
        /// Zone it is made in.
        zone: String,
    },
    /// A machine goes: its pods are asked to leave first.
    Delete {
        /// Its name.
        machine: String,
        /// Why.
        why: Why,
    },
    /// A machine is drained, changed and comes back.
    Change {
        /// Its name.
        machine: String,
    },
}

/// Why a machine goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// There are more than are wanted.
    Surplus,
    /// Another one takes its place; [`Plan::outdated`] says why.
    Outdated,
    /// It is named: an autoscaler has chosen it.
    Named,
}

/// A machine that is not as its pool says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outdated {
    /// Its name.
    pub machine: String,
    /// In what.
    pub because: Vec<Difference>,
}

impl Outdated {
    /// Whether it takes another machine.
    pub fn needs_another(&self) -> bool {
        self.because.iter().any(|difference| difference.needs == Needs::AnotherMachine)
    }
}

/// What happens to a pool.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Machines that should be there.
    pub desired: usize,
    /// Machines that are not as the pool says, with the reasons, by name.
    pub outdated: Vec<Outdated>,
    /// What happens now.
    pub actions: Vec<Action>,
    /// What the rest waits for.
    pub waits: Vec<String>,
}

impl Plan {
    /// Nothing happens and nothing is waited for.
    pub fn is_settled(&self) -> bool {
        self.actions.is_empty() && self.waits.is_empty()
    }
}

/// Machines of a pool, sorted by what becomes of them.
struct Sorted<'a> {
    /// All that are not leaving.
    live: Vec<&'a Member>,
    /// Those that another machine replaces.
    old: Vec<&'a Member>,
    /// The others: they stay, changed in place or not.
    new: Vec<&'a Member>,
    /// Those that go because they are named. Nothing replaces them.
    named: Vec<&'a Member>,
    /// Leaving ones that another machine replaces: they keep their place until they are gone.
    leaving: usize,
    outdated: Vec<Outdated>,
}

impl<'a> Sorted<'a> {
    fn of(goal: &Goal, members: &'a [Member]) -> Self {
        let replaced = |because: &[Difference]| match goal.strategy {
            UpdateStrategy::Surge => !because.is_empty(),
            UpdateStrategy::InPlace => because.iter().any(|found| found.needs == Needs::AnotherMachine),
            UpdateStrategy::OnDelete => false,
        };
        let mut sorted = Self {
            live: Vec::new(),
            old: Vec::new(),
            new: Vec::new(),
            named: Vec::new(),
            leaving: 0,
            outdated: Vec::new(),
        };
        for member in members {
            let because = differences(goal, member);
            let old = replaced(&because);
            if member.leaving {
                sorted.leaving += usize::from(old);
                continue;
            }
            if goal.remove.contains(&member.name) {
                sorted.named.push(member);
                continue;
            }
            sorted.live.push(member);
            if old { &mut sorted.old } else { &mut sorted.new }.push(member);
            if !because.is_empty() {
                sorted.outdated.push(Outdated { machine: member.name.clone(), because });
            }
        }
        sorted.outdated.sort_by(|a, b| a.machine.cmp(&b.machine));
        sorted
    }

    fn is_outdated(&self, member: &Member) -> bool {
        self.outdated.binary_search_by(|outdated| outdated.machine.as_str().cmp(&member.name)).is_ok()
    }
}

/// The next steps from `members` to `goal`. Applied again and again, with machines becoming ready in between, they end
/// at exactly the goal; at the goal there are none.
pub fn plan(goal: &Goal, members: &[Member]) -> Plan {
    let sorted = Sorted::of(goal, members);
    let (surge, unavailable) = limits(goal);
    let mut plan = Plan { desired: goal.replicas, outdated: sorted.outdated.clone(), ..Plan::default() };

    let room = (goal.replicas + surge).saturating_sub(sorted.live.len() + sorted.leaving);
    let missing = goal.replicas.saturating_sub(sorted.new.len());
    let created = missing.min(room);
    for zone in choose::zones(goal, &sorted.new, &sorted.live, created) {
        plan.actions.push(Action::Create { zone });
    }

    let surplus = choose::least_missed(
        &sorted.new,
        &sorted.live,
        |member| sorted.is_outdated(member),
        sorted.new.len().saturating_sub(goal.replicas),
    );
    let replaced = replaced(goal, &sorted, &surplus, unavailable);
    let delete = |member: &&Member, why| Action::Delete { machine: member.name.clone(), why };
    plan.actions.extend(sorted.named.iter().map(|member| delete(member, Why::Named)));
    plan.actions.extend(surplus.iter().map(|member| delete(member, Why::Surplus)));
    plan.actions.extend(replaced.iter().map(|member| delete(member, Why::Outdated)));

    let staying: Vec<&Member> = without(&sorted.new, &surplus);
    let changed = changed(goal, &sorted, &staying, unavailable);
    plan.actions.extend(changed.iter().map(|member| Action::Change { machine: member.name.clone() }));
    plan.waits = waits(&sorted, &staying, missing - created, replaced.len(), changed.len(), goal);
    plan
}

/// Surge and unavailable in machines. Of a pool so small that both come to nothing one machine may be missing, as
/// upstream has it (`ResolveFenceposts`): else no update would ever begin.
fn limits(goal: &Goal) -> (usize, usize) {
    let surge = goal.surge.rounded_up(goal.replicas);
    let unavailable = goal.unavailable.rounded_down(goal.replicas);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// Which of the old go now.
fn replaced<'a>(
    goal: &Goal,
    sorted: &Sorted<'a>,
    surplus: &[&Member],
    unavailable: usize,
) -> Vec<&'a Member> {
    let least = goal.replicas.saturating_sub(unavailable);
    let staying = without(&sorted.new, surplus);
    let not_serving = staying.iter().filter(|member| !member.serves()).count();
    let (healthy, broken): (Vec<&Member>, Vec<&Member>) =
        sorted.old.iter().partition(|member| member.serves());
    // One that does not serve is no loss, but a pool full of new ones that do not serve either is no update.
    let spare = (staying.len() + sorted.old.len()).saturating_sub(least + not_serving);
    let serving = staying.len() - not_serving + healthy.len();
    let mut chosen = choose::least_missed(&broken, &sorted.live, |_| true, spare);
    chosen.extend(choose::least_missed(&healthy, &sorted.live, |_| true, serving.saturating_sub(least)));
    chosen
}

/// Which of those that stay are changed in place now: at least one at a time, whatever `maxUnavailable` says, because a
/// machine that is changed cannot serve meanwhile.
fn changed<'a>(
    goal: &Goal,
    sorted: &Sorted<'_>,
    staying: &[&'a Member],
    unavailable: usize,
) -> Vec<&'a Member> {
    if goal.strategy != UpdateStrategy::InPlace || !sorted.old.is_empty() || sorted.leaving > 0 {
        return Vec::new();
    }
    let outdated: Vec<&Member> =
        staying.iter().copied().filter(|member| sorted.is_outdated(member)).collect();
    let (serving, not_serving): (Vec<&Member>, Vec<&Member>) =
        outdated.into_iter().partition(|member| member.serves());
    let serve = staying.iter().filter(|member| member.serves()).count();
    let budget = unavailable.max(1).saturating_sub(goal.replicas.saturating_sub(serve));
    let mut chosen = choose::least_missed(&not_serving, staying, |_| true, not_serving.len());
    chosen.extend(choose::least_missed(&serving, staying, |_| true, budget));
    chosen
}

fn without<'a>(members: &[&'a Member], leaving: &[&Member]) -> Vec<&'a Member> {
    members.iter().filter(|member| !leaving.iter().any(|gone| gone.name == member.name)).copied().collect()
}

fn waits(
    sorted: &Sorted<'_>,
    staying: &[&Member],
    not_created: usize,
    replaced: usize,
    changed: usize,
    goal: &Goal,
) -> Vec<String> {
    let mut waits = Vec::new();
    let not_serving = staying.iter().filter(|member| !member.serves()).count();
    if not_serving > 0 {
        waits.push(format!("{} to become ready", machines(not_serving)));
    }
    let old = sorted.old.len() - replaced;
    if old > 0 {
        waits.push(format!("{} to be replaced when others are ready", outdated(old)));
    }
    if not_created > 0 {
        let leaving = machines(sorted.leaving + sorted.old.len());
        waits.push(format!("{leaving} to leave before {not_created} more can be made"));
    } else if sorted.leaving > 0 {
        waits.push(format!("{} to leave", outdated(sorted.leaving)));
    }
    let to_change = staying.iter().filter(|member| sorted.is_outdated(member)).count() - changed;
    if goal.strategy == UpdateStrategy::InPlace && to_change > 0 {
        waits.push(format!("{} to be changed when others are ready", outdated(to_change)));
    }
    waits
}

fn machines(count: usize) -> String {
    if count == 1 { "1 machine".to_owned() } else { format!("{count} machines") }
}

fn outdated(count: usize) -> String {
    if count == 1 { "1 outdated machine".to_owned() } else { format!("{count} outdated machines") }
}

impl Health {
    /// Whether the machine will never serve as it is.
    pub fn is_failed(self) -> bool {
        self == Self::Failed
    }
}
