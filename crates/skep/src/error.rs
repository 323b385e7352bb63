//! Errors as people see them: `error[SKEP-nnnn]: what happened`, then what to do and where to read more.

use std::{fmt::Display, io::Write};

use skep_api::Code;

use crate::{exit::Exit, output::style};

/// Result of a command.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a command failed.
#[derive(Debug)]
pub struct Error {
    /// Code, with a page.
    pub code: Code,
    /// Exit code.
    pub exit: Exit,
    /// What happened, to which object.
    pub message: String,
    /// What to do next; may be empty.
    pub help: String,
}

/// Codes of the command line.
pub mod code {
    use skep_api::Code;

    /// The object does not exist.
    pub const NOT_FOUND: Code = Code::new(3001);
    /// There is one of that name already.
    pub const EXISTS: Code = Code::new(3002);
    /// The API refused the object.
    pub const INVALID: Code = Code::new(3003);
    /// Not reached in time.
    pub const TIMEOUT: Code = Code::new(3004);
    /// The hub's API cannot be reached.
    pub const UNREACHABLE: Code = Code::new(3005);
    /// The caller lacks a right.
    pub const FORBIDDEN: Code = Code::new(3006);
    /// A file cannot be read, written or understood.
    pub const FILE: Code = Code::new(3007);
    /// The user's kubeconfig cannot be changed.
    pub const KUBECONFIG: Code = Code::new(3008);
    /// The cluster has no kubeconfig yet.
    pub const NOT_READY: Code = Code::new(3009);
    /// The cluster's spec cannot be fulfilled.
    pub const REFUSED: Code = Code::new(3010);
    /// No component of that name has a log.
    pub const NO_LOG: Code = Code::new(3011);
    /// Arguments contradict each other.
    pub const USAGE: Code = Code::new(3012);
    /// Anything the API says that has no code of its own.
    pub const API: Code = Code::new(3013);
    /// A part of skep that was started as a program of its own cannot run.
    pub const PART: Code = Code::new(3014);
    /// A cluster did not become a cell.
    pub const CELL: Code = Code::new(3015);
}

impl Error {
    /// An error without advice.
    pub fn new(code: Code, exit: Exit, message: impl Display) -> Self {
        Self { code, exit, message: message.to_string(), help: String::new() }
    }

    /// An error that can stand alone in a log, where its text begins with its code and ends with the page. Here both are
    /// said anyway.
    pub fn logged(code: Code, exit: Exit, error: impl Display) -> Self {
        let text = error.to_string();
        let text = text.trim_start_matches(&format!("{code}: "));
        Self::new(code, exit, text.trim_end_matches(&format!(" ({})", code.page())))
    }

    /// With advice.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// A file that cannot be used.
    pub fn file(path: &std::path::Path, reason: impl Display) -> Self {
        Self::new(code::FILE, Exit::Failure, format!("{}: {reason}", path.display()))
    }

    /// To stderr.
    pub fn print(&self) {
        let mut stderr = std::io::stderr().lock();
        // A closed stderr is no reason to fail differently.
        let _ = write!(stderr, "{}", self.render(style::stderr()));
    }

    /// As text.
    pub fn render(&self, style: style::Style) -> String {
        let mut text = format!("{}: {}\n", style.error(&format!("error[{}]", self.code)), self.message);
        if !self.help.is_empty() {
            text += &format!("  {} {}\n", style.dim("help:"), self.help);
        }
        text += &format!("  {} {}\n", style.dim("page:"), self.code.page());
        text
    }
}

impl From<skep_embedded::Error> for Error {
    fn from(error: skep_embedded::Error) -> Self {
        let exit = match &error {
            skep_embedded::Error::NotRunning { .. } => Exit::NotRunning,
            skep_embedded::Error::Option(_) | skep_embedded::Error::OtherSettings { .. } => Exit::Usage,
            skep_embedded::Error::ChildNotReady { .. } => Exit::Timeout,
            _ => Exit::Failure,
        };
        Self { code: error.code(), exit, help: error.help(), message: error.to_string() }
    }
}

impl From<skep_engine::Error> for Error {
    fn from(error: skep_engine::Error) -> Self {
        Self::new(error.code(), Exit::Failure, error)
    }
}

impl From<skep_gateway::GatewayError> for Error {
    fn from(error: skep_gateway::GatewayError) -> Self {
        let code = error.code();
        let exit = match error {
            skep_gateway::GatewayError::Config { .. } => Exit::Usage,
            _ => Exit::Failure,
        };
        Self::logged(code, exit, error)
    }
}

impl From<skep_kubeops::client::ClientError> for Error {
    fn from(error: skep_kubeops::client::ClientError) -> Self {
        Self::new(code::UNREACHABLE, Exit::NotRunning, error)
            .help("start an installation with `skep up`, or name a hub with --kubeconfig")
    }
}

/// What the API said about one object.
pub fn api(what: &str, error: &kube::Error) -> Error {
    let reason = skep_kubeops::error::describe(error);
    let (code, exit, help) = match error {
        kube::Error::Api(status) => match status.code {
            404 => (code::NOT_FOUND, Exit::NotFound, "see what there is with `skep get clusters -A`"),
            409 if status.is_already_exists() => (code::EXISTS, Exit::Refused, "choose another name"),
            401 | 403 => {
                (code::FORBIDDEN, Exit::Refused, "use a kubeconfig of somebody who may, with --kubeconfig")
            }
            400 | 422 => (code::INVALID, Exit::Refused, "correct what the message names"),
            _ => (code::API, Exit::Failure, "try again; see `skep status` and `skep logs kube-apiserver`"),
        },
        _ => (code::UNREACHABLE, Exit::NotRunning, "see `skep status`; start it with `skep up`"),
    };
    Error::new(code, exit, format!("{what}: {reason}")).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_sees() {
        let error =
            Error::new(code::NOT_FOUND, Exit::NotFound, "cluster \"web\" not found in project \"default\"")
                .help("see what there is with `skep get clusters -A`");
        insta::assert_snapshot!(error.render(style::Style::Plain), @r###"
        error[SKEP-3001]: cluster "web" not found in project "default"
          help: see what there is with `skep get clusters -A`
          page: docs/errors/SKEP-3001.md
        "###);
    }

    #[test]
    fn code_and_page_are_said_once() {
        let error =
            skep_gateway::GatewayError::Config { field: "connections", why: "must be at least 1".into() };
        insta::assert_snapshot!(Error::from(error).render(style::Style::Plain), @r###"
        error[SKEP-6002]: gateway setting connections must be at least 1
          page: docs/errors/SKEP-6002.md
        "###);
    }
}
