//! `skep kubectl`: the engine's kubectl on the hub, for machines that have none.

use std::{os::unix::process::CommandExt, process::Command};

use skep_engine::Engine;

use super::engine;
use crate::{
    cli::{Global, installation},
    error::{Error, Result, code},
    exit::Exit,
    hub,
};

pub async fn run(global: &Global, args: &installation::Kubectl) -> Result<()> {
    let kubeconfig = hub::kubeconfig(global)?;
    let [newest, ..] = skep_engine::KUBERNETES;
    let artifact =
        engine::ensure(global, &Engine::from_env()?, &skep_engine::kubernetes_image(newest)?).await?;
    let missing = || Error::new(code::FILE, Exit::Failure, format!("{} has no kubectl", artifact.image));
    let program = artifact.program("kubectl").ok_or_else(missing)?;
    // It takes our place: its output, its signals, its exit code.
    let error = Command::new(&program).arg0("kubectl").args(&args.args).env("KUBECONFIG", kubeconfig).exec();
    Err(Error::file(&program, error))
}
