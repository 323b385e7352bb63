//! Which loopback address a pod gets.
//!
//! A StatefulSet's pod has the address that follows from its name, everywhere and before it exists; any other pod gets
//! the next free one of its node's range. Addresses go round, so that one just given back is not given out again at
//! once: a client that still knows it must not reach another pod.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::Pod;
use skep_api::labels::STATEFUL_POD;
use skep_plan::address::{AddressError, LoopbackNet};

use crate::backend::PodUid;

/// Why a pod has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressTaken {
    /// Another pod has the address that belongs to this pod's name.
    #[error(
        "SKEP-7002: address {address} of this pod is in use by pod {holder}: stable addresses follow from namespace and \
         name, and these two fall on the same one. Rename one of the StatefulSets, or wait until the other pod is gone"
    )]
    Collision {
        /// The address.
        address: Ipv4Addr,
        /// `namespace/name` of the pod that has it.
        holder: String,
    },
    /// An earlier pod of the same name still has it.
    #[error("address {0} is still held by the previous pod of this name, which has not ended yet")]
    Predecessor(Ipv4Addr),
    /// All addresses of the node are given out.
    #[error("SKEP-7003: all {0} pod addresses of this node are in use")]
    Exhausted(usize),
    /// The node's index has no range.
    #[error(transparent)]
    Range(#[from] AddressError),
}

/// The addresses of the pods of all nodes in this process: stable ones may fall on the same address whatever their
/// node is.
#[derive(Debug)]
pub struct Addresses {
    net: LoopbackNet,
    holders: HashMap<Ipv4Addr, Holder>,
    /// Where the search for a free address goes on, by node index.
    next: HashMap<u8, u32>,
}

#[derive(Debug)]
struct Holder {
    uid: PodUid,
    name: String,
}

impl Addresses {
    /// No pod has an address yet.
    #[must_use]
    pub fn new(net: LoopbackNet) -> Self {
        Self { net, holders: HashMap::new(), next: HashMap::new() }
    }

    /// Notes what a pod of `node` had before this process started.
    pub fn restore(&mut self, node: u8, uid: &PodUid, pod: &Pod, address: Ipv4Addr) {
        self.holders.insert(address, Holder { uid: uid.clone(), name: name_of(pod) });
        if self.net.dynamic(node).is_ok_and(|range| range.contains(address)) {
            let next = self.next.entry(node).or_default();
            *next = (*next).max(u32::from(address) + 1);
        }
    }

    /// The address of a pod of `node`, the same one for the same uid until [`release`](Self::release).
    ///
    /// # Errors
    /// [`AddressTaken`]; a collision and an exhausted range can pass with time.
    pub fn assign(&mut self, node: u8, uid: &PodUid, pod: &Pod) -> Result<Ipv4Addr, AddressTaken> {
        if let Some(address) =
            self.holders.iter().find_map(|(address, h)| (h.uid == *uid).then_some(*address))
        {
            return Ok(address);
        }
        let address = if is_stable(pod) { self.stable(pod)? } else { self.dynamic(node)? };
        self.holders.insert(address, Holder { uid: uid.clone(), name: name_of(pod) });
        Ok(address)
    }

    /// Gives the pod's address back.
    pub fn release(&mut self, uid: &PodUid) {
        self.holders.retain(|_, holder| holder.uid != *uid);
    }

    fn stable(&self, pod: &Pod) -> Result<Ipv4Addr, AddressTaken> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let address = self.net.stable(namespace, pod.metadata.name.as_deref().unwrap_or_default());
        match self.holders.get(&address) {
            Some(holder) if holder.name == name_of(pod) => Err(AddressTaken::Predecessor(address)),
            Some(holder) => Err(AddressTaken::Collision { address, holder: holder.name.clone() }),
            None => Ok(address),
        }
    }

    fn dynamic(&mut self, node: u8) -> Result<Ipv4Addr, AddressTaken> {
        let range = self.net.dynamic(node)?;
        let (first, last) = (u32::from(range.first()), u32::from(range.last()));
        let next = self.next.get(&node).copied().unwrap_or(first);
        let from = if (first..=last).contains(&next) { next } else { first };
        let free = (from..=last)
            .chain(first..from)
            .map(Ipv4Addr::from)
            .find(|address| range.contains(*address) && !self.holders.contains_key(address))
            .ok_or(AddressTaken::Exhausted(range.capacity()))?;
        self.next.insert(node, u32::from(free) + 1);
        Ok(free)
    }
}

