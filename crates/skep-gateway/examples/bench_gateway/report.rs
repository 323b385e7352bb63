//! The result as a table and as JSON.

use anyhow::Result;
use serde_json::{Value, json};

use crate::Options;
use crate::scenario::{Outcome, Sample};

/// A figure of a measurement.
type Figure = fn(&Sample) -> Option<f64>;

const VALUE: Figure = |sample| Some(sample.value);
const CPU: Figure = |sample| sample.cpu;
const TOTAL: Figure = |sample| sample.total;

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn rounds<'a>(outcome: &'a Outcome, target: &str) -> &'a [Sample] {
    outcome.targets.iter().find(|(name, _)| *name == target).map_or(&[], |(_, samples)| samples)
}

fn of(outcome: &Outcome, target: &str, figure: Figure) -> Option<f64> {
    median(rounds(outcome, target).iter().filter_map(figure).collect())
}

/// Median of the rounds' ratios: both targets of a round met the same machine.
fn ratio(outcome: &Outcome, over: &str, under: &str, figure: Figure) -> Option<f64> {
    let pairs = rounds(outcome, over).iter().zip(rounds(outcome, under));
    median(pairs.filter_map(|(over, under)| Some(figure(over)? / figure(under)?)).collect())
}

/// A column: its title, its digits, its value.
type Column = (&'static str, usize, fn(&Outcome) -> Option<f64>);

const COLUMNS: [Column; 9] = [
    ("direct", 1, |o| of(o, "direct", VALUE)),
    ("gateway", 1, |o| of(o, "gateway", VALUE)),
    ("haproxy", 1, |o| of(o, "haproxy", VALUE)),
    ("gw/direct", 3, |o| ratio(o, "gateway", "direct", VALUE)),
    ("gw/haproxy", 3, |o| ratio(o, "gateway", "haproxy", VALUE)),
    // What the ratio to direct is on a machine that does nothing else: all CPU time without and with the gateway.
    ("by CPU", 3, |o| ratio(o, "direct", "gateway", TOTAL)),
    ("ends us", 1, |o| of(o, "direct", TOTAL)),
    ("gw us", 2, |o| of(o, "gateway", CPU)),
    ("haproxy us", 2, |o| of(o, "haproxy", CPU)),
];

pub fn print(outcomes: &[Outcome]) {
    print!("{:<10} {:<15}", "scenario", "unit");
    COLUMNS.iter().for_each(|(title, ..)| print!(" {title:>10}"));
    println!();
    for outcome in outcomes {
        print!("{:<10} {:<15}", outcome.scenario, outcome.unit);
        for (_, digits, value) in COLUMNS {
            let value = value(outcome).map_or("-".into(), |value| format!("{value:.digits$}"));
            print!(" {value:>10}");
        }
        println!();
    }
    println!("us: CPU microseconds per unit of work, of clients and server (ends), gateway, haproxy");
}

pub fn json(outcomes: &[Outcome], options: &Options) -> Result<String> {
    let scenarios: Vec<Value> = outcomes
        .iter()
        .map(|outcome| {
            let columns: serde_json::Map<_, _> = COLUMNS
                .iter()
                .map(|(title, _, value)| ((*title).to_owned(), json!(value(outcome))))
                .collect();
            let rounds: serde_json::Map<_, _> = outcome
                .targets
                .iter()
                .map(|(name, samples)| {
                    let values: Vec<_> = samples
                        .iter()
                        .map(|s| json!({"value": s.value, "cpu": s.cpu, "total": s.total}))
                        .collect();
                    ((*name).to_owned(), Value::from(values))
                })
                .collect();
            json!({"scenario": outcome.scenario, "unit": outcome.unit, "columns": columns, "rounds": rounds})
        })
        .collect();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let run = json!({
        "cores": cores, "rounds": options.rounds, "seconds": options.seconds, "threads": options.threads,
        "connections": options.connections, "streams": options.streams, "scenarios": scenarios,
    });
    Ok(serde_json::to_string_pretty(&run)?)
}
