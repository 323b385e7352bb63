//! `skep node …`: machines that people bring, and what runs on a machine to make a node of it.

use std::{fs, path::Path};

use serde::de::DeserializeOwned;

use crate::{
    cli::part::Agent,
    error::{Error, Result},
    exit::Exit,
    logging, output, runtime,
};

mod brought;
pub mod join;
mod service;

/// Runs the agent until it is told to stop.
///
/// # Errors
/// A file that cannot be read, or a machine that cannot be a node.
pub fn agent(args: &Agent) -> Result<()> {
    runtime::with_allocator_settings();
    logging::init(&args.log, false, None)?;
    let made = match (&args.join, &args.host) {
        (Some(join), Some(host)) => Some((read(join)?, read(host)?)),
        _ => None,
    };
    // On a machine run the tenant's own programs.
    runtime::service_with(runtime::PUNCTUAL, async {
        let stop = runtime::stop_on_signals()?;
        let (join, host) = match made {
            Some(made) => made,
            None => brought::prepare(args.join.as_deref()).await?,
        };
        if args.service && service::is_there() {
            let node = join.node;
            service::install()?;
            output::note(&format!(
                "node {node} runs as a service: systemctl status skep-node, journalctl -u skep-node"
            ));
            return Ok(());
        }
        let ended = skep_agent::run(join, host, stop).await;
        if ended.as_ref().is_err_and(is_for_good)
            && let Err(error) = service::remove()
        {
            tracing::warn!(error = error.message, "the service is left");
        }
        ended.map_err(refused)
    })
}

fn refused(error: skep_agent::Error) -> Error {
    let exit = if is_for_good(&error) { Exit::Refused } else { Exit::Failure };
    Error::logged(error.code(), exit, error)
}

/// The cluster does not have the machine, or is not the one that was meant: nobody should start the agent again.
fn is_for_good(error: &skep_agent::Error) -> bool {
    use skep_agent::Error::{Removed, Unknown, Unreachable};
    matches!(error, Removed { .. } | Unknown { .. } | Unreachable { .. })
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(|error| Error::file(path, error))?;
    serde_json::from_str(&text).map_err(|error| Error::file(path, error))
}
