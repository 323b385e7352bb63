//! Where an attempt writes how it is doing and everybody else reads it, and the order that stops it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::process::beside::Beside;
use crate::process::handle::Process;
use crate::process::log::Capture;

/// A container that runs.
#[derive(Clone)]
pub(in super::super) struct Running {
    pub since: Timestamp,
    /// Has come up.
    pub started: bool,
    pub ready: bool,
    pub process: Process,
    pub beside: Arc<Beside>,
    pub capture: Capture,
}

/// How an attempt is doing.
#[derive(Clone)]
pub(in super::super) enum Live {
    /// Image, environment and mounts are looked for.
    Creating,
    Running(Box<Running>),
}

/// One attempt, seen from outside.
pub(in super::super) struct Cell {
    pub attempt: u32,
    live: Mutex<Live>,
    wake: Arc<Notify>,
}

impl Cell {
    /// `wake` is notified at every change.
    pub(super) fn new(attempt: u32, wake: Arc<Notify>) -> Self {
        Self { attempt, live: Mutex::new(Live::Creating), wake }
    }

    pub(super) fn set(&self, live: Live) {
        *self.lock() = live;
        self.wake.notify_one();
    }

    /// Changes what is known of a running container; returns whether that made a difference.
    pub(super) fn update(&self, started: Option<bool>, ready: Option<bool>) -> bool {
        let changed = match &mut *self.lock() {
            Live::Creating => false,
            Live::Running(running) => {
                let before = (running.started, running.ready);
                running.started = started.unwrap_or(running.started);
                running.ready = ready.unwrap_or(running.ready);
                before != (running.started, running.ready)
            }
        };
        if changed {
            self.wake.notify_one();
        }
        changed
    }

    /// The container, when it runs.
    pub(in super::super) fn running(&self) -> Option<Running> {
        match &*self.lock() {
            Live::Creating => None,
            Live::Running(running) => Some((**running).clone()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a container is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Its pod is.
    Pod,
    /// Its definition has changed.
    Changed,
}

/// To stop. A new order replaces the old one; the deadline only ever comes nearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub cause: Cause,
    /// When patience ends.
    pub deadline: Instant,
    /// Whether those that must end before it have: until then it only runs its preStop hook.
    pub turn: bool,
}
