//! The gRPC expander: which of the ways that upstream has simulated is taken.
//!
//! Upstream's client shows no certificate, so anybody who reaches the port of a server for one cluster may ask (a component
//! has a relay before it that shows one). An answer changes nothing and says only which of the caller's own options stay; what
//! a call may cost is bounded, and two are worked on at once.

mod facts;
mod read;
mod stock;

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use skep_api::NodePool;
use skep_kubeops::Recorder;
use skep_kubeops::events::Severity;
use skep_plan::expander::{Candidate, Verdict, decide};
use tokio::sync::Semaphore;

pub use stock::StockFile;

use crate::Error;
use crate::hub::{Hub, State};
use crate::proto::expander::{self as wire, BestOptionsResponse, Choice};
use crate::rpc::{Body, Rpc, Service, unary_bytes};

/// Bytes of a request. Upstream takes answers of 128 MiB; 500 options of thirty pods of 4 KiB are 60.
const MESSAGE: usize = 64 << 20;
/// Calls that are read and worked on at once.
const CALLS: usize = 2;
/// Pools that are told of one decision.
const EVENTS: usize = 128;
/// Characters of an explanation.
const WORDS: usize = 1000;

/// Answers upstream's client.
#[derive(Clone)]
pub struct Expander {
    hub: Hub,
    stock: Option<StockFile>,
    recorder: Recorder,
    calls: Arc<Semaphore>,
}

impl Expander {
    /// An expander over these pools, and what is left in the zones if anybody writes that down.
    pub fn new(hub: Hub, stock: Option<StockFile>, recorder: Recorder) -> Self {
        Self { hub, stock, recorder, calls: Arc::new(Semaphore::new(CALLS)) }
    }

    /// The same over other pools. They share what is worked on at once.
    pub(crate) fn over(&self, hub: Hub) -> Self {
        Self { hub, ..self.clone() }
    }

    async fn best_options(&self, request: Bytes) -> Result<BestOptionsResponse, Error> {
        let candidates = read::candidates(request).map_err(Error::Request)?;
        // An error leaves upstream with all its options: without the hub there is nothing to choose by.
        let state = self.hub.state().await?;
        let stock = match &self.stock {
            Some(file) => file.read().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "options are chosen without stock");
                Default::default()
            }),
            None => Default::default(),
        };
        let verdicts = decide(&candidates, &facts::of(&state, stock));
        self.tell(&candidates, &verdicts, &state);
        let kept = candidates.iter().zip(&verdicts).filter(|(_, verdict)| verdict.kept);
        let choice = |(candidate, verdict): (&Candidate, &Verdict)| Choice {
            node_group_id: candidate.group.clone(),
            node_count: i32::try_from(candidate.nodes).unwrap_or(i32::MAX),
            debug: words(candidate, verdict),
            pod_bytes: Vec::new(),
        };
        Ok(BestOptionsResponse { options: kept.map(choice).collect() })
    }

    /// Explains the decision on the pools: first on those that stay.
    fn tell(&self, candidates: &[Candidate], verdicts: &[Verdict], state: &State) {
        let of =
            |kept: bool| candidates.iter().zip(verdicts).filter(move |(_, verdict)| verdict.kept == kept);
        for (candidate, verdict) in of(true).chain(of(false)).take(EVENTS) {
            let Some(pool) = state.pools.get(&candidate.group) else { continue };
            let reason = if verdict.kept { "ExpansionPossible" } else { "ExpansionPassedOver" };
            let pool: &NodePool = pool;
            self.recorder.publish(pool, Severity::Normal, reason, "Expand", words(candidate, verdict));
        }
    }
}

fn words(candidate: &Candidate, verdict: &Verdict) -> String {
    let why = match verdict.why.as_slice() {
        [] => "nothing is known that speaks against it".to_owned(),
        why => why.join("; "),
    };
    let words = format!("{} more nodes for {} pods: {why}", candidate.nodes, candidate.pods.len());
    words.chars().take(WORDS).collect()
}

impl Rpc for Expander {
    const SERVICES: &'static [Service] = &[(wire::SERVICE, &wire::METHODS)];

    async fn call(&self, _: &str, request: Request<Incoming>) -> http::Response<Body> {
        // Before a byte of the message is read.
        let Ok(_permit) = self.calls.acquire().await else {
            return tonic::Status::unavailable("it is ending").into_http();
        };
        unary_bytes(request, MESSAGE, |message| self.best_options(message)).await
    }
}
