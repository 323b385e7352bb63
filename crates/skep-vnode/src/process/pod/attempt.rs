//! One run of one container, from looking for its image to writing down how it ended.
//!
//! Order of things: everything that may fail is found out first and can be given up at any moment; then the record is
//! written, then the process started, then the record completed. From there on the attempt ends only when the process
//! has, nothing it started is left, and its log is complete.

mod ending;
mod prepare;
mod starting;
mod watching;

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::{Mutex, watch};

use super::backoff::Backoff;
use super::cell::{Cell, Live, Order, Running};
use super::record::{AttemptRecord, Ended};
use super::report::Reporter;
use super::{Identity, Place, Site};
use crate::backend::PodContext;
use crate::process::handle::{Exit, Process};
use crate::process::marker::Marker;

/// Everything an attempt works with.
pub(super) struct Attempt {
    pub site: Arc<Site>,
    pub identity: Arc<Identity>,
    pub reporter: Reporter,
    pub pod: Arc<Pod>,
    pub place: Place,
    pub pod_ip: IpAddr,
    pub cell: Arc<Cell>,
    pub order: watch::Receiver<Option<Order>>,
    pub sandbox: String,
    pub backoff: Backoff,
    /// Something of an earlier run may still be there.
    pub sweep_first: bool,
}

/// Why a container was not created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// State as the kubelet names it.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// Whether it is the image, so that the next try waits longer and longer.
    pub image: bool,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finished {
    /// No process was started; another try may help.
    NotCreated(Refusal),
    /// There was an order to stop before there was a process.
    Withdrawn,
    /// It has run, or was as near to it as to count.
    Ended(Ended),
}

/// The record of a run that is under way; written whenever it changes.
pub(super) struct Ledger {
    record: Arc<Mutex<AttemptRecord>>,
    identity: Arc<Identity>,
}

impl Ledger {
    fn new(record: AttemptRecord, identity: Arc<Identity>) -> Self {
        Self { record: Arc::new(Mutex::new(record)), identity }
    }

    /// Changes the record and writes it. A disk that refuses is told to the log of the node only: the process runs,
    /// and its marker finds it.
    async fn change(&self, change: impl FnOnce(&mut AttemptRecord)) {
        // The lock goes along with the write: should this call be given up, the next one still writes after it.
        let mut record = self.record.clone().lock_owned().await;
        change(&mut record);
        let identity = self.identity.clone();
        let saved = self.identity.work.run(move || record.save(&identity.layout)).await;
        if let Err(error) = saved {
            let container = self.read(|record| record.container.clone()).await;
            tracing::error!(pod = self.identity.short_name(), container, %error, "cannot write the record of a container");
        }
    }

    async fn read<T>(&self, read: impl FnOnce(&AttemptRecord) -> T) -> T {
        read(&*self.record.lock().await)
    }
}

impl Attempt {
    /// A new run.
    pub(super) async fn run(self, context: PodContext) -> Finished {
        let prepared = {
            let mut order = self.order.clone();
            let withdrawn = async move {
                // An error means that the worker has gone, and with it all interest.
                let _ = order.wait_for(Option::is_some).await;
            };
            tokio::select! {
                biased;
                () = withdrawn => {
                    // What was begun in the directory of the pod cannot be taken back, and the next attempt, or the end
                    // of the pod, must not meet it.
                    self.identity.work.idle().await;
                    return Finished::Withdrawn;
                }
                prepared = Box::pin(self.prepare(&context)) => prepared,
            }
        };
        match prepared {
            Err(refusal) => Finished::NotCreated(refusal),
            Ok(prepared) => match Box::pin(self.start(prepared)).await {
                Ok((ledger, running)) => Finished::Ended(self.see_through(ledger, running, false).await),
                Err(finished) => finished,
            },
        }
    }

    /// A run that an earlier run of the node began.
    pub(super) async fn resume(self, record: AttemptRecord, process: Process) -> Finished {
        match Box::pin(self.adopt(record, process)).await {
            Ok((ledger, running)) => Finished::Ended(self.see_through(ledger, running, true).await),
            Err(finished) => finished,
        }
    }

    async fn see_through(&self, ledger: Ledger, running: Running, adopted: bool) -> Ended {
        self.cell.set(Live::Running(Box::new(running.clone())));
        let exit: Exit = match self.watch_over(&ledger, &running, adopted).await {
            watching::Turn::Gone(exit) => exit,
            watching::Turn::Stop(why) => Box::pin(self.end(&running, why)).await,
        };
        Box::pin(self.close(&ledger, &running, exit)).await
    }

    fn name(&self) -> &str {
        self.place.of(&self.pod).map(|c| c.name.as_str()).unwrap_or_default()
    }

    /// The container; the worker makes attempts for containers that exist only.
    fn container(&self) -> Result<&Container, Refusal> {
        self.place
            .of(&self.pod)
            .ok_or_else(|| Refusal::config("CreateContainerError", "the container is not in the pod"))
    }

    /// Marks every process of every run of this container.
    fn family(&self) -> Marker {
        self.identity.marker.join(self.name())
    }

    fn marker(&self) -> Marker {
        self.family().join(&self.cell.attempt.to_string())
    }
}

impl Refusal {
    fn config(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), image: false }
    }
}
