//! A node dies, is rebooted and replaced, with every call failing once, in every way: it ends in the same objects, and
//! nothing is done or counted twice.

use anyhow::Result;
use kube::Client;
use serde_json::Value;
use skep_testkit::{Backend, Fault, Scenario, World as Installation};

use crate::kubelets;
use crate::world::World;

/// A pool of two of which one node has died.
struct Sick {
    world: World,
    dead: String,
    /// What must never be.
    wrong: Vec<String>,
}

impl Sick {
    async fn new() -> Result<Self> {
        Ok(Self { world: World::of(2), dead: String::new(), wrong: Vec::new() })
    }

    /// What holds at any time, whatever has failed.
    fn check(&mut self) {
        let orders = self.world.fake.objects("nodepools.skep.dev");
        let orders = orders.first().map(|pool| pool["status"]["repairs"].clone()).unwrap_or_default();
        let of = |action: &str| {
            orders.as_array().into_iter().flatten().filter(|order| order["action"] == action).count()
        };
        if of("Reboot") > 1 || of("Replace") > 1 {
            self.wrong.push(format!("counted twice: {orders}"));
        }
        // The act itself may be repeated once, when the end of it was not heard of.
        let reboots = self.world.provider.reboots(&self.dead);
        if reboots > 2 || self.world.provider.made() > 3 {
            self.wrong.push(format!("{reboots} reboots, {} machines made", self.world.provider.made()));
        }
    }
}

impl Installation for Sick {
    fn backend(&self) -> &Backend {
        self.world.backend()
    }

    async fn set_up(&mut self, client: &Client) -> Result<()> {
        self.world.set_up(client).await?;
        self.world.settle().await?;
        self.dead = self.world.names()[0].clone();
        self.world.says_ready(&self.dead, "Unknown");
        Ok(())
    }

    async fn converge(&mut self, client: Client) -> Result<()> {
        let reconcilers = self.world.reconcilers(client);
        let clean = self.world.fake.client();
        // An hour in steps of less than two minutes: long enough for a life that begins in the middle of any of it.
        for _ in 0..40 {
            let done = self.world.pass(&reconcilers).await;
            self.check();
            done?;
            kubelets::step(&self.world.fake, &clean, &self.world.provider).await;
            self.world.wait(100);
            let gone = !self.world.names().contains(&self.dead);
            if gone && self.world.phases().values().all(|phase| phase == "Ready") {
                break;
            }
        }
        self.world.settle().await
    }

    async fn delete(&mut self, client: &Client) -> Result<()> {
        self.world.delete(client).await
    }

    fn normalise(&self, object: &mut Value) {
        if !self.dead.is_empty() {
            *object = serde_json::from_str(&object.to_string().replace(&self.dead, "dead")).unwrap();
        }
        self.world.normalise(object);
        // When it was differs from life to life; that it was once is checked all the time.
        for order in object["status"]["repairs"].as_array_mut().into_iter().flatten() {
            order["at"] = Value::Null;
        }
        if let Some(text) = object["data"]["summary.txt"].as_str() {
            object["data"]["summary.txt"] = text.lines().take(2).collect();
        }
    }

    async fn leftovers(&mut self) -> Vec<String> {
        let mut left = self.world.leftovers().await;
        left.append(&mut self.wrong);
        left
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_node_survives_every_fault_and_is_repaired_once() {
    // Ways of failing that leave different things behind; conflicts and refusals leave nothing.
    let faults = [Fault::Conflict, Fault::Unavailable, Fault::TimeoutAfter, Fault::CrashAfter];
    let report = Scenario::new(Sick::new).every(4).faults(&faults).run().await.unwrap();
    assert!(report.creation.len() >= 30, "{report:?}");
    println!("{} calls to repair, {} runs with a fault", report.creation.len(), report.runs);
}
