//! `skep status`

use std::process::ExitCode;

use jiff::Timestamp;
use skep_embedded::{
    attach::{self, Status},
    board::{Health, Phase, Snapshot},
};

use crate::{
    cli::{Global, installation},
    error::Result,
    exit::Exit,
    hub,
    output::{
        self, age,
        format::{Format, Show, show},
        style,
        table::Table,
    },
};

pub async fn run(global: &Global, args: &installation::Status) -> Result<ExitCode> {
    let layout = hub::layout(global)?;
    match attach::status(&layout).await? {
        Status::Running(snapshot) => {
            if args.output == Format::Table || args.output == Format::Wide {
                output::print(&head(&snapshot))?;
            }
            show(&View(&snapshot), args.output)?;
            let ready = snapshot.phase == Phase::Ready;
            Ok(if ready { ExitCode::SUCCESS } else { Exit::Failure.into() })
        }
        Status::Stopped(0) => Err(skep_embedded::Error::NotRunning { path: layout.root().to_owned() }.into()),
        Status::Stopped(count) => {
            let error: crate::error::Error =
                skep_embedded::Error::NotRunning { path: layout.root().to_owned() }.into();
            Err(error.help(format!(
                "{count} processes are left from before; `skep up` takes them over, `skep down` ends them"
            )))
        }
    }
}

fn head(snapshot: &Snapshot) -> String {
    let style = style::stdout();
    let now = Timestamp::now();
    let phase = match snapshot.phase {
        Phase::Ready => style.good("ready"),
        Phase::Starting => style.warn("starting"),
        Phase::Stopping => style.warn("stopping"),
        Phase::Stopped => style.warn("stopped"),
        Phase::Failed => style.error("failed"),
    };
    let mut text = format!(
        "skep {} is {phase}, process {}, for {}\n",
        snapshot.version,
        snapshot.pid,
        age::since(snapshot.started, now)
    );
    for (what, value) in [
        ("data", snapshot.data_dir.display().to_string()),
        ("hub", snapshot.endpoints.hub.clone()),
        ("gateway", snapshot.endpoints.gateway_url.clone()),
        ("metrics", snapshot.endpoints.metrics.clone()),
        ("network", snapshot.endpoints.network.clone()),
    ] {
        text += &format!("  {:<8} {value}\n", style.dim(what));
    }
    for warning in &snapshot.warnings {
        text += &format!("{}: {warning}\n", style.warn("warning"));
    }
    text + "\n"
}

struct View<'a>(&'a Snapshot);

impl Show for View<'_> {
    fn document(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self.0)
            .map_err(|error| crate::error::Error::new(crate::error::code::API, Exit::Failure, error))
    }

    fn table(&self, _wide: bool) -> Table {
        let mut table = Table::new(["COMPONENT", "STATE", "PROCESS", "RESTARTS", "FOR", "MESSAGE"]);
        let now = Timestamp::now();
        for component in &self.0.components {
            let state = match component.health {
                Health::Starting => "Starting",
                Health::Running => "Running",
                Health::Waiting => "Waiting",
                Health::Stopped => "Stopped",
            };
            table.row([
                component.name.clone(),
                state.to_owned(),
                component.pid.map_or("inside".to_owned(), |pid| pid.to_string()),
                component.restarts.to_string(),
                age::since(component.since, now),
                component.message.clone().unwrap_or_default(),
            ]);
        }
        table
    }

    fn names(&self) -> Vec<String> {
        self.0.components.iter().map(|component| component.name.clone()).collect()
    }

    fn empty(&self) -> String {
        "nothing is started yet".to_owned()
    }
}
