//! A plan as people read it.

use std::fmt;

use super::{Action, Change, Plan, Step};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "No changes.");
        }
        let width = self.changes.iter().map(|change| change.field.len()).max().unwrap_or(0);
        writeln!(f, "Changes:")?;
        for change in &self.changes {
            writeln!(f, "  {}", Line { change, width })?;
        }
        if self.steps.is_empty() {
            writeln!(f, "No program is touched.")?;
        } else {
            writeln!(f, "What happens, in this order:")?;
            for (at, step) in self.steps.iter().enumerate() {
                write!(f, "  {}. {step}", at + 1)?;
            }
        }
        if self.paused {
            writeln!(
                f,
                "The cluster is paused: nothing of this happens until spec.reconciliation is Active."
            )?;
        }
        Ok(())
    }
}

struct Line<'a> {
    change: &'a Change,
    width: usize,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { field, from, to } = self.change;
        let width = self.width;
        match (from, to) {
            (None, Some(to)) => write!(f, "+ {field:width$}  {to}"),
            (Some(from), None) => write!(f, "- {field:width$}  {from}"),
            (from, to) => {
                let text = |side: &Option<String>| side.clone().unwrap_or_default();
                write!(f, "~ {field:width$}  {} → {}", text(from), text(to))
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let copies = if self.copies == 1 { "1 copy".to_owned() } else { format!("{} copies", self.copies) };
        let what = match self.action {
            Action::Create => format!("starts ({copies})"),
            Action::Roll => format!("rolls, the new copy first ({copies}); no request fails"),
            Action::Restart => format!("restarts ({copies}); controllers pause, the API serves on"),
            Action::Scale => format!("scales to {copies}; nothing restarts"),
            Action::Reissue => "gets new certificates; nothing restarts".to_owned(),
        };
        writeln!(f, "{} {what}", self.program)?;
        if !self.because.is_empty() {
            writeln!(f, "       because of {}", self.because.join(", "))?;
        }
        match &self.waits_for {
            Some(condition) => writeln!(f, "       waits until {condition}"),
            None => Ok(()),
        }
    }
}
