//! The processes of a run, each ended with it, and what they cost.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use skep_gateway::routes::{ControlPlaneFact, Key, PodFact, Touched};
use skep_gateway::{Config, Gateway, Source};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::{Options, backend, tls};

/// Pods of the tenant.
const PODS: usize = 4;
/// Clock ticks per second in /proc, `USER_HZ`, which is 100 on every Linux architecture that Rust knows.
const TICKS: f64 = 100.0;

/// Where a target is reached.
#[derive(Clone, Debug)]
pub struct Target {
    pub name: &'static str,
    /// For requests over TLS, for each connection the next.
    pub http: Vec<SocketAddr>,
    /// For the single byte.
    pub raw: Vec<SocketAddr>,
    /// Processes that stand between, if any do: for `http` and for `raw`.
    pub pids: Vec<u32>,
}

/// Everything that runs.
pub struct World {
    pub targets: Vec<Target>,
    pub directory: PathBuf,
    /// Clients and servers: what every target has at its ends.
    pub ends: Target,
    _children: Vec<Child>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct GatewayArgs {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long, value_delimiter = ',')]
    pods: Vec<SocketAddr>,
    #[arg(long)]
    host: String,
    #[arg(long)]
    workers: usize,
}

/// Runs a gateway with one tenant.
pub async fn serve_gateway(args: &GatewayArgs) -> Result<()> {
    let gateway = Gateway::bind(Config { workers: args.workers, ..Config::on(args.listen) })?;
    let directory = gateway.directory();
    directory.update(|table| {
        let (tenant, created) = ("demo".to_owned(), 0);
        let mut touched = table.apply_control_plane(ControlPlaneFact {
            key: Key::new("demo", "demo"),
            created,
            tenant: tenant.clone(),
            host: args.host.clone(),
        });
        let pods = args.pods.iter().enumerate().map(|(index, &address)| PodFact {
            key: Key::new("demo", format!("kube-apiserver-{index}")),
            uid: index.to_string(),
            tenant: tenant.clone(),
            address: Some(address),
            ready: true,
            closing: None,
        });
        touched.extend(pods.map(|pod| table.apply_pod(pod)).collect::<Vec<Touched>>().into_iter().flatten());
        touched
    });
    directory.set_complete();
    println!("ready");
    let shutdown = CancellationToken::new();
    tokio::select! {
        ran = gateway.run(Source::Directory, shutdown) => Ok(ran?),
        ended = until_orphaned() => ended,
    }
}

/// Ends when the process that started this one is gone.
pub async fn until_orphaned() -> Result<()> {
    let mut byte = [0];
    while tokio::io::stdin().read(&mut byte).await? > 0 {}
    Ok(())
}

