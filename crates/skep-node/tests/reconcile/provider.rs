//! An infrastructure in memory.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use skep_infra::{Deleted, Error, Machine, Order, Provider, State};

/// A machine as the infrastructure has it.
#[derive(Clone, Debug)]
pub struct Made {
    /// As it was last ordered.
    pub order: Order,
    pub state: State,
    /// Calls of `ensure` for it.
    pub asked: usize,
}

#[derive(Default)]
struct Inner {
    machines: BTreeMap<String, Made>,
    /// Every uid that was ever made, so that a second making shows.
    made: Vec<String>,
    /// What the next calls of `ensure` fail with.
    broken: Option<String>,
    /// Calls of `delete` that answer "pending" before one is done.
    slow: usize,
    calls: Vec<String>,
    /// Machines of this version run, and no node ever comes from them.
    mute: Option<String>,
    /// It knows no machine's address: people have brought them.
    brought: bool,
    /// Machines that have ended and nobody was told of.
    ended: Vec<String>,
    /// Machines that start again when they are asked for.
    startable: Vec<String>,
}

/// Makes machines in two steps, and forgets them in two.
#[derive(Clone, Default)]
pub struct FakeProvider {
    inner: Arc<Mutex<Inner>>,
    /// Rings when a machine ends.
    bell: Arc<tokio::sync::Notify>,
}

impl FakeProvider {
    /// What it has now, by name.
    pub fn machines(&self) -> BTreeMap<String, Made> {
        self.inner
            .lock()
            .unwrap()
            .machines
            .values()
            .map(|made| (made.order.name.clone(), made.clone()))
            .collect()
    }

    /// How often machines were made.
    pub fn made(&self) -> usize {
        self.inner.lock().unwrap().made.len()
    }

    /// What was called, in order: `ensure NAME`, `delete UID`.
    pub fn calls(&self) -> Vec<String> {
        self.inner.lock().unwrap().calls.clone()
    }

    /// Lets orders fail, or no more.
    pub fn break_down(&self, why: Option<&str>) {
        self.inner.lock().unwrap().broken = why.map(str::to_owned);
    }

    /// Lets so many calls of `delete` be pending.
    pub fn delete_slowly(&self, calls: usize) {
        self.inner.lock().unwrap().slow = calls;
    }

    /// Lets machines of a version be mute, or none.
    pub fn mute(&self, version: Option<&str>) {
        self.inner.lock().unwrap().mute = version.map(str::to_owned);
    }

    /// From now on it knows no machine's address.
    pub fn forget_addresses(&self) {
        self.inner.lock().unwrap().brought = true;
    }

    /// Whether nobody will hear of this machine.
    pub fn is_mute(&self, made: &Made) -> bool {
        self.inner.lock().unwrap().mute.as_deref() == Some(&*made.order.version.to_string())
    }

    /// How often machines of this name were started anew.
    pub fn reboots(&self, name: &str) -> usize {
        let call = format!("reboot {name}");
        self.calls().iter().filter(|made| **made == call).count()
    }

    /// Somebody takes a machine away.
    pub fn lose(&self, name: &str) {
        self.inner.lock().unwrap().machines.retain(|_, made| made.order.name != name);
    }

    /// A machine ends, and whoever listens is told.
    pub fn end(&self, name: &str) {
        self.set_state(name, State::Stopped);
        let mut inner = self.inner.lock().unwrap();
        let uids = inner.machines.iter().filter(|(_, made)| made.order.name == name);
        let uids: Vec<_> = uids.map(|(uid, _)| uid.clone()).collect();
        inner.startable.extend(uids.clone());
        inner.ended.extend(uids);
        self.bell.notify_one();
    }

    pub fn set_state(&self, name: &str, state: State) {
        let mut inner = self.inner.lock().unwrap();
        inner
            .machines
            .values_mut()
            .filter(|made| made.order.name == name)
            .for_each(|made| made.state = state.clone());
    }
}

/// The address of the one machine of a zone.
pub fn address(zone: &str) -> Ipv4Addr {
    Ipv4Addr::new(198, 19, 1, zone.as_bytes()[0])
}

fn seen(made: &Made, brought: bool) -> Machine {
    Machine {
        provider_id: format!("fake://{}", made.order.name),
        address: (!brought).then(|| address(&made.order.zone)),
        state: made.state.clone(),
    }
}

#[async_trait]
impl Provider for FakeProvider {
    async fn ensure(&self, order: &Order) -> Result<Machine, Error> {
        let mut inner = self.inner.lock().unwrap();
        let brought = inner.brought;
        inner.calls.push(format!("ensure {}", order.name));
        if let Some(reason) = &inner.broken {
            return Err(Error::Programs { version: order.version.to_string(), reason: reason.clone() });
        }
        if !inner.machines.contains_key(&order.uid) {
            inner.made.push(order.uid.clone());
            let state = State::Starting("the machine boots".into());
            inner.machines.insert(order.uid.clone(), Made { order: order.clone(), state, asked: 0 });
        }
        let starts = inner.startable.contains(&order.uid);
        let made = inner.machines.get_mut(&order.uid).unwrap();
        made.asked += 1;
        if made.asked > 1 && (starts || matches!(made.state, State::Starting(_))) {
            made.state = State::Running;
        }
        if !order.join.token.is_empty() {
            made.order = order.clone();
        }
        Ok(seen(made, brought))
    }

    async fn get(&self, uid: &str) -> Result<Option<Machine>, Error> {
        let inner = self.inner.lock().unwrap();
        Ok(inner.machines.get(uid).map(|made| seen(made, inner.brought)))
    }

    async fn delete(&self, uid: &str) -> Result<Deleted, Error> {
        let mut inner = self.inner.lock().unwrap();
        inner.calls.push(format!("delete {uid}"));
        if inner.slow > 0 {
            inner.slow -= 1;
            return Ok(Deleted::Pending);
        }
        inner.machines.remove(uid);
        Ok(Deleted::Gone)
    }

    async fn ended(&self) -> String {
        loop {
            if let Some(uid) = self.inner.lock().unwrap().ended.pop() {
                return uid;
            }
            self.bell.notified().await;
        }
    }

    async fn reboot(&self, uid: &str) -> Result<(), Error> {
        let mut inner = self.inner.lock().unwrap();
        let made = inner.machines.get(uid).ok_or_else(|| Error::NoMachine { uid: uid.to_owned() })?;
        let call = format!("reboot {}", made.order.name);
        inner.calls.push(call);
        Ok(())
    }

    async fn console(&self, uid: &str) -> Result<String, Error> {
        let inner = self.inner.lock().unwrap();
        let made = inner.machines.get(uid).ok_or_else(|| Error::NoMachine { uid: uid.to_owned() })?;
        Ok(format!("the console of {}\n", made.order.name))
    }
}
