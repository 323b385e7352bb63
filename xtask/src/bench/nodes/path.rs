//! host-gw against vxlan, between the same two pods on the same two nodes, in turns.
//!
//! The installation's local nodes use host-gw. For the turns of vxlan their agents stand still, and the bench makes what an
//! agent with vxlan would have made: the same device, neighbours and routes.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use super::{
    Options,
    host::{self, Machine},
    probe::{self, Figures, Server},
};
use crate::bench::{
    bare,
    report::{Report, Spread},
};

/// As the agent has it (`skep-agent`, `routes/vxlan.rs`).
const DEVICE: &str = "skep-vxlan";
const NETWORK: u32 = 8300;
const PORT: u16 = 4789;
const MTU: [u32; 2] = [1500, 1450];

/// One end.
struct End {
    machine: Machine,
    pod: u32,
    address: IpAddr,
    /// Range of the node's pods.
    range: String,
}

#[derive(Default)]
struct Kind {
    carry: Vec<Figures>,
    echo: Vec<Figures>,
}

/// Measures between pods on the first two of these machines, and between the machines themselves.
pub async fn measure(
    tenant: &Client,
    machines: &[Machine],
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let [first, second, ..] = machines else { anyhow::bail!("two machines are needed") };
    let ends = [End::new(tenant, first).await?, End::new(tenant, second).await?];
    let server = Server::start(ends[1].pod)?;
    let to = SocketAddr::new(ends[1].address, server.port);
    let between = Server::start(second.first)?;
    let node = SocketAddr::new(second.address.into(), between.port);

    let mut kinds = [Kind::default(), Kind::default(), Kind::default()];
    {
        let _still = [Still::agent(first)?, Still::agent(second)?];
        let devices = [Device::make(&ends[0], &ends[1])?, Device::make(&ends[1], &ends[0])?];
        for _ in 0..options.rounds {
            kinds[0].take(first.first, node, options.seconds)?;
            for (kind, wrapped) in [(1, false), (2, true)] {
                for (here, there) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
                    way(here, there, wrapped)?;
                }
                kinds[kind].take(ends[0].pod, to, options.seconds)?;
            }
        }
        for (here, there) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
            way(here, there, false)?;
        }
        drop(devices);
    }
    drop((server, between));
    for end in &ends {
        let pods: Api<Pod> = Api::namespaced(tenant.clone(), "default");
        pods.delete(&name(&end.machine), &DeleteParams::default().grace_period(0)).await?;
    }

    let titles = ["between nodes", "between pods, host-gw", "between pods, vxlan"];
    for (title, kind) in titles.iter().zip(&kinds) {
        let rates = Spread::of(kind.carry.iter().map(|one| one.rate));
        report.row(&format!("{title}: one connection"), "Gbit/s", rates, options.rounds, None);
        let median = Spread::of(kind.echo.iter().map(|one| one.median));
        report.row(&format!("{title}: a round, median"), "µs", median, options.rounds, None);
        let p99 = Spread::of(kind.echo.iter().map(|one| one.p99));
        report.row(&format!("{title}: a round, 99 %"), "µs", p99, options.rounds, None);
    }
    let [_, direct, wrapped] = &kinds;
    let ratio = |of: fn(&Kind) -> Vec<f64>| {
        Spread::of(of(wrapped).into_iter().zip(of(direct)).map(|(wrapped, direct)| wrapped / direct))
    };
    let rate = ratio(|kind| kind.carry.iter().map(|one| one.rate).collect());
    report.row("vxlan ÷ host-gw: one connection", "x", rate, options.rounds, None);
    let round = ratio(|kind| kind.echo.iter().map(|one| one.median).collect());
    report.row("vxlan ÷ host-gw: a round, median", "x", round, options.rounds, None);
    report.notes.push(
        "Between pods: both ends, both nodes and everything between them share the cores of this one host; TCP, one connection; \
         for vxlan the bench made what an agent makes, on the same nodes, and the pods had its MTU of 1450."
            .to_owned(),
    );
    Ok(())
}

