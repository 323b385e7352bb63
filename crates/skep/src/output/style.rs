//! Colours, when there is a terminal and nobody said `NO_COLOR`.

use std::{env, io::IsTerminal};

/// How text is decorated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Not at all.
    Plain,
    /// With ANSI colours.
    Colour,
}

/// For stderr.
pub fn stderr() -> Style {
    choose(std::io::stderr().is_terminal())
}

/// For stdout.
pub fn stdout() -> Style {
    choose(std::io::stdout().is_terminal())
}

fn choose(terminal: bool) -> Style {
    // https://no-color.org: any value but the empty one counts.
    let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || env::var_os("TERM").is_some_and(|value| value == "dumb");
    if terminal && !refused { Style::Colour } else { Style::Plain }
}

impl Style {
    /// Something went wrong.
    pub fn error(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// Something is well.
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Something deserves a look.
    pub fn warn(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// Less important.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colour => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }
}
