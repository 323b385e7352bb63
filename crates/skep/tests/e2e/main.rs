//! The product as a person uses it: the real binary, a real `skep up`, real clusters.
//!
//! Scenarios run one after the other, because they stop and kill what others would need. A name (or a part of one)
//! as argument runs only the scenarios that match; `--list` lists them. The installation of the first group is shared
//! and taken down at the end, also when a scenario fails or this process is killed.

// Helpers of tests may fail loudly; the lint only exempts the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod autoscale;
mod cells;
mod clusters;
mod hub;
mod installation;
mod kills;
mod lifecycle;
mod nodes;
mod nodes_brought;
mod parts;
mod shortage;
mod writers;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};

use installation::Installation;

/// Longest time for a scenario: whatever it waits for does not come any more.
const LONGEST: Duration = Duration::from_secs(20 * 60);

/// A scenario on the shared installation.
type Scenario = fn(&Installation);

const SHARED: &[(&str, Scenario)] = &[
    ("lifecycle::it_is_ready_and_says_so", lifecycle::it_is_ready_and_says_so),
    ("lifecycle::a_second_up_attaches_or_refuses", lifecycle::a_second_up_attaches_or_refuses),
    ("clusters::create_and_use", |shared| clusters::create_and_use(shared)),
    ("clusters::what_cannot_be_is_refused_with_what_can", |shared| {
        clusters::what_cannot_be_is_refused_with_what_can(shared)
    }),
    ("nodes::real_nodes", nodes::real_nodes),
    ("nodes::repair_and_upgrade", nodes::repair_and_upgrade),
    ("cells::kube_on_kube", cells::kube_on_kube),
    ("nodes::faults", nodes::faults),
    ("nodes::storm", nodes::storm),
    ("nodes::network", nodes::network),
    ("autoscale::pods_bring_nodes_and_take_them_along", autoscale::pods_bring_nodes_and_take_them_along),
    ("parts::a_gateway_of_its_own", parts::a_gateway_of_its_own),
    ("parts::a_fourth_node", parts::a_fourth_node),
    ("clusters::a_resize_loses_no_request", |shared| clusters::a_resize_loses_no_request(shared)),
    ("parts::nobody_was_refused", |shared| parts::nobody_was_refused(shared)),
    ("lifecycle::down_and_up_keep_everything", lifecycle::down_and_up_keep_everything),
    ("kills::programs_of_the_hub", kills::programs_of_the_hub),
    ("kills::programs_of_tenants", kills::programs_of_tenants),
    ("kills::the_supervisor", kills::the_supervisor),
    ("kills::everything_at_once", kills::everything_at_once),
    ("kills::etcd_away_for_a_minute", kills::etcd_away_for_a_minute),
    ("lifecycle::a_second_installation_beside_it", lifecycle::a_second_installation_beside_it),
    ("clusters::a_version_change_loses_no_request", |shared| {
        clusters::a_version_change_loses_no_request(shared)
    }),
    ("clusters::delete_leaves_nothing", |shared| clusters::delete_leaves_nothing(shared)),
    ("parts::nobody_was_refused", |shared| parts::nobody_was_refused(shared)),
    ("parts::an_operator_that_leads", parts::an_operator_that_leads),
];

/// Scenarios that bring what they need.
const ALONE: &[(&str, fn())] = &[
    ("lifecycle::directories_that_are_refused", lifecycle::directories_that_are_refused),
    ("lifecycle::ports_that_are_taken", lifecycle::ports_that_are_taken),
    ("lifecycle::an_interrupted_start_leaves_nothing", lifecycle::an_interrupted_start_leaves_nothing),
    ("lifecycle::down_after_a_crash_leaves_nothing", lifecycle::down_after_a_crash_leaves_nothing),
    ("nodes_brought::the_printed_line", nodes_brought::the_printed_line),
    ("shortage::no_go", shortage::no_go),
    ("shortage::a_disk_too_small", shortage::a_disk_too_small),
    ("shortage::a_disk_that_fills", shortage::a_disk_that_fills),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let wanted =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    if args.iter().any(|arg| arg == "--list") {
        let names = ALONE.iter().map(|(name, _)| name).chain(SHARED.iter().map(|(name, _)| name));
        names.for_each(|name| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut failed = Vec::new();
    for (name, scenario) in ALONE.iter().filter(|(name, _)| wanted(name)) {
        run(name, &mut failed, scenario);
    }
    let shared: Vec<_> = SHARED.iter().filter(|(name, _)| wanted(name)).collect();
    if !shared.is_empty() {
        let installation = Installation::new("shared");
        run("up", &mut failed, || installation.up());
        for (name, scenario) in shared {
            run(name, &mut failed, || scenario(&installation));
        }
        run("down", &mut failed, || installation.down());
        if !failed.is_empty() {
            installation.show_logs();
        }
    }
    match failed.as_slice() {
        [] => ExitCode::SUCCESS,
        failed => {
            println!("failed: {}", failed.join(", "));
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str, failed: &mut Vec<String>, scenario: impl FnOnce()) {
    let began = Instant::now();
    let _end = end_of_patience(name);
    let outcome = catch_unwind(AssertUnwindSafe(scenario));
    let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
    println!("test {name} ... {verdict} ({:.1} s)", began.elapsed().as_secs_f64());
    if outcome.is_err() {
        failed.push(name.to_owned());
    }
}

/// Ends this process when the sender is not dropped in time. The guards of installations take them down then.
fn end_of_patience(name: &str) -> Sender<()> {
    let (end, ended) = channel();
    let name = name.to_owned();
    std::thread::spawn(move || {
        if ended.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout) {
            println!("test {name} ... FAILED (does not end in {} s)", LONGEST.as_secs());
            std::process::exit(1);
        }
    });
    end
}