impl Kind {
    fn take(&mut self, from: u32, to: SocketAddr, seconds: u64) -> anyhow::Result<()> {
        self.carry.push(probe::measure(from, "carry", to, seconds)?);
        self.echo.push(probe::measure(from, "echo", to, seconds)?);
        Ok(())
    }
}

fn name(machine: &Machine) -> String {
    format!("end-{}", machine.name)
}

impl End {
    /// A pod on this machine, once it runs.
    async fn new(tenant: &Client, machine: &Machine) -> anyhow::Result<Self> {
        let nodes: Api<Node> = Api::all(tenant.clone());
        let range = nodes.get(&machine.name).await?.spec.and_then(|spec| spec.pod_cidr);
        let pods: Api<Pod> = Api::namespaced(tenant.clone(), "default");
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name(machine)},
            "spec": {
                "nodeName": machine.name, "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "end", "image": "skep.dev/pause:v1"}],
            },
        }))?;
        pods.create(&PostParams::default(), &pod).await?;
        let container = |pod: &Pod| -> Option<String> {
            let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?.clone();
            let id = status.container_id?;
            status.ready.then(|| id.trim_start_matches("containerd://").to_owned())
        };
        let pod = bare::appears(&pods, &name(machine), |pod| container(pod).is_some()).await?;
        let id = container(&pod).unwrap_or_default();
        let address = pod.status.and_then(|status| status.pod_ip).context("the pod has no address")?;
        let is_its = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(&id))
        };
        let all = fs::read_dir("/proc")?.flatten();
        let mut pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let pod = pids.find(is_its).context("the pod has no process on this host")?;
        let range = range.context("the node has no range of pods")?;
        Ok(Self { machine: machine.clone(), pod, address: address.parse()?, range })
    }

    /// The first address of its range: the device's.
    fn network(&self) -> &str {
        self.range.split('/').next().unwrap_or_default()
    }
}

/// An agent that stands still, until this is dropped.
struct Still(Pid);

impl Still {
    fn agent(machine: &Machine) -> anyhow::Result<Self> {
        let pid = Pid::from_raw(i32::try_from(machine.first)?);
        kill(pid, Signal::SIGSTOP)?;
        Ok(Self(pid))
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// The device of a node, until this is dropped.
struct Device(u32);

impl Device {
    fn make(here: &End, there: &End) -> anyhow::Result<Self> {
        let (inside, address) = (here.machine.first, here.machine.address);
        let (far, next, range) = (there.machine.address, there.network(), here.network());
        let device = Self(inside);
        for line in [
            format!(
                "ip link add {DEVICE} address {} mtu {} type vxlan id {NETWORK} local {address} dev eth0 dstport {PORT} \
                 nolearning",
                mac(address),
                MTU[1],
            ),
            format!("ip link set {DEVICE} up"),
            format!("ip address replace {range}/32 dev {DEVICE}"),
            format!("bridge fdb replace {} dev {DEVICE} dst {far} self permanent", mac(far)),
            format!("ip neigh replace {next} lladdr {} dev {DEVICE} nud permanent", mac(far)),
        ] {
            within(inside, &line)?;
        }
        Ok(device)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = within(self.0, &format!("ip link delete {DEVICE}"));
    }
}

/// Leads the pods of the other node this way or that.
fn way(here: &End, there: &End, wrapped: bool) -> anyhow::Result<()> {
    let (range, node, next) = (&there.range, there.machine.address, there.network());
    let line = match wrapped {
        true => format!("ip route replace {range} via {next} dev {DEVICE} proto 83 onlink"),
        false => format!("ip route replace {range} via {node} dev eth0 proto 83"),
    };
    within(here.machine.first, &line)?;
    within(here.pod, &format!("ip link set eth0 mtu {}", MTU[usize::from(wrapped)]))
}

fn mac(node: Ipv4Addr) -> String {
    let [a, b, c, d] = node.octets();
    format!("02:53:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

fn within(process: u32, line: &str) -> anyhow::Result<()> {
    host::run(&format!("nsenter --net=/proc/{process}/ns/net -- {line}")).map(drop)
}
