//! Asking etcd itself, and switching its authentication on.

use std::time::Duration;

use skep_api::control_plane::DatastoreRef;
use skep_kubeops::Key;

use super::certificates::Certificates;
use super::validate::Wanted;
use crate::datastores::{Datastores, Material};
use crate::etcd::{Alarm, Failure, Health};
use crate::opened::Opened;

/// How a datastore's etcd is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Store {
    /// Nobody has asked it: there is nothing to ask with.
    Unknown(String),
    /// It does not answer.
    Silent(String),
    /// It answers.
    Answering(Answer),
}

/// What etcd said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub health: Health,
    /// Tenants with a user or a role.
    pub tenants: Vec<String>,
    /// Time until history is to be dropped; `None` when it was not looked at.
    pub history: Option<Duration>,
}

impl Store {
    /// Does it take reads and writes?
    pub(crate) fn is_serving(&self) -> bool {
        matches!(self, Store::Answering(answer) if answer.serves())
    }

    /// Time until history is to be dropped, if it was looked at.
    pub(crate) fn history(&self) -> Option<Duration> {
        match self {
            Store::Answering(answer) => answer.history,
            _ => None,
        }
    }
}

impl Answer {
    fn serves(&self) -> bool {
        self.health.has_leader && self.health.alarms.is_empty()
    }
}

/// What opens the datastore; an error only when a certificate cannot be read back.
pub(crate) fn material(wanted: &Wanted, certificates: &Certificates) -> Result<Material, skep_pki::Error> {
    Material::new(wanted, certificates)
}

/// Opens the datastore with this material, switches authentication on and asks how it is.
pub(crate) async fn settle(
    datastores: &Datastores,
    key: &Key,
    material: Result<Material, skep_pki::Error>,
) -> Store {
    let opened = match material {
        Ok(material) => datastores.open(key, material).map_err(|e| e.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match opened {
        Ok(opened) => answer(up(&opened).await),
        Err(reason) => Store::Unknown(reason),
    }
}

/// Asks how the datastore is with what is stored of it, changing nothing.
pub(crate) async fn ask(datastores: &Datastores, datastore: &DatastoreRef) -> Store {
    match datastores.find(datastore).await {
        Ok(Some(opened)) => answer(look(&opened).await),
        Ok(None) => Store::Unknown("it never answered".to_owned()),
        Err(error) => Store::Unknown(error.to_string()),
    }
}

/// As [`ask`], but from now on nobody is let in: who is counted is all there will be.
pub(crate) async fn close(datastores: &Datastores, datastore: &DatastoreRef) -> Store {
    if let Ok(Some(opened)) = datastores.find(datastore).await {
        opened.connection.close().await;
    }
    ask(datastores, datastore).await
}

async fn up(opened: &Opened) -> Result<Answer, Failure> {
    let health = opened.connection.health().await?;
    opened.connection.enable_auth().await?;
    if health.alarms.contains(&Alarm::NoSpace) && has_room(&health) {
        opened.connection.clear_space_alarm().await?;
    }
    let mut answer = look(opened).await?;
    // With an alarm on, etcd takes no writes, and so no history grows.
    if answer.serves() {
        answer.history = Some(opened.connection.drop_history().await?);
    }
    Ok(answer)
}

async fn look(opened: &Opened) -> Result<Answer, Failure> {
    let health = opened.connection.health().await?;
    let tenants = opened.connection.tenants().await?.into_iter().collect();
    Ok(Answer { health, tenants, history: None })
}

/// Is there room again, as after the quota was raised? A tenth must be free, or the alarm comes back at once.
fn has_room(health: &Health) -> bool {
    health.quota > 0 && health.size < health.quota / 10 * 9
}

fn answer(asked: Result<Answer, Failure>) -> Store {
    match asked {
        Ok(answer) => Store::Answering(answer),
        Err(failure) => Store::Silent(failure.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_goes_only_when_there_is_room() {
        let health = |size, quota| Health {
            version: "v3.7.3".into(),
            size,
            in_use: 0,
            quota,
            has_leader: true,
            alarms: vec![Alarm::NoSpace],
        };
        assert!(has_room(&health(80, 100)));
        assert!(!has_room(&health(95, 100)));
        assert!(!has_room(&health(80, 0)), "etcd does not say its quota");
    }
}