/// Whether the pod's name outlives it.
fn is_stable(pod: &Pod) -> bool {
    pod.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(STATEFUL_POD))
}

fn name_of(pod: &Pod) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", part(&pod.metadata.namespace), part(&pod.metadata.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn addresses() -> Addresses {
        Addresses::new(LoopbackNet::new(64).unwrap())
    }

    fn uid(n: usize) -> PodUid {
        PodUid::parse(&format!("u{n}")).unwrap()
    }

    fn pod(name: &str, stable: bool) -> Pod {
        let labels = if stable { json!({STATEFUL_POD: name}) } else { json!({}) };
        serde_json::from_value(json!({"metadata": {"namespace": "n", "name": name, "labels": labels}}))
            .unwrap()
    }

    #[test]
    fn a_stateful_pod_has_the_address_of_its_name() {
        let mut addresses = addresses();
        let address = addresses.assign(0, &uid(1), &pod("etcd-0", true)).unwrap();
        assert_eq!(address, LoopbackNet::new(64).unwrap().stable("n", "etcd-0"));
        let error = addresses.assign(0, &uid(2), &pod("etcd-0", true)).unwrap_err();
        assert_eq!(error, AddressTaken::Predecessor(address));
        addresses.release(&uid(1));
        assert_eq!(addresses.assign(0, &uid(2), &pod("etcd-0", true)), Ok(address));
    }

    #[test]
    fn two_names_on_one_address_are_told_apart() {
        let mut addresses = addresses();
        let address = addresses.net.stable("n", "etcd-0");
        addresses.restore(1, &uid(1), &pod("other-0", true), address);
        let error = addresses.assign(0, &uid(2), &pod("etcd-0", true)).unwrap_err();
        assert_eq!(error, AddressTaken::Collision { address, holder: "n/other-0".into() });
    }

    #[test]
    fn an_address_given_back_is_not_the_next_one() {
        let mut addresses = addresses();
        let first = addresses.assign(0, &uid(1), &pod("a", false)).unwrap();
        addresses.release(&uid(1));
        assert_ne!(addresses.assign(0, &uid(2), &pod("b", false)).unwrap(), first);
    }

    #[test]
    fn what_was_given_out_before_a_restart_stays_taken() {
        let mut addresses = addresses();
        let kept = Ipv4Addr::new(127, 64, 128, 1);
        addresses.restore(0, &uid(1), &pod("a", false), kept);
        assert_eq!(addresses.assign(0, &uid(1), &pod("a", false)), Ok(kept));
        assert_ne!(addresses.assign(0, &uid(2), &pod("b", false)), Ok(kept));
    }

    #[test]
    fn a_full_range_says_so() {
        let mut addresses = addresses();
        let range = addresses.net.dynamic(0).unwrap();
        let capacity = range.capacity();
        for (n, address) in range.iter().enumerate() {
            addresses.restore(0, &uid(n), &pod("a", false), address);
        }
        assert_eq!(
            addresses.assign(0, &uid(usize::MAX), &pod("b", false)),
            Err(AddressTaken::Exhausted(capacity))
        );
        addresses.release(&uid(17));
        assert!(addresses.assign(0, &uid(usize::MAX), &pod("b", false)).is_ok());
        assert!(addresses.assign(1, &uid(usize::MAX - 1), &pod("c", false)).is_ok());
    }

    proptest! {
        #[test]
        fn two_pods_never_share_an_address(steps in prop::collection::vec((0_usize..12, any::<bool>(), any::<bool>()), 0..80)) {
            let mut addresses = addresses();
            let mut held: HashMap<usize, Ipv4Addr> = HashMap::new();
            for (n, assign, stable) in steps {
                if assign {
                    let address = addresses.assign(0, &uid(n), &pod(&format!("p{n}"), stable)).unwrap();
                    prop_assert!(held.get(&n).is_none_or(|known| *known == address));
                    held.insert(n, address);
                } else {
                    addresses.release(&uid(n));
                    held.remove(&n);
                }
                let distinct: std::collections::HashSet<_> = held.values().collect();
                prop_assert_eq!(distinct.len(), held.len());
            }
        }
    }
}