impl World {
    pub async fn start(options: &Options, directory: &Path) -> Result<Self> {
        tls::generate(directory)?;
        let ports: Vec<u16> = free_ports(8)?;
        let [http_port, raw_port, gateway, gateway_raw, haproxy, haproxy_raw, ..] = ports[..] else {
            bail!("no free ports");
        };
        let on = |port| {
            (1..=PODS).filter_map(move |n| Some(SocketAddr::from(([127, 0, 0, u8::try_from(n).ok()?], port))))
        };
        let (own, raw): (Vec<_>, Vec<_>) = (on(http_port).collect(), on(raw_port).collect());
        let http = options.upstream.map_or(own.clone(), |upstream| vec![upstream]);
        let host = options.server_name.as_deref().unwrap_or(tls::HOST);
        let here = |port| SocketAddr::from(([127, 0, 0, 1], port));

        let mut children = Vec::new();
        let program = std::env::current_exe()?;
        let arguments = |role: &str, rest: &[(&str, String)]| {
            let mut command = Command::new(&program);
            command.arg(role);
            command.args(rest.iter().flat_map(|(flag, value)| [*flag, value.as_str()]));
            command
        };
        let backend = arguments(
            "backend",
            &[
                ("--directory", directory.display().to_string()),
                ("--http", list(&own)),
                ("--raw", list(&raw)),
            ],
        );
        children.push(spawn_ready(backend).await.context("backend")?);
        let server =
            options.upstream.map_or_else(|| children.first().and_then(Child::id), |_| options.upstream_pid);
        let pids = server.into_iter().chain([std::process::id()]).collect();
        let ends = Target { name: "ends", http: vec![], raw: vec![], pids };
        let mut pids = Vec::new();
        for (listen, pods, host) in [(gateway, &http, host), (gateway_raw, &raw, tls::HOST)] {
            let command = arguments(
                "gateway",
                &[
                    ("--listen", here(listen).to_string()),
                    ("--pods", list(pods)),
                    ("--host", host.to_owned()),
                    ("--workers", options.threads.to_string()),
                ],
            );
            let child = spawn_ready(command).await.context("gateway")?;
            pids.extend(child.id());
            children.push(child);
        }
        let mut targets = vec![Target { name: "direct", http: http.clone(), raw: raw.clone(), pids: vec![] }];
        targets.push(Target {
            name: "gateway",
            http: vec![here(gateway)],
            raw: vec![here(gateway_raw)],
            pids,
        });
        let config = haproxy_config(options.threads, host, &[(haproxy, &http), (haproxy_raw, &raw)]);
        let file = directory.join("haproxy.cfg");
        std::fs::write(&file, config)?;
        match Command::new(&options.haproxy)
            .arg("-db")
            .arg("-q")
            .arg("-f")
            .arg(&file)
            .kill_on_drop(true)
            .spawn()
        {
            Ok(child) => {
                reachable(here(haproxy)).await.context("haproxy")?;
                let (http, raw) = (vec![here(haproxy)], vec![here(haproxy_raw)]);
                targets.push(Target { name: "haproxy", http, raw, pids: child.id().into_iter().collect() });
                children.push(child);
            }
            Err(error) => eprintln!("no haproxy ({error}): its figures are missing"),
        }
        Ok(Self { targets, directory: directory.to_owned(), ends, _children: children })
    }
}

impl Target {
    /// CPU seconds that the processes between have used.
    pub fn cpu(&self) -> Option<f64> {
        self.sum(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name in brackets may hold blanks; user and system time are fields 14 and 15 (proc(5)).
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
            let ticks: f64 = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
            Some(ticks / TICKS)
        })
    }

    /// KiB of memory of the processes between, shared pages by their part (PSS).
    pub fn memory(&self) -> Option<f64> {
        self.sum(|pid| {
            let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
            line.split_whitespace().next()?.parse().ok()
        })
    }

    fn sum(&self, figure: impl Fn(u32) -> Option<f64>) -> Option<f64> {
        self.pids.iter().map(|&pid| figure(pid)).reduce(|sum, next| Some(sum? + next?)).flatten()
    }
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",")
}

async fn spawn_ready(mut command: Command) -> Result<Child> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let stdout = child.stdout.take().context("stdout")?;
    let mut line = String::new();
    let mut stdout = BufReader::new(stdout);
    tokio::time::timeout(Duration::from_secs(10), stdout.read_line(&mut line))
        .await
        .context("did not start")??;
    if line.trim() == "ready" { Ok(child) } else { bail!("said {line:?}") }
}

async fn reachable(address: SocketAddr) -> Result<()> {
    for _ in 0..100 {
        if TcpStream::connect(address).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("{address} does not answer")
}

fn free_ports(count: usize) -> Result<Vec<u16>> {
    let held = (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<Vec<_>, _>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

fn haproxy_config(threads: u32, host: &str, services: &[(u16, &Vec<SocketAddr>)]) -> String {
    let mut text = format!(
        "global\n  nbthread {threads}\ndefaults\n  mode tcp\n  timeout connect 3s\n  \
         timeout client 1h\n  timeout server 1h\n"
    );
    for (port, pods) in services {
        let host = if *port == services[0].0 { host } else { tls::HOST };
        text += &format!(
            "frontend f{port}\n  bind 127.0.0.1:{port}\n  tcp-request inspect-delay 5s\n  \
             tcp-request content accept if {{ req.ssl_hello_type 1 }}\n  \
             use_backend b{port} if {{ req.ssl_sni -i {host} }}\nbackend b{port}\n  balance leastconn\n"
        );
        for (index, pod) in pods.iter().enumerate() {
            text += &format!("  server s{index} {pod}\n");
        }
    }
    text
}

/// Path of the large answer.
pub const LARGE: (&str, usize) = ("/large", backend::LARGE);
