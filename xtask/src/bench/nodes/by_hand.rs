//! The yardstick: the same containerd and kubelet, started by hand in a network namespace on the same bridge, against the same
//! API server through the same gateway. As little as makes a node ready: no agent, no kube-proxy, no cgroups of its own, no
//! certificate to ask for.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, api::DeleteParams};
use serde_json::json;

use super::{
    host::{self, Machine, run},
    is_ready,
};
use crate::bench::bare::{self, LIMIT};

/// Pause between two looks at a socket.
const LOOK: Duration = Duration::from_millis(5);

/// Where nodes are made by hand.
pub struct Bed {
    like: Machine,
    bridge: String,
    gateway: Ipv4Addr,
    /// Length of the network's prefix.
    prefix: u8,
    kubeconfig: String,
    dir: PathBuf,
}

impl Bed {
    /// Beside the machines of an installation.
    pub fn new(data: &Path, machines: &[Machine], kubeconfig: &str, dir: &Path) -> anyhow::Result<Self> {
        let like = machines.first().context("there is no machine")?.clone();
        let gateway = like.server.trim_start_matches("https://").split(':').next().unwrap_or_default();
        let gateway: Ipv4Addr =
            gateway.parse().with_context(|| format!("{} in {}", gateway, data.display()))?;
        let addresses = run("ip -4 -o address")?;
        let line = addresses.lines().find(|line| line.contains(&format!(" {gateway}/")));
        let words: Vec<&str> =
            line.context("no bridge has the gateway's address")?.split_whitespace().collect();
        let (bridge, address) = words.get(1).zip(words.get(3)).context("ip prints otherwise now")?;
        let prefix = address.split('/').nth(1).and_then(|text| text.parse().ok()).context("no prefix")?;
        // As a node reaches it.
        let line = |line: &str| match line.trim_start().strip_prefix("server:") {
            Some(_) => line.replace(line.trim_start(), &format!("server: {}", like.server)),
            None => line.to_owned(),
        };
        let kubeconfig = kubeconfig.lines().map(line).collect::<Vec<_>>().join("\n");
        Ok(Self { bridge: (*bridge).to_owned(), gateway, prefix, kubeconfig, dir: dir.to_owned(), like })
    }

