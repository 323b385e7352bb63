//! Reading and changing the kernel's tables through iproute2.

use std::{collections::BTreeSet, process::Command};

use super::{
    actual,
    desired::{Desired, Here},
    diff::diff,
    entry::{Entry, Line, PROTOCOL},
    vxlan::{self, Device, Link},
};
use crate::{Error, Result, children::Children, config::PodNetwork, preflight::find, prepare::PATIENCE};

/// Makes the device between nodes, or removes it where none is needed, and says how large packets of pods may be.
pub(super) async fn device(children: &Children, here: Here<'_>) -> Result<u32> {
    let tool = Tool { children };
    let outer = tool.link(here.interface).await?.map(|link| link.mtu);
    let outer = outer.ok_or_else(|| failed(format!("there is no interface {}", here.interface)))?;
    let existing = tool.link(vxlan::DEVICE).await?;
    if here.network != PodNetwork::Vxlan {
        if existing.is_some() {
            tool.ip(&remove_device()).await?;
        }
        return Ok(outer);
    }
    let mtu = vxlan::inner_mtu(outer);
    let device = Device { local: here.address, interface: here.interface, mtu };
    if !existing.as_ref().is_some_and(|link| device.is(link)) {
        let old = existing.map_or(String::new(), |_| remove_device());
        tool.ip(&(old + &device.make())).await?;
    }
    Ok(mtu)
}

/// Brings the kernel's tables to what is desired, from whatever is there.
pub(super) async fn tables(children: &Children, here: Here<'_>, desired: &Desired) -> Result<()> {
    let tool = Tool { children };
    let actual = tool.actual(here.network).await?;
    tool.change(&diff(&desired.entries, &actual)).await
}

/// Takes back routes and the device, whatever is there of them.
pub(crate) async fn forget(children: &Children) -> Result<()> {
    let tool = Tool { children };
    if tool.link(vxlan::DEVICE).await?.is_some() {
        tool.ip(&remove_device()).await?;
    }
    let protocol = PROTOCOL.to_string();
    tool.run("ip", &["-4", "route", "flush", "proto", &protocol], "").await.map(drop)
}

/// How many changes would be made.
#[cfg(test)]
pub(super) async fn pending(children: &Children, here: Here<'_>, desired: &Desired) -> Result<usize> {
    let actual = Tool { children }.actual(here.network).await?;
    Ok(diff(&desired.entries, &actual).len())
}

fn remove_device() -> String {
    format!("link del {}\n", vxlan::DEVICE)
}

fn failed(reason: impl Into<String>) -> Error {
    Error::Routes { reason: reason.into() }
}

struct Tool<'a> {
    children: &'a Children,
}

impl Tool<'_> {
    /// An interface, if it is there.
    async fn link(&self, name: &str) -> Result<Option<Link>> {
        // Asked for one that is not there, it fails; asked for all, it does not.
        let text = self.run("ip", &["-json", "-details", "link", "show"], "").await?;
        let mut links: Vec<serde_json::Value> =
            serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
        let of_name = links.iter().position(|link| link.get("ifname").is_some_and(|ifname| ifname == name));
        let link = of_name.map(|place| links.swap_remove(place));
        link.map(serde_json::from_value)
            .transpose()
            .map_err(|error| failed(format!("interface {name}: {error}")))
    }

    async fn actual(&self, network: PodNetwork) -> Result<BTreeSet<Entry>> {
        let wrong = |error: serde_json::Error| failed(format!("what iproute2 prints: {error}"));
        let routes = ["-json", "-4", "route", "show", "proto", &PROTOCOL.to_string()];
        let mut entries = actual::routes(&self.run("ip", &routes, "").await?).map_err(wrong)?;
        if network == PodNetwork::Vxlan {
            let of_device = ["show", "dev", vxlan::DEVICE];
            let ask = |what: &'static [&str], more: &'static [&str]| [what, &of_device, more].concat();
            let neighbours =
                self.run("ip", &ask(&["-json", "-4", "neigh"], &["nud", "permanent"]), "").await?;
            let forwards = self.run("bridge", &ask(&["-json", "fdb"], &[]), "").await?;
            let addresses = self.run("ip", &ask(&["-json", "-4", "address"], &[]), "").await?;
            entries.append(&mut actual::neighbours(&neighbours).map_err(wrong)?);
            entries.append(&mut actual::forwards(&forwards).map_err(wrong)?);
            entries.append(&mut actual::addresses(&addresses).map_err(wrong)?);
        }
        Ok(entries)
    }

    /// Tells the kernel, in this order as far as one program is concerned.
    async fn change(&self, lines: &[Line]) -> Result<()> {
        for run in lines.chunk_by(|a, b| std::mem::discriminant(a) == std::mem::discriminant(b)) {
            let (mut program, mut batch) = ("ip", String::new());
            for line in run {
                let text = match line {
                    Line::Ip(text) => text,
                    Line::Bridge(text) => {
                        program = "bridge";
                        text
                    }
                };
                batch.push_str(text);
                batch.push('\n');
            }
            // What fails must not keep the rest from being done; the end tells that something has failed.
            self.run(program, &["-force", "-batch", "-"], &batch).await?;
        }
        Ok(())
    }

    async fn ip(&self, batch: &str) -> Result<()> {
        self.run("ip", &["-batch", "-"], batch).await.map(drop)
    }

    async fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<Vec<u8>> {
        let mut command = Command::new(find(program).unwrap_or_else(|| program.into()));
        command.args(arguments);
        let reason = |what: String| failed(format!("{program} {}: {what}", arguments.join(" ")));
        let output = self.children.run(command, input.as_bytes(), PATIENCE).await;
        output.map_err(|error| reason(error.to_string()))?.success().map_err(reason)
    }
}
