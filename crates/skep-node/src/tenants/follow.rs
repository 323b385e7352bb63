//! The watches of one tenant, and who is called when something happens.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use futures::StreamExt as _;
use kube::{Client, ResourceExt as _};
use skep_api::Machine;
use skep_kubeops::watch::{self, Change, Select};
use skep_kubeops::{Cache, Key, Trigger};
use tokio_util::sync::CancellationToken;

use super::{MOST_OBJECTS, Node, Request};
use crate::bootstrap::token;
use crate::{Clock, Watched, approver};

/// Watches one tenant until it is stopped or the tenant is too large.
pub(super) struct Follower {
    pub(super) client: Client,
    pub(super) cluster: Key,
    pub(super) nodes: Cache<Node>,
    pub(super) requests: Cache<Request>,
    pub(super) machines: Cache<Machine>,
    pub(super) trigger: Trigger,
    pub(super) too_large: CancellationToken,
    pub(super) watched: Watched,
    pub(super) clock: Clock,
}

impl Follower {
    pub(super) async fn run(self, stop: CancellationToken) {
        self.look(stop).await;
        self.watched.end(&self.cluster);
    }

    async fn look(&self, stop: CancellationToken) {
        let mut nodes = watch::changes(self.client.clone(), Select::all(), self.nodes.clone());
        let mut requests = watch::changes(self.client.clone(), Select::all(), self.requests.clone());
        let mut prints = HashMap::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(change) = nodes.next() => self.node(change, &mut prints),
                Some(change) = requests.next() => self.request(change),
            }
            if self.nodes.len() > MOST_OBJECTS || self.requests.len() > MOST_OBJECTS {
                tracing::warn!(cluster = %self.cluster, most = MOST_OBJECTS, "tenant has too many nodes or certificate requests");
                self.too_large.cancel();
                self.all();
                return;
            }
        }
    }

    fn node(&self, change: Change<Node>, prints: &mut HashMap<String, u64>) {
        match change {
            Change::Applied(node) => {
                let print = fingerprint(&node);
                if prints.insert(node.name_any(), print) != Some(print) {
                    self.one(&node.name_any());
                }
            }
            Change::Deleted(node) => {
                prints.remove(&node.name_any());
                self.one(&node.name_any());
            }
            // Whoever waited for the first list, and whoever's node is not in it.
            Change::Synced => {
                self.watched.begin(&self.cluster, (self.clock)());
                self.all();
            }
            Change::Undecodable(bad) => {
                tracing::debug!(cluster = %self.cluster, node = %bad.key(), error = bad.error, "node cannot be read");
            }
            Change::Interrupted(_) => self.watched.interrupt(&self.cluster, (self.clock)()),
        }
    }

    fn request(&self, change: Change<Request>) {
        let Change::Applied(request) = change else { return };
        if !request.is_open() {
            return;
        }
        if let Some(name) = approver::node_of(&request.username) {
            return self.one(name);
        }
        let Some(id) = approver::token_of(&request.username) else { return };
        // Nearly always the machine that the request names is the one whose token it is.
        let named = request.asked.as_ref().ok().and_then(|asked| asked.common_names.first());
        let named = named.and_then(|name| approver::node_of(name));
        if let Some(machine) = named.and_then(|name| self.machine(name))
            && is_token_of(&machine, id)
        {
            return self.one(&machine.name_any());
        }
        for machine in self.ours(|machine| is_token_of(machine, id)) {
            self.trigger.one(machine);
        }
    }

    fn machine(&self, name: &str) -> Option<std::sync::Arc<Machine>> {
        let namespace = self.cluster.namespace.as_deref().unwrap_or_default();
        let machine = self.machines.get(&Key::namespaced(namespace, name))?;
        (*machine.spec.cluster == *self.cluster.name).then_some(machine)
    }

    /// A node of a name that none of this cluster's machines has is nobody's business.
    fn one(&self, name: &str) {
        if let Some(machine) = self.machine(name) {
            self.trigger.one(Key::of(&*machine));
        }
    }

    fn all(&self) {
        self.ours(|_| true).into_iter().for_each(|key| self.trigger.one(key));
    }

    fn ours(&self, wanted: impl Fn(&Machine) -> bool) -> Vec<Key> {
        let ours = |machine: &Machine| {
            machine.metadata.namespace.as_deref() == self.cluster.namespace.as_deref()
                && *machine.spec.cluster == *self.cluster.name
                && wanted(machine)
        };
        self.machines.select(ours).iter().map(|machine| Key::of(&**machine)).collect()
    }
}

fn is_token_of(machine: &Machine, id: &str) -> bool {
    machine.metadata.uid.as_deref().is_some_and(|uid| token::id(uid) == id)
}

/// What of a node may change a decision.
fn fingerprint(node: &Node) -> u64 {
    let mut hasher = DefaultHasher::new();
    node.metadata.uid.hash(&mut hasher);
    node.metadata.deletion_timestamp.is_some().hash(&mut hasher);
    node.spec.hash(&mut hasher);
    node.status.hash(&mut hasher);
    hasher.finish()
}
