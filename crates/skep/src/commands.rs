//! What the commands do.

mod autoscaler;
mod catalogue;
mod cell;
mod create;
mod delete;
mod describe;
mod down;
mod engine;
mod get;
mod image;
mod kubeconfig;
mod kubectl;
mod logs;
mod node;
mod part;
mod plan;
mod status;
mod up;
mod version;
mod wait;

use std::process::ExitCode;

use clap::CommandFactory;

use crate::{
    cli::{self, Cli, Command},
    error::Result,
    output, runtime,
};

/// Runs the command.
pub fn run(cli: Cli) -> Result<ExitCode> {
    let global = cli.global;
    let done = |()| ExitCode::SUCCESS;
    match cli.command {
        Command::Up(args) => up::run(&global, &args).map(done),
        Command::Down(_) => runtime::command(down::run(&global)).map(done),
        Command::Status(args) => runtime::command(status::run(&global, &args)),
        Command::Logs(args) => runtime::command(logs::run(&global, &args)).map(done),
        Command::Create(args) => runtime::command(create::run(&global, &args)).map(done),
        Command::Get(args) => runtime::command(get::run(&global, &args)).map(done),
        Command::Describe(args) => runtime::command(describe::run(&global, &args)).map(done),
        Command::Delete(args) => runtime::command(delete::run(&global, &args)).map(done),
        Command::Wait(args) => runtime::command(wait::run(&global, &args)).map(done),
        Command::Kubeconfig(args) => runtime::command(kubeconfig::print(&global, &args)).map(done),
        Command::Use(args) => runtime::command(kubeconfig::adopt(&global, &args)).map(done),
        Command::Plan(args) => runtime::command(plan::run(&global, &args)).map(done),
        Command::Engine(args) => runtime::command(engine::run(&global, &args)).map(done),
        Command::Image(args) => runtime::command(image::run(&global, &args)).map(done),
        Command::Cell(args) => runtime::command(cell::run(&global, &args)).map(done),
        Command::Kubectl(args) => runtime::command(kubectl::run(&global, &args)).map(done),
        Command::Crds => crds().map(done),
        Command::Version(args) => version::run(&args).map(done),
        Command::Completion(args) => completion(args.shell).map(done),
        Command::Operator(args) => part::operator(&global, &args).map(done),
        Command::Gateway(args) => part::gateway(&global, &args).map(done),
        Command::Vnode(args) => part::vnode(&global, &args).map(done),
        Command::Autoscaler(cli::autoscaler::Autoscaler::Provider(args)) => {
            autoscaler::provider(&global, &args).map(done)
        }
        Command::Autoscaler(cli::autoscaler::Autoscaler::Expander(args)) => {
            autoscaler::expander(&global, &args).map(done)
        }
        Command::Autoscaler(cli::autoscaler::Autoscaler::Relay(args)) => autoscaler::relay(&args).map(done),
        Command::Node(cli::part::Node::Agent(args)) => node::agent(&args).map(done),
        Command::Node(cli::part::Node::Volumes(args)) => part::volumes(&global, &args).map(done),
        Command::Node(cli::part::Node::Join(args)) => {
            runtime::command(node::join::run(&global, &args)).map(done)
        }
    }
}

fn crds() -> Result<()> {
    for crd in skep_api::crds() {
        output::print(&format!("---\n{}", output::format::yaml(&crd)?))?;
    }
    Ok(())
}

fn completion(shell: clap_complete::Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "skep", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
