//! How an etcd cluster is: version, size, alarms.

use super::wire::{AlarmAction, AlarmRequest, AlarmType, Alarms, Empty, Status};
use super::{Connection, Failure};

const STATUS: &str = "/etcdserverpb.Maintenance/Status";
const ALARM: &str = "/etcdserverpb.Maintenance/Alarm";

/// What a member says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Version of etcd, like `v3.7.3`.
    pub version: String,
    /// Size of the database file in bytes.
    pub size: i64,
    /// Bytes of it that hold something.
    pub in_use: i64,
    /// Size at which it stops taking writes; 0 when it does not say.
    pub quota: i64,
    /// Is there a leader, so that writes can succeed?
    pub has_leader: bool,
    /// Alarms that are on.
    pub alarms: Vec<Alarm>,
}

/// A state in which etcd refuses writes until somebody switches it off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// The database has reached its quota.
    NoSpace,
    /// Members' data differ.
    Corrupt,
}

impl Connection {
    /// Asks for the state of the cluster.
    ///
    /// # Errors
    /// etcd does not answer.
    pub async fn health(&self) -> Result<Health, Failure> {
        let status = self.call::<_, Status>(STATUS, Empty {}).await?;
        let alarms = self.alarm(AlarmAction::Get, AlarmType::None, 0).await?;
        Ok(Health {
            version: format!("v{}", status.version),
            size: status.db_size,
            in_use: status.db_size_in_use,
            quota: status.db_size_quota,
            has_leader: status.leader != 0,
            alarms: alarms.alarms.iter().filter_map(|a| kind(a.alarm)).collect(),
        })
    }

    /// Switches the quota alarm off, after there is room again. Should the room be gone, etcd raises it with the next
    /// write.
    ///
    /// # Errors
    /// etcd does not answer or refuses.
    pub async fn clear_space_alarm(&self) -> Result<(), Failure> {
        for alarm in self.alarm(AlarmAction::Get, AlarmType::None, 0).await?.alarms {
            if kind(alarm.alarm) == Some(Alarm::NoSpace) {
                self.alarm(AlarmAction::Deactivate, AlarmType::NoSpace, alarm.member).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn alarm(
        &self,
        action: AlarmAction,
        alarm: AlarmType,
        member: u64,
    ) -> Result<Alarms, Failure> {
        self.call(ALARM, AlarmRequest { action: action.into(), member, alarm: alarm.into() }).await
    }
}

fn kind(alarm: i32) -> Option<Alarm> {
    match AlarmType::try_from(alarm) {
        Ok(AlarmType::NoSpace) => Some(Alarm::NoSpace),
        Ok(AlarmType::Corrupt) => Some(Alarm::Corrupt),
        _ => None,
    }
}
