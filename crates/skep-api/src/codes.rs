//! The closed set of error codes that people see. Each has one page under `docs/errors/`.

use std::fmt;

/// An error code: `SKEP-` and four digits. The first digit says where: 1 engine, 2 embedded mode, 3 command line,
/// 4 clusters and control planes, 5 datastores, 6 gateway, 7 virtual nodes, 8 node pools and machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(u16);

impl Code {
    /// The code with this number.
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Its page, relative to the repository.
    pub fn page(self) -> String {
        format!("docs/errors/{self}.md")
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SKEP-{:04}", self.0)
    }
}
