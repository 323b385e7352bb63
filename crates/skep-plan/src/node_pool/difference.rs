//! What of a machine is not as its pool says now.

use std::fmt;

use serde::{Deserialize, Serialize};
use skep_api::NodeTemplate;

use super::{Goal, Member};

/// Longest text of one side of a difference before it is cut.
const WIDEST: usize = 120;

/// What it takes to remove a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Needs {
    /// The same machine can be made anew.
    SameMachine,
    /// It takes another machine.
    AnotherMachine,
}

/// One field in which a machine is not as its pool says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Field of the template, or `zone`.
    pub field: String,
    /// As the machine has it.
    pub from: String,
    /// As the pool says.
    pub to: String,
    /// What it takes.
    pub needs: Needs,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} → {}", self.field, shown(&self.from), shown(&self.to))
    }
}

fn shown(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

/// Every field in which `member` is not as `goal` says. Only what the pool's spec says counts: not what the platform has
/// changed inside the machine class since.
pub fn differences(goal: &Goal, member: &Member) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut compare = |field: &str, from: String, to: String, needs| {
        if from != to {
            found.push(Difference { field: field.to_owned(), from: cut(from), to: cut(to), needs });
        }
    };
    let (old, new) = (&member.template, goal.template_of(member));
    compare("machineClass", old.machine_class.clone(), new.machine_class.clone(), Needs::AnotherMachine);
    if goal.zones_are_asked_for && !goal.zones.contains(&member.zone) {
        compare("zone", member.zone.clone(), goal.zones.join(" or "), Needs::AnotherMachine);
    }
    // A machine that names no version has none to be behind with: what it runs was chosen when it was made.
    if old.version.is_some() {
        compare("version", text(&old.version), text(&new.version), Needs::SameMachine);
    }
    compare("labels", labels(old), labels(new), Needs::SameMachine);
    compare("taints", taints(old), taints(new), Needs::SameMachine);
    compare("kubelet", json(&old.kubelet), json(&new.kubelet), Needs::SameMachine);
    compare("runtimes", runtimes(old), runtimes(new), Needs::SameMachine);
    found
}

fn text(version: &Option<String>) -> String {
    version.clone().unwrap_or_default()
}

fn labels(template: &NodeTemplate) -> String {
    template.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// Without their order: it means nothing to Kubernetes.
fn taints(template: &NodeTemplate) -> String {
    let mut taints: Vec<String> = template
        .taints
        .iter()
        .map(|taint| format!("{}={}:{}", taint.key, taint.value, taint.effect))
        .collect();
    taints.sort();
    taints.join(",")
}

fn runtimes(template: &NodeTemplate) -> String {
    let mut runtimes: Vec<String> =
        template.runtimes.iter().map(|runtime| format!("{}={}", runtime.handler, runtime.program)).collect();
    runtimes.sort();
    runtimes.join(",")
}

/// Settings as they are written; an empty set is an empty text.
fn json<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    if text == "{}" { String::new() } else { text }
}

/// Cut by characters, with a sign that it was: equal texts stay equal, and unequal ones were compared before.
fn cut(text: String) -> String {
    if text.chars().count() <= WIDEST {
        return text;
    }
    let mut short: String = text.chars().take(WIDEST).collect();
    short.push('…');
    short
}
