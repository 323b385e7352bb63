//! A plan as people read it.

use std::fmt;

use super::{Action, Plan, Why};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_settled() && self.outdated.is_empty() {
            return writeln!(f, "No machine is touched.");
        }
        if !self.outdated.is_empty() {
            writeln!(f, "Not as the pool says:")?;
            for outdated in &self.outdated {
                let how = if outdated.needs_another() { " (needs another machine)" } else { "" };
                let because: Vec<String> = outdated.because.iter().map(ToString::to_string).collect();
                writeln!(f, "  {}{how}: {}", outdated.machine, because.join("; "))?;
            }
        }
        if !self.actions.is_empty() {
            writeln!(f, "What happens first:")?;
            for action in &self.actions {
                writeln!(f, "  {action}")?;
            }
        }
        if !self.waits.is_empty() {
            writeln!(f, "Then it waits for {}.", self.waits.join("; "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { zone } => write!(f, "+ a machine in zone {zone}"),
            Self::Delete { machine, why: Why::Surplus } => {
                write!(f, "- {machine} drains and goes: there are more than are wanted")
            }
            Self::Delete { machine, why: Why::Outdated } => {
                write!(f, "- {machine} drains and goes: outdated")
            }
            Self::Delete { machine, why: Why::Named } => {
                write!(f, "- {machine} drains and goes: it is named in scaling.remove")
            }
            Self::Change { machine } => write!(f, "~ {machine} drains, is made anew and comes back"),
        }
    }
}
