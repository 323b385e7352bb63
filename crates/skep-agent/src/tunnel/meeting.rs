//! Which gateways the agent is connected to: each once, and as many as there are.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::settings::Status;

/// The gateways the agent is connected to.
#[derive(Debug)]
pub(super) struct Meeting {
    known: Mutex<BTreeSet<String>>,
    status: watch::Sender<Status>,
}

/// A gateway the agent is connected to, until it is dropped.
#[derive(Debug)]
pub(super) struct Met {
    meeting: Arc<Meeting>,
    gateway: String,
}

impl Meeting {
    pub(super) fn new(status: watch::Sender<Status>) -> Arc<Self> {
        Arc::new(Self { known: Mutex::default(), status })
    }

    /// Notes that this gateway greeted and that there are so many; nothing if it is connected already.
    pub(super) fn greeted(self: &Arc<Self>, gateway: &str, gateways: usize) -> Option<Met> {
        let new = self.known().insert(gateway.to_owned());
        self.status.send_if_modified(|status| {
            let before = status.clone();
            status.wanted = gateways;
            status.connected += usize::from(new);
            if status.connected >= status.wanted {
                status.trouble = None;
            }
            *status != before
        });
        new.then(|| Met { meeting: Arc::clone(self), gateway: gateway.to_owned() })
    }

    /// Notes why a try failed.
    pub(super) fn failed(&self, trouble: String) {
        self.status.send_if_modified(|status| {
            let differs = status.trouble.as_ref() != Some(&trouble);
            status.trouble = Some(trouble);
            differs
        });
    }

    /// How many gateways there are, as they change.
    pub(super) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    fn known(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Met {
    fn drop(&mut self) {
        self.meeting.known().remove(&self.gateway);
        self.meeting.status.send_modify(|status| status.connected -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_counts_once_while_it_is_there() {
        let meeting = Meeting::new(watch::Sender::new(Status::default()));
        let stands = || {
            let status = meeting.status().borrow().clone();
            (status.connected, status.wanted, status.trouble.is_some())
        };
        meeting.failed("no".into());
        let one = meeting.greeted("a", 2).unwrap();
        assert!(meeting.greeted("a", 2).is_none());
        assert_eq!(stands(), (1, 2, true));
        let two = meeting.greeted("b", 2).unwrap();
        assert_eq!(stands(), (2, 2, false));
        drop(one);
        assert_eq!(stands(), (1, 2, false));
        assert!(meeting.greeted("a", 1).is_some());
        drop(two);
        assert_eq!(stands(), (0, 1, false));
    }
}
