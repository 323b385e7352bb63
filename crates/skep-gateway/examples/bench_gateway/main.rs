//! Compares the gateway with a direct connection and with haproxy (TCP mode, SNI routing) in one run, over loopback.
//!
//! ```text
//! cargo run --release -p skep-gateway --example bench_gateway -- --rounds 5 --json result.json
//! ```
//!
//! Backend, gateway and haproxy are processes of their own, so that their CPU time and memory can be told apart. Every
//! scenario visits the targets in turn, round after round, and the median of the rounds counts: what else happens on the
//! machine hits all of them alike. Without haproxy its columns stay empty.

mod backend;
mod load;
mod processes;
mod report;
mod scenario;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// Bounds and choices of a run.
#[derive(Clone, Debug, Parser)]
struct Options {
    #[command(subcommand)]
    role: Option<Role>,
    /// Rounds per scenario; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Seconds per measurement.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Connections that are kept in the scenarios with kept connections.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Requests at once on one HTTP/2 connection.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=200))]
    streams: u32,
    /// Idle connections whose memory is measured.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=9000))]
    idle: u32,
    /// Threads of gateway and of haproxy.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// Only these scenarios.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Writes the result here as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The haproxy to compare with.
    #[arg(long, default_value = "haproxy")]
    haproxy: PathBuf,
    /// A real API server to send requests to instead of the built-in backend.
    #[arg(long, requires_all = ["server_name", "ca", "cert", "key", "path"])]
    upstream: Option<SocketAddr>,
    /// Its process, for its part of the CPU time.
    #[arg(long)]
    upstream_pid: Option<u32>,
    /// Its name.
    #[arg(long)]
    server_name: Option<String>,
    /// PEM file of its CA.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// PEM file of the client's certificate.
    #[arg(long)]
    cert: Option<PathBuf>,
    /// PEM file of the client's key.
    #[arg(long)]
    key: Option<PathBuf>,
    /// Path that is requested.
    #[arg(long)]
    path: Option<String>,
}

/// What a child process of a run does.
#[derive(Clone, Debug, Subcommand)]
enum Role {
    /// Serves requests until its standard input closes.
    #[command(hide = true)]
    Backend(backend::Args),
    /// Runs a gateway until its standard input closes.
    #[command(hide = true)]
    Gateway(processes::GatewayArgs),
}

fn main() -> Result<()> {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match &options.role {
            Some(Role::Backend(args)) => backend::serve(args).await,
            Some(Role::Gateway(args)) => processes::serve_gateway(args).await,
            None => bench(&options).await,
        }
    })
}

async fn bench(options: &Options) -> Result<()> {
    let directory = tempfile::tempdir().context("temporary directory")?;
    let world = processes::World::start(options, directory.path()).await?;
    let mut results = Vec::new();
    for scenario in scenario::all(options) {
        if options.only.is_empty() || options.only.iter().any(|name| name == scenario.name) {
            results.push(scenario::run(&scenario, options, &world).await?);
        }
    }
    report::print(&results);
    if let Some(path) = &options.json {
        std::fs::write(path, report::json(&results, options)?).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Time of one measurement.
fn span(options: &Options) -> Duration {
    Duration::from_secs_f64(options.seconds.clamp(0.1, 60.0))
}
