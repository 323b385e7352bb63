//! Which host leads to which pods: a pure table fed with what is known about pods and control planes.
//!
//! Guarantees: the routes depend only on the facts that are in the table, never on the order they came in; a host has
//! at most one owner (the oldest control plane wins, so that a later one cannot take traffic away); a pod serves a
//! tenant only if it carries the tenant's label *and* lives in the namespace of the tenant's control plane.
//! It refuses nothing: facts without an address or a host simply lead nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::closing::Closing;

/// Namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// A key of these two.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// What the table wants to know about a `ControlPlane`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPlaneFact {
    /// Namespace, which is also that of its pods, and name.
    pub key: Key,
    /// Seconds since 1970 of its creation; decides who owns a host that two want.
    pub created: i64,
    /// Tenant id.
    pub tenant: String,
    /// Host that clients put into SNI.
    pub host: String,
}

/// What the table wants to know about a pod of kube-apiserver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFact {
    /// Namespace and name.
    pub key: Key,
    /// A pod made again under the same name is another one.
    pub uid: String,
    /// Tenant id on its label.
    pub tenant: String,
    /// Where it serves, once it has an address.
    pub address: Option<SocketAddr>,
    /// Its `Ready` condition is true and it is not being deleted.
    pub ready: bool,
    /// If it is being deleted and says when it closes its connections.
    pub closing: Option<Closing>,
}

/// One pod of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePod {
    /// Name of the pod, for logs.
    pub name: String,
    /// UID of the pod.
    pub uid: String,
    /// Where it serves.
    pub address: SocketAddr,
    /// Whether it gets new connections. One that does not keeps those it has.
    pub ready: bool,
    /// When it closes those, if it says so.
    pub closing: Option<Closing>,
}

/// Where a host leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Tenant id.
    pub tenant: Arc<str>,
    /// Namespace of its control plane, of its pods and of its Secrets.
    pub namespace: Arc<str>,
    /// Its pods with an address, ready or not, by name.
    pub pods: Vec<RoutePod>,
}

/// Hosts whose route may have changed.
pub type Touched = BTreeSet<String>;

/// Namespace and tenant: what ties pods to a control plane.
type Owner = (String, String);

/// The facts, indexed so that a change costs no more than the tenant it is about.
#[derive(Debug, Default)]
pub struct RouteTable {
    planes: BTreeMap<Key, ControlPlaneFact>,
    pods: BTreeMap<Key, PodFact>,
    /// Host → who wants it, oldest first.
    claims: BTreeMap<String, BTreeSet<(i64, Key)>>,
    /// Owner → names of its pods.
    owned: BTreeMap<Owner, BTreeSet<Key>>,
    /// Owner → hosts of its control planes.
    hosts: BTreeMap<Owner, BTreeSet<String>>,
}

impl RouteTable {
    /// Adds or changes a control plane.
    pub fn apply_control_plane(&mut self, fact: ControlPlaneFact) -> Touched {
        if self.planes.get(&fact.key) == Some(&fact) {
            return Touched::new();
        }
        let mut touched = self.delete_control_plane(&fact.key);
        if fact.host.is_empty() {
            return touched;
        }
        touched.insert(fact.host.clone());
        self.claims.entry(fact.host.clone()).or_default().insert((fact.created, fact.key.clone()));
        let owner = (fact.key.namespace.clone(), fact.tenant.clone());
        self.hosts.entry(owner).or_default().insert(fact.host.clone());
        self.planes.insert(fact.key.clone(), fact);
        touched
    }

    /// Removes a control plane.
    pub fn delete_control_plane(&mut self, key: &Key) -> Touched {
        let Some(old) = self.planes.remove(key) else { return Touched::new() };
        remove(&mut self.claims, &old.host, &(old.created, old.key.clone()));
        let owner = (old.key.namespace.clone(), old.tenant.clone());
        let still_wanted = self.claims.get(&old.host).is_some_and(|claims| {
            claims.iter().any(|(_, key)| self.planes.get(key).is_some_and(|p| owner_of(p) == owner))
        });
        if !still_wanted {
            remove(&mut self.hosts, &owner, &old.host);
        }
        Touched::from([old.host])
    }

