//! The ordered start, and what is running at any moment of it.
//!
//! etcd → kube-apiserver → (upstream's roles → controllers, scheduler) beside (CRDs → objects) → nodes, gateway,
//! operator → datastore. Each arrow is an event: a notification of the program, or a change seen by a watch.

use std::{sync::Arc, time::Duration};

use kube::Client;
use skep_api::{Datastore, condition};
use skep_engine::Engine;
use skep_kubeops::{ClientConfig, watch::Select};
use tokio_util::sync::CancellationToken;

use super::{
    parts::Parts,
    prepare::{self, Prepared},
};
use crate::{
    Error, Layout, Options, Result,
    board::Board,
    bootstrap,
    child::{Child, Context},
    hub::Program,
    pki,
    state::StateFile,
};

/// For etcd to replay its log and for the API server to serve, on a slow machine.
const READY: Duration = Duration::from_secs(120);

/// Everything that was started so far, in the order of its start.
pub struct Running {
    pub(super) layout: Layout,
    pub(super) records: Arc<StateFile>,
    pub(super) board: Board,
    pub(super) children: Vec<(Program, Child)>,
    pub(super) parts: Parts,
    pub(super) prepared: Option<Prepared>,
}

impl Running {
    pub(super) fn new(layout: Layout, records: Arc<StateFile>, board: Board) -> Self {
        Self {
            layout,
            records,
            parts: Parts::new(board.clone()),
            board,
            children: Vec::new(),
            prepared: None,
        }
    }

    /// Starts everything. Cancel safe: what was started is in `self`.
    pub(super) async fn start(&mut self, options: Options, engine: Engine) -> Result<()> {
        let step = self.board.step("programs");
        let programs = prepare::programs(&engine, &step).await?;
        step.done();

        let step = self.board.step("configuration");
        let prepared = prepare::prepare(&self.layout, &options, &self.records, &self.board, programs)?;
        self.prepared = Some(prepared.clone());
        self.parts.way_to_nodes(&prepared)?;
        step.done();

        for program in [Program::Etcd, Program::ApiServer] {
            let step = self.board.step(program.name());
            self.child(&prepared, program)?;
            self.ready(program).await?;
            step.done();
        }
        let client = admin(&prepared).await?;
        let step = self.board.step("definitions and roles");
        let (roles, definitions) = tokio::join!(bootstrap::upstream_roles(&client), async {
            bootstrap::crds(&client).await?;
            bootstrap::objects(&client).await
        });
        roles.and(definitions)?;
        step.done();

        let step = self.board.step("controllers and scheduler");
        for program in [Program::ControllerManager, Program::Scheduler] {
            self.child(&prepared, program)?;
        }
        for program in [Program::ControllerManager, Program::Scheduler] {
            self.ready(program).await?;
        }
        step.done();

        let step = self.board.step("nodes, gateway and operator");
        self.parts.start(&prepared, &engine).await?;
        step.done();

        // Nothing of this can succeed without controllers and scheduler.
        let step = self.board.step("datastore");
        tokio::select! {
            () = self.datastore(&client) => {}
            error = self.fails() => return Err(error),
        }
        step.done();
        Ok(())
    }

    /// Why the hub does not stay, once one of its programs has ended too often in a row.
    async fn fails(&self) -> Error {
        let children = self.children.iter().map(|(_, child)| Box::pin(child.fails()));
        futures::future::select_all(children).await.0
    }

    fn child(&mut self, prepared: &Prepared, program: Program) -> Result<()> {
        let context = Context {
            instance: prepared.instance.clone(),
            records: Arc::clone(&self.records),
            board: self.board.clone(),
        };
        self.children.push((program, Child::start(context, prepared.command(program)?)));
        Ok(())
    }

    async fn ready(&self, program: Program) -> Result<()> {
        match self.children.iter().find(|(name, _)| *name == program) {
            Some((_, child)) => child.ready(READY).await,
            None => Ok(()),
        }
    }

    /// Waits for the default datastore. A hub without it is still a hub: that is a warning.
    async fn datastore(&self, client: &Client) {
        let select = Select::named(skep_api::DEFAULT_DATASTORE).namespace(skep_api::SYSTEM_NAMESPACE);
        let ready = |datastore: &Datastore| {
            let conditions = datastore.status.iter().map(|status| &status.conditions);
            conditions.into_iter().any(|all| condition::is_true(all, condition::ConditionType::Ready))
        };
        if let Err(error) =
            bootstrap::wait_for(client, select, "datastore main", bootstrap::PATIENCE, ready).await
        {
            let warning = format!("{error}; see `skep describe datastore main`");
            tracing::warn!(warning);
            self.board.update(|snapshot| snapshot.warnings.push(warning));
        }
    }

    /// Runs until `stop`, renewing certificates when they are due.
    pub(super) async fn until(&mut self, stop: &CancellationToken) {
        while let Some(prepared) = self.prepared.clone() {
            let now = jiff::Timestamp::now();
            let due = prepared.hub.pki.renewal.duration_since(now);
            // A clock that is moved is noticed within a day.
            let wait = Duration::try_from(due).unwrap_or(Duration::ZERO).clamp(MINUTE, 24 * 60 * MINUTE);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            if let Err(error) = self.renew(prepared) {
                tracing::warn!(%error, "certificates cannot be renewed; tried again");
            }
        }
        stop.cancelled().await;
    }

    /// Issues what is due. Upstream's programs read their files again by themselves; certificates of our own parts
    /// outlive any supervisor.
    fn renew(&mut self, mut prepared: Prepared) -> Result<()> {
        let nodes = prepare::node_addresses(prepared.net)?;
        let pki = pki::ensure(&self.layout, &nodes, false, jiff::Timestamp::now())?;
        let issued = !pki.issued.is_empty();
        prepared.hub.pki = pki;
        if issued {
            let kubeconfig = prepared.hub.pki.kubeconfig(pki::name::ADMIN, &prepared.hub.server()?)?;
            crate::files::replace_if_changed(&self.layout.kubeconfig(), kubeconfig.as_bytes(), 0o600)?;
        }
        self.prepared = Some(prepared);
        Ok(())
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// The administrator's client, which only the start uses.
async fn admin(prepared: &Prepared) -> Result<Client> {
    let yaml = prepared.hub.pki.kubeconfig(pki::name::ADMIN, &prepared.hub.server()?)?;
    client(&yaml, "skep-up").await
}

/// A client of the hub for one part of this process.
pub(super) async fn client(yaml: &str, user_agent: &str) -> Result<Client> {
    let failed = |error: skep_kubeops::client::ClientError| Error::Hub {
        what: "client".to_owned(),
        reason: error.to_string(),
    };
    ClientConfig::from_yaml(yaml).await.map_err(failed)?.build(user_agent).map_err(failed)
}
