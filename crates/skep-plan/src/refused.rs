//! All reasons why a spec is refused, at once.

use std::fmt;

use skep_api::Code;

/// Names listed in one message before the rest is counted.
const LISTED: usize = 20;

/// One reason: its text is a sentence that says what would be accepted.
pub trait Reason: fmt::Display + fmt::Debug + PartialEq {
    /// Error code, with one page each.
    fn code(&self) -> Code;
}

/// Every reason at once, so that a person repairs a spec in one go. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused<R> {
    first: R,
    more: Vec<R>,
}

impl<R: Reason> Refused<R> {
    /// `value`, or the reasons if there are any.
    pub(crate) fn unless_empty<T>(reasons: Vec<R>, value: T) -> Result<T, Self> {
        let mut reasons = reasons.into_iter();
        match reasons.next() {
            Some(first) => Err(Self { first, more: reasons.collect() }),
            None => Ok(value),
        }
    }

    /// These reasons and the others; one that is in both is named once.
    pub(crate) fn and(mut self, other: Self) -> Self {
        for reason in std::iter::once(other.first).chain(other.more) {
            if self.first != reason && !self.more.contains(&reason) {
                self.more.push(reason);
            }
        }
        self
    }

    /// The one that names the condition.
    pub fn first(&self) -> &R {
        &self.first
    }

    /// Error code of that one.
    pub fn code(&self) -> Code {
        self.first.code()
    }

    /// All of them, the most basic first.
    pub fn all(&self) -> impl Iterator<Item = &R> {
        std::iter::once(&self.first).chain(&self.more)
    }
}

impl<R> From<R> for Refused<R> {
    fn from(first: R) -> Self {
        Self { first, more: Vec::new() }
    }
}

impl<R: Reason> std::error::Error for Refused<R> {}

impl<R: Reason> fmt::Display for Refused<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, reason) in self.all().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{reason} ({})", reason.code())?;
        }
        Ok(())
    }
}

/// Names for a message.
pub(crate) fn list(names: &[String]) -> String {
    match names.len() {
        0 => "none".to_owned(),
        n if n <= LISTED => names.join(", "),
        n => format!("{} and {} more", names[..LISTED].join(", "), n - LISTED),
    }
}