    /// Starts a node, and takes it away when it is ready. How long that took from the start of containerd.
    pub async fn join(&self, run: usize, nodes: &Api<Node>) -> anyhow::Result<Duration> {
        let name = format!("by-hand-{run}");
        let dir = self.dir.join(&name);
        let address = self.address(run)?;
        let network = Network::make(self, &name, address)?;
        self.write(&dir)?;

        let began = Instant::now();
        let mut programs = Programs::default();
        let containerd = format!("{}/containerd", self.like.containerd);
        let config = format!("--config={}", dir.join("containerd.toml").display());
        programs.start(&network, &self.like.containerd, &containerd, &[config], &dir)?;
        let socket = dir.join("containerd.sock");
        while UnixStream::connect(&socket).is_err() {
            anyhow::ensure!(
                began.elapsed() < LIMIT,
                "containerd did not start; its log is in {}",
                dir.display()
            );
            tokio::time::sleep(LOOK).await;
        }
        let kubelet = format!("{}/kubelet", self.like.kubernetes);
        let arguments = [
            format!("--config={}", dir.join("kubelet.json").display()),
            format!("--kubeconfig={}", dir.join("kubeconfig").display()),
            format!("--root-dir={}", dir.join("kubelet").display()),
            format!("--cert-dir={}", dir.join("pki").display()),
            format!("--hostname-override={name}"),
            format!("--node-ip={address}"),
        ];
        programs.start(&network, &self.like.containerd, &kubelet, &arguments, &dir)?;
        let ready = bare::appears(nodes, &name, is_ready).await;
        let took = began.elapsed();
        drop(programs);
        drop(network);
        if let Err(error) = ready {
            let log = fs::read_to_string(dir.join("kubelet.log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            return Err(error.context(tail.join("\n")));
        }
        nodes.delete(&name, &DeleteParams::default()).await?;
        Ok(took)
    }

    /// From the end of the network: machines are given addresses from its beginning.
    fn address(&self, run: usize) -> anyhow::Result<Ipv4Addr> {
        let [a, b, c, _] = self.gateway.octets();
        Ok(Ipv4Addr::new(a, b, c, 250_u8.checked_sub(u8::try_from(run)?).context("too many runs")?))
    }

    fn write(&self, dir: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(dir.join("cni"))?;
        let at = |name: &str| dir.join(name).display().to_string();
        let containerd = format!(
            "version = 3\nroot = \"{}\"\nstate = \"{}\"\n[grpc]\naddress = \"{}\"\n\
             [plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dirs = [\"{}\"]\nconf_dir = \"{}\"\n\
             [plugins.'io.containerd.internal.v1.opt']\npath = \"{}\"\n\
             [plugins.'io.containerd.nri.v1.nri']\ndisable = true\n",
            at("root"),
            at("state"),
            at("containerd.sock"),
            self.like.cni,
            at("cni"),
            at("opt"),
        );
        let network = json!({
            "cniVersion": "1.0.0", "name": "by-hand",
            "plugins": [{"type": "bridge", "bridge": "by-hand", "ipam": {
                "type": "host-local", "dataDir": at("ipam"), "ranges": [[{"subnet": "10.99.0.0/24"}]],
            }}],
        });
        let kubelet = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true}},
            "authorization": {"mode": "Webhook"},
            "containerRuntimeEndpoint": format!("unix://{}", at("containerd.sock")),
            "podLogsDir": at("logs"), "volumePluginDir": at("volume-plugins"),
            "cgroupDriver": "cgroupfs", "cgroupsPerQOS": false, "enforceNodeAllocatable": [],
            "failSwapOn": false, "failCgroupV1": false,
            // Nothing is to run there.
            "registerWithTaints": [{"key": "skep.dev/by-hand", "effect": "NoSchedule"}],
        });
        fs::write(dir.join("containerd.toml"), containerd)?;
        fs::write(dir.join("cni/10-by-hand.conflist"), network.to_string())?;
        fs::write(dir.join("kubelet.json"), kubelet.to_string())?;
        fs::write(dir.join("kubeconfig"), &self.kubeconfig)?;
        Ok(())
    }
}

/// A network namespace with a cable; gone when it is dropped.
struct Network {
    namespace: String,
    cable: String,
}

impl Network {
    fn make(bed: &Bed, name: &str, address: Ipv4Addr) -> anyhow::Result<Self> {
        let cable = format!("skb{}", address.octets()[3]);
        let network = Self { namespace: format!("skep-bench-{name}"), cable };
        let (namespace, cable) = (&network.namespace, &network.cable);
        run(&format!("ip netns add {namespace}"))?;
        run(&format!("ip link add {cable} type veth peer name eth0 netns {namespace}"))?;
        run(&format!("ip link set {cable} up master {}", bed.bridge))?;
        run(&format!("ip -n {namespace} link set lo up"))?;
        run(&format!("ip -n {namespace} address add {address}/{} dev eth0", bed.prefix))?;
        run(&format!("ip -n {namespace} link set eth0 up"))?;
        run(&format!("ip -n {namespace} route add default via {}", bed.gateway))?;
        Ok(network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = host::run(&format!("ip link delete {}", self.cable));
        let _ = host::run(&format!("ip netns delete {}", self.namespace));
    }
}

/// Programs that are ended, the last started first, when this is dropped.
#[derive(Default)]
struct Programs(Vec<Child>);

impl Programs {
    fn start(
        &mut self,
        network: &Network,
        search: &str,
        program: &str,
        arguments: &[String],
        dir: &Path,
    ) -> anyhow::Result<()> {
        let name = program.rsplit('/').next().unwrap_or_default();
        let log = fs::File::create(dir.join(format!("{name}.log")))?;
        // Both become the program: what is ended is it.
        let child = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", network.namespace))
            .args(["--", "unshare", "--mount", "--propagation", "private", "--", program])
            .args(arguments)
            .env_clear()
            .env("PATH", format!("{search}:/usr/sbin:/usr/bin:/sbin:/bin"))
            .env("HOME", "/root")
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        self.0.push(child);
        Ok(())
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        while let Some(mut child) = self.0.pop() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
