//! Which of several ways to make room for pods is taken.
//!
//! Candidates pass four rules, in this order: is there stock for the machines; can the pods' required anti-affinity be kept;
//! the zone with the most free cores; the least cost. A rule drops a candidate only for what it knows about it: what has no
//! figures is not compared and stays. The first two can drop all, because then no machine would come, or none that helps; the
//! last two always leave one. Everything that is dropped and everything that stays says why.

mod affinity;
mod pod;
mod stock;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use pod::{Namespaces, Operator, Pod, Requirement, Selector, Spread, Term};
pub use stock::{Hypervisor, Size, Stock};

/// Upstream's label with a node's zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// One way: so many new nodes of one group, for these pods.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Name of the node group, which is that of its pool.
    pub group: String,
    /// Nodes that would be made.
    pub nodes: u32,
    /// Labels of such a node, if they are known.
    pub node: Option<Labels>,
    /// Pods that would run on them. Equal ones may be one value.
    pub pods: Vec<Arc<Pod>>,
}

/// What is known of a pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Its machine class.
    pub class: String,
    /// What one machine of the class takes from its hypervisor.
    pub size: Size,
    /// Price of one machine and hour.
    pub price: Option<f64>,
    /// Zones its machines may stand in.
    pub zones: Vec<String>,
}

/// What a decision is made on, besides the candidates.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Pools by name.
    pub pools: BTreeMap<String, Pool>,
    /// What is left in which zone.
    pub stock: Stock,
}

/// What became of a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it may be taken.
    pub kept: bool,
    /// What each rule found, in the order of the rules; the last one of a dropped candidate is what dropped it.
    pub why: Vec<String>,
}

/// What a rule that looks at one candidate alone says.
enum Opinion {
    Possible(String),
    Impossible(String),
    /// It knows nothing about it.
    Silent,
}

/// Decides; the verdicts are in the order of the candidates.
pub fn decide(candidates: &[Candidate], facts: &Facts) -> Vec<Verdict> {
    let mut verdicts: Vec<Verdict> =
        candidates.iter().map(|_| Verdict { kept: true, why: Vec::new() }).collect();
    let mut budget = affinity::BUDGET;
    for (candidate, verdict) in candidates.iter().zip(&mut verdicts) {
        verdict.hear(stock::judge(candidate, facts));
        if verdict.kept {
            verdict.hear(affinity::judge(candidate, &mut budget));
        }
    }
    let cores = |candidate: &Candidate| {
        let (zone, cores) = stock::free_cores(candidate, facts)?;
        Some((cores, format!("zone {zone} has {cores} free cores")))
    };
    prefer(candidates, &mut verdicts, "the most", |new, best| new > best, cores);
    let cost = |candidate: &Candidate| {
        let price = facts.pools.get(&candidate.group)?.price?;
        let cost = price * f64::from(candidate.nodes);
        Some((cost, format!("{} nodes cost {cost:.4} an hour", candidate.nodes)))
    };
    prefer(candidates, &mut verdicts, "the least", |new, best| new < best, cost);
    verdicts
}

/// Drops what is measured and not the best of what is measured.
fn prefer<N: PartialOrd + Copy>(
    candidates: &[Candidate],
    verdicts: &mut [Verdict],
    superlative: &str,
    better: fn(&N, &N) -> bool,
    measure: impl Fn(&Candidate) -> Option<(N, String)>,
) {
    let figures: Vec<Option<(N, String)>> = candidates
        .iter()
        .zip(&*verdicts)
        .map(|(candidate, verdict)| measure(candidate).filter(|_| verdict.kept))
        .collect();
    let best = figures.iter().flatten().fold(None::<&(N, String)>, |best, new| match best {
        Some(best) if !better(&new.0, &best.0) => Some(best),
        _ => Some(new),
    });
    let Some((best, best_words)) = best else { return };
    for (verdict, figure) in verdicts.iter_mut().zip(&figures) {
        let Some((figure, words)) = figure else { continue };
        verdict.hear(match better(best, figure) {
            true => Opinion::Impossible(format!("{words}, but {best_words}")),
            false => Opinion::Possible(format!("{words}, {superlative}")),
        });
    }
}

impl Verdict {
    fn hear(&mut self, opinion: Opinion) {
        match opinion {
            Opinion::Possible(why) => self.why.push(why),
            Opinion::Impossible(why) => {
                self.kept = false;
                self.why.push(why);
            }
            Opinion::Silent => {}
        }
    }
}

impl Candidate {
    /// The zone its nodes would stand in: what such a node says, else the only one its pool has.
    fn zone<'a>(&'a self, facts: &'a Facts) -> Option<&'a str> {
        let said = self.node.as_ref().and_then(|labels| labels.get(ZONE));
        let only = || match facts.pools.get(&self.group).map(|pool| pool.zones.as_slice()) {
            Some([zone]) => Some(zone),
            _ => None,
        };
        said.or_else(only).map(String::as_str)
    }
}

#[cfg(test)]
mod tests;
