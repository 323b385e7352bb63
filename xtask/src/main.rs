//! Repository tasks: what people run on a checkout, as opposed to what the product does.

mod bench;
mod conformance;
mod crds;
mod demo;
mod engine;
mod installation;
mod processes;

use clap::Parser as _;

/// Tasks of the Skep repository.
#[derive(clap::Parser)]
#[command(name = "cargo xtask")]
enum Task {
    /// Measure the product against its yardsticks.
    #[command(subcommand)]
    Bench(Bench),
    /// Show the main job of the product from beginning to end.
    Demo(demo::Options),
    /// Run upstream's conformance tests against a tenant cluster.
    Conformance(conformance::Options),
    /// Write the CustomResourceDefinitions under deploy/crds, or check them.
    Crds(crds::Options),
    /// Make upstream's programs ahead of time.
    Engine(engine::Options),
    /// One end of a connection that a bench measures.
    #[command(subcommand, hide = true)]
    Probe(bench::nodes::probe::Probe),
}

/// What is measured.
#[derive(clap::Subcommand)]
enum Bench {
    /// What a tenant cluster costs, against the same programs started by hand.
    Create(bench::create::Options),
    /// What the gateway costs, against a direct connection and haproxy.
    Gateway(bench::gateway::Options),
    /// What thousands of hollow nodes in one tenant cost.
    Hollow(bench::hollow::Options),
    /// What a local node costs, and what the network between two carries.
    Nodes(bench::nodes::Options),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Bench(Bench::Create(options)) => unless_interrupted(bench::create::run(&options)).await,
        Task::Bench(Bench::Gateway(options)) => bench::gateway::run(&options),
        Task::Bench(Bench::Hollow(options)) => unless_interrupted(bench::hollow::run(&options)).await,
        Task::Bench(Bench::Nodes(options)) => unless_interrupted(bench::nodes::run(&options)).await,
        Task::Probe(probe) => bench::nodes::probe::run(&probe),
        Task::Demo(options) => demo::run(&options).await,
        Task::Conformance(options) => conformance::run(options).await,
        Task::Crds(options) => crds::run(&options),
        Task::Engine(options) => engine::run(options).await,
    }
}

/// Runs a task until its end or an interrupt, which ends it as an error does: what it has started is stopped.
async fn unless_interrupted(task: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        done = task => done,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        _ = terminate.recv() => anyhow::bail!("terminated"),
    }
}
