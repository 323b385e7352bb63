//! Local machines as their host sees them.

use std::{collections::BTreeMap, fs, net::Ipv4Addr, path::Path, process::Command};

use anyhow::Context as _;
use kube::ResourceExt as _;
use serde::Deserialize;

use crate::processes;

/// A machine that runs.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Name of it and of its node.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its first process: the agent.
    pub first: u32,
    /// The gateway's URL as it reaches it.
    pub server: String,
    /// Directory with the kubelet.
    pub kubernetes: String,
    /// Directory with containerd.
    pub containerd: String,
    /// Directory with the network's plugins.
    pub cni: String,
}

#[derive(Deserialize)]
struct Pid {
    pid: u32,
}

#[derive(Deserialize)]
struct Record {
    address: Ipv4Addr,
    programs: Programs,
}

#[derive(Deserialize)]
struct Programs {
    kubernetes: String,
    containerd: String,
    cni: String,
}

#[derive(Deserialize)]
struct Join {
    cluster: Cluster,
}

#[derive(Deserialize)]
struct Cluster {
    server: String,
}

impl Machine {
    /// The machine of an object, in the data directory of its installation.
    pub fn find(data: &Path, machine: &skep_api::Machine) -> anyhow::Result<Self> {
        let dir = data.join("local/machines").join(machine.metadata.uid.as_deref().unwrap_or_default());
        let first: Pid = read(&dir.join("pid.json"))?;
        let record: Record = read(&dir.join("machine.json"))?;
        let join: Join = read(&dir.join("config/join.json"))?;
        let Programs { kubernetes, containerd, cni } = record.programs;
        Ok(Self {
            name: machine.name_any(),
            address: record.address,
            first: first.pid,
            server: join.cluster.server,
            kubernetes,
            containerd,
            cni,
        })
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("cannot use {}", path.display()))
}

/// MiB of each machine, by machine and program.
pub fn memory(machines: &[Machine]) -> BTreeMap<String, BTreeMap<String, f64>> {
    let of = |machine: &Machine| {
        let mut programs = BTreeMap::new();
        for process in processes::tree(machine.first) {
            let mib = process.pss().unwrap_or_default() as f64 / f64::from(1 << 20);
            *programs.entry(process.program).or_insert(0.0) += mib;
        }
        programs
    };
    machines.iter().map(|machine| (machine.name.clone(), of(machine))).collect()
}

/// Runs a program and gives what it prints.
pub fn run(line: &str) -> anyhow::Result<String> {
    let mut words = line.split_whitespace();
    let program = words.next().context("no program")?;
    let output = Command::new(program).args(words).output().with_context(|| format!("cannot run {line}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{line}: {}: {}", output.status, error.trim());
    Ok(String::from_utf8(output.stdout)?)
}
