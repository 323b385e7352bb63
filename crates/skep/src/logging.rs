//! Logs of long-running commands.

use std::{fs::File, sync::Mutex};

use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    error::{Error, Result, code},
    exit::Exit,
};

/// What is logged when `SKEP_LOG` says nothing: other crates only when something is wrong.
const DEFAULT: &str = "warn,skep=info,skep_embedded=info,skep_fleet=info,skep_controlplane=info,skep_datastore=info,\
                       skep_gateway=info,skep_vnode=info,skep_engine=info,skep_kubeops=info,\
                       skep_node=info,skep_autoscaler=info,skep_infra=info,skep_agent=info";

/// The filter for the supervisor: `SKEP_LOG`, else the default.
pub fn filter_from_env() -> String {
    std::env::var("SKEP_LOG").ok().filter(|text| !text.is_empty()).unwrap_or_else(|| DEFAULT.to_owned())
}

/// Logs to stderr, and into `file` too when there is one.
pub fn init(filter: &str, json: bool, file: Option<File>) -> Result<()> {
    // `info` alone means our own crates at that level, as a person expects it.
    let filter = if filter == "info" { DEFAULT } else { filter };
    let parsed = || {
        EnvFilter::try_new(filter)
            .map_err(|error| Error::new(code::USAGE, Exit::Usage, format!("log filter {filter:?}: {error}")))
    };
    let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = Vec::new();
    let stderr = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    layers.push(if json {
        stderr.json().with_filter(parsed()?).boxed()
    } else {
        stderr.with_filter(parsed()?).boxed()
    });
    if let Some(file) = file {
        layers
            .push(fmt::layer().with_writer(Mutex::new(file)).with_ansi(false).with_filter(parsed()?).boxed());
    }
    tracing_subscriber::registry()
        .with(layers)
        .try_init()
        .map_err(|error| Error::new(code::USAGE, Exit::Failure, format!("logging: {error}")))
}
