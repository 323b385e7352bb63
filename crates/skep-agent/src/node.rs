//! What every part of the agent needs to know.

use crate::{
    Result,
    children::Children,
    config::{Host, Join},
    facts::Facts,
    layout::Layout,
    preflight::{Checked, PLACES},
};

/// One node: what the agent was told, what it found out, and the way to start programs.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// How to join.
    pub join: Join,
    /// The machine.
    pub host: Host,
    /// What the check has found.
    pub checked: Checked,
    /// What the machine is like.
    pub facts: Facts,
    /// Where everything lies.
    pub layout: Layout,
    /// All processes.
    pub children: Children,
}

impl Node {
    /// Looks at the machine.
    pub(crate) fn new(join: Join, host: Host, checked: Checked, children: Children) -> Result<Self> {
        let facts = Facts::gather(&host)?;
        let layout = Layout::new(&host.state);
        Ok(Self { join, host, checked, facts, layout, children })
    }

    /// Where the node's programs look for others.
    pub(crate) fn search_path(&self) -> String {
        let own = [&self.host.containerd, &self.host.kubernetes].map(|path| path.display().to_string());
        own.into_iter().chain(PLACES.map(str::to_owned)).collect::<Vec<_>>().join(":")
    }
}
