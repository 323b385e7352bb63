//! Every call fails once, in every way, and nothing may come of it.
//!
//! A [`Scenario`] runs a reconciler's whole life in a fresh [`World`]: set up,
//! converge, delete, converge. One clean run says how many calls that takes and
//! what it ends in. Then, for every call and every kind of [`Fault`]: the same
//! with that call failing, then once more without faults from the state that
//! was left. It must end in the same objects, and after deletion in nothing.

use std::time::Duration;

use kube::Client;
use serde_json::Value;
use tokio::time::Instant;

use crate::fault::{Counted, Fault, FaultLayer};

mod backend;
mod compare;

pub use backend::{Backend, Real};
use compare::Snapshot;

/// Pause between two looks at a real cluster whose controllers are at work.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// One installation, made anew for every run.
///
/// The futures run on the calling task, so a world may keep what it likes in `self`.
pub trait World {
    /// Where its objects live.
    fn backend(&self) -> &Backend;

    /// Makes the objects people make (with a client that never fails).
    fn set_up(&mut self, client: &Client) -> impl Future<Output = anyhow::Result<()>>;

    /// One life of the process: starts with nothing in memory and reconciles until nothing
    /// changes any more, or gives up with an error. [`settle`] does the "until".
    fn converge(&mut self, client: Client) -> impl Future<Output = anyhow::Result<()>>;

    /// Asks for the deletion of what [`World::set_up`] made (with a client that never fails).
    fn delete(&mut self, client: &Client) -> impl Future<Output = anyhow::Result<()>>;

    /// Takes out of an object what may differ between two good runs (random material and its digests).
    ///
    /// Uids, versions, times, managers and the values of Secrets are taken out already.
    fn normalise(&self, object: &mut Value) {
        let _ = object;
    }

    /// What is still there outside the API server (keys, processes): must be empty after deletion.
    fn leftovers(&mut self) -> impl Future<Output = Vec<String>> {
        async { Vec::new() }
    }
}

/// What a scenario did.
#[derive(Clone, Debug)]
pub struct Report {
    /// Calls of the clean run until it converged.
    pub creation: Vec<Counted>,
    /// Calls of the clean run after deletion was asked for.
    pub deletion: Vec<Counted>,
    /// Runs with a fault.
    pub runs: usize,
}

/// A life of a world, to be run with every fault.
pub struct Scenario<F> {
    build: F,
    every: usize,
    faults: Vec<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Creation,
    Deletion,
}

/// Where the fault comes, and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    /// While creating; the next life completes the creation.
    Creation,
    /// While creating; deletion is asked for before the next life.
    Abandonment,
    /// While deleting; the next life completes the deletion.
    Deletion,
}

