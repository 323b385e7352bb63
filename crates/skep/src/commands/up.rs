//! `skep up`: in the foreground, in the background, or as what runs in the background.

use std::{collections::BTreeSet, ffi::OsString, time::Duration};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use skep_embedded::{
    Layout, Options,
    attach::{self, Up},
    board::{Board, Phase, Snapshot},
    lock, logs,
};
use skep_engine::Engine;

use crate::{
    cli::{Global, installation},
    error::Result,
    hub, logging,
    output::{self, progress::Progress, style},
    runtime,
};

pub fn run(global: &Global, args: &installation::Up) -> Result<()> {
    let layout = hub::layout(global)?;
    let options = Options {
        gateway_listen: args.gateway_listen,
        gateway_url: args.gateway_url.clone(),
        network: args.network,
    };
    if args.daemon || args.foreground {
        runtime::with_allocator_settings();
        return runtime::service(supervise(global, args, layout, options));
    }
    runtime::command(async {
        let mut steps = Steps::new(global.quiet);
        let arguments = daemon_arguments(args, &layout);
        let interrupted = async {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let up = attach::up(
            &layout,
            &options,
            &arguments,
            &runtime::ALLOCATOR,
            |snapshot| steps.show(snapshot),
            interrupted,
        );
        let outcome = up.await;
        steps.finish();
        match outcome? {
            Up::Started(snapshot) => output::print(&usage("started", &snapshot)),
            Up::Attached(snapshot) => output::print(&usage("running already", &snapshot)),
        }
    })
}

/// What the background process is started with.
fn daemon_arguments(args: &installation::Up, layout: &Layout) -> Vec<OsString> {
    let mut all: Vec<OsString> =
        vec!["up".into(), "--daemon".into(), "--data-dir".into(), layout.root().into()];
    let options = [
        ("--gateway-listen", args.gateway_listen.map(|address| address.to_string())),
        ("--gateway-url", args.gateway_url.clone()),
        ("--network", args.network.map(|net| net.to_string())),
    ];
    for (name, value) in options {
        if let Some(value) = value {
            all.extend([name.into(), value.into()]);
        }
    }
    all
}

/// The supervisor itself.
async fn supervise(global: &Global, args: &installation::Up, layout: Layout, options: Options) -> Result<()> {
    layout.prepare()?;
    let lock = match lock::acquire(&layout)? {
        Ok(lock) => lock,
        Err(_) if args.daemon => std::process::exit(attach::HELD),
        Err(_) => {
            // The same as without --foreground: use what runs.
            let mut steps = Steps::new(global.quiet);
            let found = attach::find(&layout, &options, |snapshot| steps.show(snapshot)).await?;
            steps.finish();
            return output::print(&usage("running already", &found));
        }
    };
    // In the background stderr is the log file already.
    let file = if args.daemon { None } else { Some(logs::open(&layout.log("skep"))?) };
    logging::init(&logging::filter_from_env(), false, file)?;
    raise_file_limit();
    let board = Board::new(layout.root().to_owned());
    let stop = runtime::stop_on_signals()?;
    let reporting = if args.daemon {
        tokio::spawn(attach::report_start(board.clone()))
    } else {
        tokio::spawn(show(board.clone(), global.quiet))
    };
    let engine = Engine::from_env()?;
    let outcome = skep_embedded::run(layout, lock, options, engine, board, stop).await;
    let _ = tokio::time::timeout(Duration::from_secs(2), reporting).await;
    match outcome {
        // The one who started it has said why.
        Err(_) if args.daemon => std::process::exit(1),
        other => Ok(other?),
    }
}

/// Shows the start of a supervisor in the foreground.
async fn show(board: Board, quiet: bool) {
    let mut steps = Steps::new(quiet);
    let mut watch = board.watch();
    loop {
        let snapshot = watch.borrow_and_update().clone();
        steps.show(&snapshot);
        if snapshot.phase == Phase::Ready {
            steps.finish();
            let _ = output::print(&usage("running; an interrupt stops it", &snapshot));
            return;
        }
        if snapshot.ended() || watch.changed().await.is_err() {
            return;
        }
    }
}

/// Every tenant connection is two descriptors in the gateway. The hard limit is ours to use.
fn raise_file_limit() {
    const ENOUGH: u64 = 1 << 16;
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard.min(ENOUGH)
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(ENOUGH), hard);
    }
}

/// Shows the steps of snapshots, each once.
pub struct Steps {
    progress: Progress,
    done: BTreeSet<String>,
}

impl Steps {
    pub fn new(quiet: bool) -> Self {
        Self { progress: Progress::new(quiet), done: BTreeSet::new() }
    }

    pub fn show(&mut self, snapshot: &Snapshot) {
        for step in &snapshot.steps {
            match step.millis {
                Some(millis) if self.done.insert(step.name.clone()) => {
                    self.progress.done(&step.name, Duration::from_millis(millis));
                }
                Some(_) => {}
                None => match &step.detail {
                    Some(detail) => self.progress.doing(&format!("{}: {detail}", step.name)),
                    None => self.progress.doing(&step.name),
                },
            }
        }
    }

    pub fn finish(&mut self) {
        self.progress.finish();
    }
}

/// What a person needs next.
fn usage(state: &str, snapshot: &Snapshot) -> String {
    let style = style::stdout();
    let mut text = format!("skep is {state} (process {})\n", snapshot.pid);
    for (what, value) in [
        ("data", snapshot.data_dir.display().to_string()),
        ("hub", snapshot.endpoints.hub.clone()),
        ("gateway", snapshot.endpoints.gateway_url.clone()),
    ] {
        text += &format!("  {:<8} {value}\n", style.dim(what));
    }
    for warning in &snapshot.warnings {
        text += &format!("{}: {warning}\n", style.warn("warning"));
    }
    text += "next:\n";
    for (command, what) in [
        ("skep create cluster demo", "a Kubernetes cluster in seconds"),
        ("skep use demo", "make it kubectl's current context"),
        ("skep kubectl get nodes", "kubectl on the hub"),
        ("skep down", "stop; all data stays"),
    ] {
        text += &format!("  {command:<26}{}\n", style.dim(what));
    }
    text
}
