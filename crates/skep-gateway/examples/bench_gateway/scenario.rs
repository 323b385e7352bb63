//! What is measured.

use std::time::Duration;

use anyhow::Result;

use crate::load::{self, Client, Load};
use crate::processes::{LARGE, Target, World};
use crate::{Options, span, tls};

/// One thing that is measured on every target.
pub struct Scenario {
    pub name: &'static str,
    /// What the figures are.
    pub unit: &'static str,
    what: What,
    alpn: &'static [u8],
}

#[derive(Clone, Copy)]
enum What {
    Rate(Load),
    /// Bytes per second of large answers.
    Bulk(Load),
    Idle(u32),
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub value: f64,
    /// CPU microseconds of the process between, per unit of work.
    pub cpu: Option<f64>,
    /// The same of everything: clients, servers and the process between.
    pub total: Option<f64>,
}

/// All measurements of a scenario: for each target its rounds.
pub struct Outcome {
    pub scenario: &'static str,
    pub unit: &'static str,
    pub targets: Vec<(&'static str, Vec<Sample>)>,
}

pub fn all(options: &Options) -> Vec<Scenario> {
    let (connections, streams) = (options.connections, options.streams);
    let rate = |name, unit, alpn, load| Scenario { name, unit, what: What::Rate(load), alpn };
    let mut all = vec![
        rate("http2", "requests/s", &b"h2"[..], Load::Http2 { connections: 4, streams }),
        rate("http1", "requests/s", b"http/1.1", Load::Http1 { connections }),
        rate("reconnect", "connections/s", b"http/1.1", Load::Reconnect { clients: 16 }),
    ];
    if options.upstream.is_none() {
        all.push(rate("hello", "connections/s", b"h2", Load::Hello { clients: 32 }));
        let bulk = What::Bulk(Load::Http1 { connections: 2 });
        all.push(Scenario { name: "bulk", unit: "MiB/s", what: bulk, alpn: b"http/1.1" });
        let idle = What::Idle(options.idle);
        all.push(Scenario { name: "idle", unit: "KiB/connection", what: idle, alpn: b"h2" });
    }
    all
}

pub async fn run(scenario: &Scenario, options: &Options, world: &World) -> Result<Outcome> {
    let mut targets: Vec<_> = world.targets.iter().map(|target| (target.name, Vec::new())).collect();
    let rounds = if matches!(scenario.what, What::Idle(_)) { 1 } else { options.rounds };
    for round in 0..rounds {
        for (target, (_, samples)) in world.targets.iter().zip(&mut targets) {
            eprint!("\r{:<12} round {}/{} {:<10}", scenario.name, round + 1, rounds, target.name);
            if let Some(sample) = measure(scenario, options, world, target).await? {
                samples.push(sample);
            }
        }
    }
    eprint!("\r{:60}\r", "");
    Ok(Outcome { scenario: scenario.name, unit: scenario.unit, targets })
}

async fn measure(
    scenario: &Scenario,
    options: &Options,
    world: &World,
    target: &Target,
) -> Result<Option<Sample>> {
    let host = options.server_name.as_deref().unwrap_or(tls::HOST);
    let own = world.directory.join("cert.pem");
    let identity = options.cert.as_deref().zip(options.key.as_deref());
    let config = tls::client(options.ca.as_deref().unwrap_or(&own), identity, scenario.alpn)?;
    let path =
        if matches!(scenario.what, What::Bulk(_)) { LARGE.0 } else { options.path.as_deref().unwrap_or("/") };
    let raw = matches!(scenario.what, What::Rate(Load::Hello { .. }));
    let client = Client::new(config, host, path, if raw { &target.raw } else { &target.http });
    match scenario.what {
        What::Rate(load) | What::Bulk(load) => {
            let cpu = || (target.cpu(), world.ends.cpu());
            let before = cpu();
            let done = load::run(&client, load, span(options)).await?;
            let after = cpu();
            let scale = if matches!(scenario.what, What::Bulk(_)) { (LARGE.1 >> 20) as f64 } else { 1.0 };
            let work = done.count as f64 * scale;
            // The warm-up is in the CPU time as well: take it out as if it went at the same rate.
            let share = done.seconds / (done.seconds + load::WARM_UP.as_secs_f64());
            let micros =
                |before: Option<f64>, after: Option<f64>| Some((after? - before?) * share * 1e6 / work);
            let (cpu, ends) = (micros(before.0, after.0), micros(before.1, after.1));
            let total = ends.map(|ends| ends + cpu.unwrap_or(0.0));
            Ok(Some(Sample { value: work / done.seconds, cpu, total }))
        }
        What::Idle(count) => idle(&client, target, count).await,
    }
}

/// Memory that idle connections cost the process between.
async fn idle(client: &Client, target: &Target, count: u32) -> Result<Option<Sample>> {
    // A first connection makes what is made only once.
    drop(client.connect_tls().await?);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let Some(before) = target.memory() else { return Ok(None) };
    let mut open = Vec::new();
    for _ in 0..count {
        open.push(client.connect_tls().await?);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let after = target.memory().unwrap_or(before);
    drop(open);
    Ok(Some(Sample { value: (after - before) / f64::from(count), cpu: None, total: None }))
}