impl<W, F, Fut> Scenario<F>
where
    W: World,
    F: Fn() -> Fut,
    Fut: Future<Output = anyhow::Result<W>>,
{
    /// A scenario over worlds made by `build`.
    pub fn new(build: F) -> Self {
        Self { build, every: 1, faults: Fault::ALL.to_vec() }
    }

    /// Only every n-th call fails (for worlds that are slow to build).
    #[must_use]
    pub fn every(mut self, calls: usize) -> Self {
        self.every = calls.max(1);
        self
    }

    /// Only these kinds of fault.
    #[must_use]
    pub fn faults(mut self, faults: &[Fault]) -> Self {
        self.faults = faults.to_vec();
        self
    }

    /// Runs it all.
    ///
    /// # Errors
    /// The clean run fails, or a run with a fault ends elsewhere; the error names the call,
    /// the fault and what differs.
    pub async fn run(&self) -> anyhow::Result<Report> {
        let clean = self.clean().await?;
        let mut runs = 0;
        let stories = [
            (Story::Creation, &clean.creation),
            (Story::Abandonment, &clean.creation),
            (Story::Deletion, &clean.deletion),
        ];
        for (story, calls) in stories {
            for (index, call) in calls.iter().enumerate().step_by(self.every) {
                for fault in self.faults.iter().filter(|fault| fault.applies_to(&call.method)) {
                    runs += 1;
                    self.faulty(&clean.goal, story, index + 1, *fault).await.map_err(|error| {
                        let number = index + 1;
                        error.context(format!(
                            "{story:?}, call {number} of {}: {call} fails with {fault:?}",
                            calls.len()
                        ))
                    })?;
                }
            }
        }
        Ok(Report { creation: clean.creation, deletion: clean.deletion, runs })
    }

    async fn clean(&self) -> anyhow::Result<Clean> {
        let mut world = (self.build)().await?;
        let before = Snapshot::take(&world).await?;
        let (mut calls, mut goal) = (Vec::new(), None);
        for phase in [Phase::Creation, Phase::Deletion] {
            ask(&mut world, phase).await?;
            let counter = FaultLayer::counting();
            let client = world.backend().client(Some(&counter)).await?;
            world
                .converge(client)
                .await
                .map_err(|error| error.context(format!("the clean run fails ({phase:?})")))?;
            calls.push(counter.calls());
            if phase == Phase::Creation {
                goal = Some(Snapshot::take(&world).await?);
            }
        }
        gone(&mut world, &before).await?;
        let deletion = calls.pop().unwrap_or_default();
        let creation = calls.pop().unwrap_or_default();
        let goal = goal.unwrap_or_default();
        world.backend().clean_up().await?;
        Ok(Clean { goal, creation, deletion })
    }

    async fn faulty(&self, goal: &Snapshot, story: Story, call: usize, fault: Fault) -> anyhow::Result<()> {
        let mut world = (self.build)().await?;
        let before = Snapshot::take(&world).await?;
        for phase in [Phase::Creation, Phase::Deletion] {
            ask(&mut world, phase).await?;
            let failing = if story == Story::Deletion { Phase::Deletion } else { Phase::Creation };
            if phase == failing {
                let layer = FaultLayer::failing(call, fault);
                let client = world.backend().client(Some(&layer)).await?;
                tokio::select! {
                    // An error is what a fault may well lead to; what counts is the next life.
                    _ = world.converge(client) => {}
                    () = layer.crashed() => {}
                }
            }
            if phase == Phase::Creation && story == Story::Abandonment {
                continue;
            }
            let client = world.backend().client(None).await?;
            world.converge(client).await.map_err(|error| error.context("no recovery without faults"))?;
            if phase == Phase::Creation {
                reached(goal, &world).await?;
            }
        }
        gone(&mut world, &before).await?;
        world.backend().clean_up().await
    }
}

struct Clean {
    goal: Snapshot,
    creation: Vec<Counted>,
    deletion: Vec<Counted>,
}

async fn ask<W: World>(world: &mut W, phase: Phase) -> anyhow::Result<()> {
    let client = world.backend().client(None).await?;
    match phase {
        Phase::Creation => world.set_up(&client).await,
        Phase::Deletion => world.delete(&client).await,
    }
}

/// The world is as in `goal`, or becomes so by itself: a real cluster has controllers that take their time.
async fn reached<W: World>(goal: &Snapshot, world: &W) -> anyhow::Result<()> {
    let deadline = Instant::now() + world.backend().patience();
    loop {
        match goal.expect(&Snapshot::take(world).await?) {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(LOOK_AGAIN).await,
            verdict => return verdict,
        }
    }
}

async fn gone<W: World>(world: &mut W, before: &Snapshot) -> anyhow::Result<()> {
    reached(before, world)
        .await
        .map_err(|error| error.context("deletion does not lead back to the start"))?;
    let left = world.leftovers().await;
    anyhow::ensure!(left.is_empty(), "left behind outside the API server: {left:?}");
    Ok(())
}

/// Passes over all objects until one whole pass changes nothing, at most `passes` times.
///
/// # Errors
/// A pass fails, or it never rests (a reconciler that writes in every pass).
pub async fn settle<F, Fut>(backend: &Backend, passes: usize, mut pass: F) -> anyhow::Result<()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let mut before = backend.state().await?;
    for _ in 0..passes {
        pass().await?;
        let after = backend.state().await?;
        if after == before {
            return Ok(());
        }
        before = after;
    }
    anyhow::bail!("still changing after {passes} passes")
}