    /// Replaces all control planes by these.
    pub fn reset_control_planes(&mut self, facts: Vec<ControlPlaneFact>) -> Touched {
        let keep: BTreeSet<_> = facts.iter().map(|fact| fact.key.clone()).collect();
        let gone: Vec<_> = self.planes.keys().filter(|key| !keep.contains(key)).cloned().collect();
        let mut touched = Touched::new();
        gone.iter().for_each(|key| touched.extend(self.delete_control_plane(key)));
        facts.into_iter().for_each(|fact| touched.extend(self.apply_control_plane(fact)));
        touched
    }

    /// Adds or changes a pod.
    pub fn apply_pod(&mut self, fact: PodFact) -> Touched {
        if self.pods.get(&fact.key) == Some(&fact) {
            return Touched::new();
        }
        let mut touched = self.delete_pod(&fact.key);
        let owner = (fact.key.namespace.clone(), fact.tenant.clone());
        touched.extend(self.hosts.get(&owner).into_iter().flatten().cloned());
        self.owned.entry(owner).or_default().insert(fact.key.clone());
        self.pods.insert(fact.key.clone(), fact);
        touched
    }

    /// Removes a pod.
    pub fn delete_pod(&mut self, key: &Key) -> Touched {
        let Some(old) = self.pods.remove(key) else { return Touched::new() };
        let owner = (old.key.namespace.clone(), old.tenant.clone());
        remove(&mut self.owned, &owner, key);
        self.hosts.get(&owner).cloned().unwrap_or_default()
    }

    /// Replaces all pods by these.
    pub fn reset_pods(&mut self, facts: Vec<PodFact>) -> Touched {
        let keep: BTreeSet<_> = facts.iter().map(|fact| fact.key.clone()).collect();
        let gone: Vec<_> = self.pods.keys().filter(|key| !keep.contains(key)).cloned().collect();
        let mut touched = Touched::new();
        gone.iter().for_each(|key| touched.extend(self.delete_pod(key)));
        facts.into_iter().for_each(|fact| touched.extend(self.apply_pod(fact)));
        touched
    }

    /// Where a host leads now; nothing if nobody owns it.
    pub fn route(&self, host: &str) -> Option<Route> {
        let (_, key) = self.claims.get(host)?.first()?;
        let plane = self.planes.get(key)?;
        let names = self.owned.get(&owner_of(plane)).into_iter().flatten();
        let pods = names
            .filter_map(|key| {
                let pod = self.pods.get(key)?;
                Some(RoutePod {
                    name: pod.key.name.clone(),
                    uid: pod.uid.clone(),
                    address: pod.address?,
                    ready: pod.ready,
                    closing: pod.closing,
                })
            })
            .collect();
        let (tenant, namespace) = (plane.tenant.as_str().into(), plane.key.namespace.as_str().into());
        Some(Route { tenant, namespace, pods })
    }

    /// Control planes that want a host which an older one has.
    pub fn losers<'a>(&'a self, host: &str) -> impl Iterator<Item = &'a Key> + use<'a> {
        self.claims.get(host).into_iter().flatten().skip(1).map(|(_, key)| key)
    }
}

fn owner_of(plane: &ControlPlaneFact) -> Owner {
    (plane.key.namespace.clone(), plane.tenant.clone())
}

/// Takes `item` out of the set at `key`, and the set with it when it was the last.
fn remove<K: Ord, V: Ord>(map: &mut BTreeMap<K, BTreeSet<V>>, key: &K, item: &V) {
    if let Some(set) = map.get_mut(key) {
        set.remove(item);
        if set.is_empty() {
            map.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
