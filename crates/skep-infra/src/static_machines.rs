//! Machines that people bring. Nothing is made here: an invitation waits for each until somebody carries it to a machine.

use std::sync::Arc;

use async_trait::async_trait;
use skep_agent::invitation::Invitation;

use crate::{Deleted, Error, Machine, Order, Provider, Result, State};

/// Where invitations are kept, one for each machine. They are the only record of static machines, and hold tokens.
#[async_trait]
pub trait Invitations: Send + Sync {
    /// Keeps it, in place of an earlier one of the same machine.
    ///
    /// # Errors
    /// What a person should read.
    async fn put(&self, order: &Order, invitation: &Invitation) -> Result<(), String>;

    /// The one of the machine with this uid.
    ///
    /// # Errors
    /// What a person should read.
    async fn find(&self, uid: &str) -> Result<Option<Invitation>, String>;

    /// Takes it back; nothing to take back is fine.
    ///
    /// # Errors
    /// What a person should read.
    async fn remove(&self, uid: &str) -> Result<(), String>;
}

/// The provider of machines that people bring.
#[derive(Clone)]
pub struct StaticMachines {
    invitations: Arc<dyn Invitations>,
}

impl StaticMachines {
    /// With invitations kept here.
    pub fn new(invitations: Arc<dyn Invitations>) -> Self {
        Self { invitations }
    }

    async fn find(&self, uid: &str) -> Result<Option<Invitation>> {
        self.invitations.find(uid).await.map_err(failed(uid))
    }
}

#[async_trait]
impl Provider for StaticMachines {
    async fn ensure(&self, order: &Order) -> Result<Machine> {
        let invitation = Invitation::new(&order.uid, order.join.clone());
        if self.find(&order.uid).await?.as_ref() != Some(&invitation) {
            self.invitations.put(order, &invitation).await.map_err(failed(&order.uid))?;
        }
        Ok(seen(&invitation))
    }

    async fn get(&self, uid: &str) -> Result<Option<Machine>> {
        Ok(self.find(uid).await?.as_ref().map(seen))
    }

    async fn delete(&self, uid: &str) -> Result<Deleted> {
        self.invitations.remove(uid).await.map_err(failed(uid))?;
        Ok(Deleted::Gone)
    }

    async fn reboot(&self, uid: &str) -> Result<()> {
        Err(Error::NotSupported { uid: uid.to_owned(), what: "restarted" })
    }

    async fn console(&self, uid: &str) -> Result<String> {
        Err(Error::NotSupported { uid: uid.to_owned(), what: "listened to" })
    }
}

fn seen(invitation: &Invitation) -> Machine {
    let state = if invitation.is_used() {
        State::Running
    } else {
        let node = &invitation.join.node;
        State::Awaited(format!(
            "nobody has brought this machine: `skep node join {node}` prints the line to run on it"
        ))
    };
    Machine { provider_id: invitation.provider_id.clone(), address: None, state }
}

fn failed(uid: &str) -> impl FnOnce(String) -> Error + '_ {
    move |reason| Error::Invitation { uid: uid.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{Mutex, PoisonError},
    };

    use super::*;
    use crate::hollow::tests::order;

    #[derive(Default)]
    struct Memory(Mutex<(BTreeMap<String, Invitation>, usize)>);

    #[async_trait]
    impl Invitations for Memory {
        async fn put(&self, order: &Order, invitation: &Invitation) -> Result<(), String> {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.0.insert(order.uid.clone(), invitation.clone());
            kept.1 += 1;
            Ok(())
        }

        async fn find(&self, uid: &str) -> Result<Option<Invitation>, String> {
            Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).0.get(uid).cloned())
        }

        async fn remove(&self, uid: &str) -> Result<(), String> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).0.remove(uid);
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_machine_waits_for_a_person_and_runs_when_its_node_has_joined() {
        let memory = Arc::new(Memory::default());
        let provider = StaticMachines::new(memory.clone());
        let mut order = order("u1");
        for _ in 0..2 {
            let waiting = provider.ensure(&order).await.unwrap();
            assert_eq!(waiting.provider_id, "skep-static://u1");
            assert!(
                matches!(&waiting.state, State::Awaited(what) if what.contains("skep node join demo-u1"))
            );
        }
        assert_eq!(memory.0.lock().unwrap().1, 1, "what is kept is not written again");
        let text = memory.find("u1").await.unwrap().unwrap().to_text().unwrap();
        assert_eq!(Invitation::parse(&text).unwrap().join, order.join);

        // The node has joined: its token is taken back, and so is the invitation's.
        order.join.token.clear();
        assert_eq!(provider.ensure(&order).await.unwrap().state, State::Running);
        let used = memory.find("u1").await.unwrap().unwrap().to_text().unwrap();
        assert!(Invitation::parse(&used).is_err(), "nobody else joins with it");

        let error = provider.reboot("u1").await.unwrap_err();
        assert!(error.code().number() == 8112 && error.to_string().contains("u1"), "{error}");
        assert_eq!(provider.delete("u1").await.unwrap(), Deleted::Gone);
        assert_eq!(provider.get("u1").await.unwrap(), None);
        assert_eq!(provider.delete("u1").await.unwrap(), Deleted::Gone);
    }
}
