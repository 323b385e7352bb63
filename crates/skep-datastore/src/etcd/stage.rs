//! For tests: an etcd in memory, and calls that fail at a chosen moment.
//!
//! The etcd in memory knows users, roles, keys and alarms, and answers as etcd 3.7 does; `tests/real.rs` runs the same
//! scripts against a real one. The script counts calls and fails one of them, before it is carried out or after.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::Message;

use super::wire::{
    AlarmAction, AlarmMember, AlarmRequest, AlarmType, Alarms, AuthStatus, Compact, DeleteRange, Deleted,
    Empty, GrantPermission, GrantRole, Header, KeyValue, Named, Names, Permission, Range, Ranged,
    RevokePermission, RevokeRole, Role, Status, Transacted, Transaction, UserAdd,
};
use super::{Failure, compaction};

/// When a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// It does not reach etcd.
    Before,
    /// etcd carries it out, but the answer is lost.
    After,
}

#[derive(Debug, Default)]
struct Script {
    fail: Option<(usize, Moment)>,
    calls: Vec<&'static str>,
}

/// What stands between a connection and its etcd in a test. Clones share everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stage {
    script: Arc<Mutex<Script>>,
    fake: Option<FakeEtcd>,
}

impl Stage {
    /// In front of an etcd in memory.
    pub(crate) fn with(fake: &FakeEtcd) -> Self {
        Self { fake: Some(fake.clone()), ..Self::default() }
    }

    /// From now on counts calls anew and fails the n-th (the first is 1).
    pub(crate) fn fail(&self, fail: Option<(usize, Moment)>) {
        *self.lock() = Script { fail, calls: Vec::new() };
    }

    /// The calls since [`Stage::fail`].
    pub(crate) fn calls(&self) -> Vec<&'static str> {
        self.lock().calls.clone()
    }

    /// Begins a call and gives its number.
    pub(super) fn begin(&self, path: &'static str) -> usize {
        let mut script = self.lock();
        script.calls.push(path);
        script.calls.len()
    }

    /// Answers in place of the real etcd, if this call fails before it or there is one in memory.
    pub(super) fn act<Q: Message, A: Message + Default>(
        &self,
        number: usize,
        path: &'static str,
        request: &Q,
    ) -> Option<Result<A, Failure>> {
        if self.fails(number, Moment::Before) {
            return Some(Err(Failure::Unavailable("connection refused".into())));
        }
        let fake = self.fake.as_ref()?;
        let answer = fake.call(path, &request.encode_to_vec());
        let answer = answer.map(|bytes| A::decode(bytes.as_slice()).expect("an answer of the right type"));
        Some(self.delivered(number, answer))
    }

    /// Loses the answer if it is this call's turn.
    pub(super) fn delivered<A>(&self, number: usize, answer: Result<A, Failure>) -> Result<A, Failure> {
        if self.fails(number, Moment::After) {
            return Err(Failure::Unavailable("no answer within 8 s".into()));
        }
        answer
    }

    fn fails(&self, number: usize, moment: Moment) -> bool {
        self.lock().fail == Some((number, moment))
    }

    fn lock(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an etcd holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub auth: bool,
    pub users: BTreeMap<String, BTreeSet<String>>,
    pub roles: BTreeMap<String, Vec<Permission>>,
    pub keys: BTreeSet<Vec<u8>>,
    pub no_space: bool,
    /// It does not answer.
    pub away: bool,
    pub history: History,
}

/// What an etcd in memory knows of revisions: of one key only, and of writes that a test counts for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct History {
    /// The revision of the last write.
    pub revision: i64,
    /// The key that compaction is agreed on: the revision of its last write and its value.
    pub mark: Option<(i64, String)>,
    /// The revision up to which history was dropped.
    pub compacted: i64,
}

/// An etcd in memory. Clones share everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeEtcd(Arc<Mutex<Held>>);

impl FakeEtcd {
    /// Looks at or changes what it holds.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Held) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn call(&self, path: &str, request: &[u8]) -> Result<Vec<u8>, Failure> {
        self.with(|held| {
            if held.away {
                return Err(Failure::Unavailable("connection refused".into()));
            }
            let (_, method) = path.split_once('.').expect("a path of etcd");
            held.serve(method, request)
        })
    }
}

fn decode<M: Message + Default>(request: &[u8]) -> M {
    M::decode(request).expect("a request of the right type")
}

fn found(there: bool) -> Result<(), Failure> {
    if there { Ok(()) } else { Err(Failure::Missing) }
}

impl Held {
    fn serve(&mut self, method: &str, request: &[u8]) -> Result<Vec<u8>, Failure> {
        match method {
            "Maintenance/Status" => Ok(Status {
                version: "3.7.3".into(),
                db_size: 20_480,
                leader: 1,
                db_size_in_use: 16_384,
                db_size_quota: 8 << 30,
            }
            .encode_to_vec()),
            "Maintenance/Alarm" => Ok(self.alarm(&decode(request)).encode_to_vec()),
            "Auth/AuthStatus" => Ok(AuthStatus { enabled: self.auth }.encode_to_vec()),
            "Auth/UserList" => Ok(Names { names: self.users.keys().cloned().collect() }.encode_to_vec()),
            "Auth/RoleList" => Ok(Names { names: self.roles.keys().cloned().collect() }.encode_to_vec()),
            "Auth/UserGet" => {
                let user = self.users.get(&decode::<Named>(request).name).ok_or(Failure::Missing)?;
                Ok(Names { names: user.iter().cloned().collect() }.encode_to_vec())
            }
            "Auth/RoleGet" => {
                let role = self.roles.get(&decode::<Named>(request).name).ok_or(Failure::Missing)?;
                Ok(Role { permissions: role.clone() }.encode_to_vec())
            }
            "KV/Range" => Ok(self.range(&decode(request)).encode_to_vec()),
            "KV/Txn" => Ok(self.history.transact(&decode(request)).encode_to_vec()),
            "KV/Compact" => {
                self.history.compact(decode::<Compact>(request).revision)?;
                Ok(Empty {}.encode_to_vec())
            }
            "KV/DeleteRange" => Ok(self.delete(&decode(request)).encode_to_vec()),
            other => self.change(other, request).map(|()| Empty {}.encode_to_vec()),
        }
    }

    fn change(&mut self, method: &str, request: &[u8]) -> Result<(), Failure> {
        match method {
            "Auth/AuthEnable" => {
                if !self.users.get("root").is_some_and(|roles| roles.contains("root")) {
                    return Err(Failure::Refused("etcdserver: root user does not exist".into()));
                }
                self.auth = true;
            }
            "Auth/UserAdd" => {
                let add: UserAdd = decode(request);
                assert!(add.options.is_some_and(|o| o.no_password), "users have no passwords");
                if self.users.contains_key(&add.name) {
                    return Err(Failure::Exists);
                }
                self.users.insert(add.name, BTreeSet::new());
            }
            "Auth/UserDelete" => return found(self.users.remove(&decode::<Named>(request).name).is_some()),
            "Auth/RoleAdd" => {
                let name = decode::<Named>(request).name;
                if self.roles.contains_key(&name) {
                    return Err(Failure::Exists);
                }
                self.roles.insert(name, Vec::new());
            }
            "Auth/RoleDelete" => {
                let name = decode::<Named>(request).name;
                self.users.values_mut().for_each(|roles| {
                    roles.remove(&name);
                });
                return found(self.roles.remove(&name).is_some());
            }
            "Auth/UserGrantRole" => {
                let grant: GrantRole = decode(request);
                found(grant.role == "root" || self.roles.contains_key(&grant.role))?;
                self.users.get_mut(&grant.user).ok_or(Failure::Missing)?.insert(grant.role);
            }
            "Auth/UserRevokeRole" => {
                let revoke: RevokeRole = decode(request);
                let user = self.users.get_mut(&revoke.user).ok_or(Failure::Missing)?;
                return found(user.remove(&revoke.role));
            }
            "Auth/RoleGrantPermission" => {
                let grant: GrantPermission = decode(request);
                let wanted = grant.permission.expect("a permission");
                let role = self.roles.get_mut(&grant.role).ok_or(Failure::Missing)?;
                role.retain(|p| (&p.key, &p.range_end) != (&wanted.key, &wanted.range_end));
                role.push(wanted);
                role.sort_by(|a, b| a.key.cmp(&b.key));
            }
            "Auth/RoleRevokePermission" => {
                let revoke: RevokePermission = decode(request);
                let role = self.roles.get_mut(&revoke.role).ok_or(Failure::Missing)?;
                let before = role.len();
                role.retain(|p| (&p.key, &p.range_end) != (&revoke.key, &revoke.range_end));
                return found(role.len() < before);
            }
            other => panic!("the etcd in memory does not know {other}"),
        }
        Ok(())
    }

    fn range(&self, range: &Range) -> Ranged {
        if range.range_end.is_empty() {
            return self.history.find(&range.key);
        }
        let all: Vec<_> = self.keys.range(range.key.clone()..range.range_end.clone()).collect();
        let limit =
            if range.limit > 0 { usize::try_from(range.limit).unwrap_or(usize::MAX) } else { usize::MAX };
        let kvs =
            all.iter().take(limit).map(|key| KeyValue { key: (*key).clone(), mod_revision: 0 }).collect();
        Ranged { kvs: if range.count_only { Vec::new() } else { kvs }, count: all.len() as i64 }
    }

    fn delete(&mut self, range: &DeleteRange) -> Deleted {
        let before = self.keys.len();
        self.keys.retain(|key| !(range.key <= *key && *key < range.range_end));
        Deleted { deleted: (before - self.keys.len()) as i64 }
    }

    fn alarm(&mut self, request: &AlarmRequest) -> Alarms {
        if request.action == AlarmAction::Deactivate as i32 && request.alarm == AlarmType::NoSpace as i32 {
            self.no_space = false;
        }
        let on = AlarmMember { member: 1, alarm: AlarmType::NoSpace.into() };
        Alarms { alarms: if self.no_space { vec![on] } else { Vec::new() } }
    }
}

impl History {
    fn find(&self, key: &[u8]) -> Ranged {
        assert_eq!(key, compaction::KEY, "no other key is asked for alone");
        let kvs =
            self.mark.iter().map(|(revision, _)| KeyValue { key: key.to_vec(), mod_revision: *revision });
        Ranged { kvs: kvs.collect(), count: self.mark.iter().len() as i64 }
    }

    fn transact(&mut self, request: &Transaction) -> Transacted {
        let [compare] = request.compare.as_slice() else { panic!("one comparison: {request:?}") };
        let there = self.mark.as_ref().map_or(0, |(revision, _)| *revision);
        let succeeded = compare.mod_revision == Some(there);
        if succeeded {
            let put = request.success[0].put.as_ref().expect("a key to write");
            self.revision += 1;
            self.mark = Some((self.revision, String::from_utf8(put.value.clone()).expect("a number")));
        }
        Transacted { header: Some(Header { revision: self.revision }), succeeded }
    }

    fn compact(&mut self, revision: i64) -> Result<(), Failure> {
        if revision <= self.compacted {
            return Err(Failure::Compacted);
        }
        assert!(revision <= self.revision, "a revision of the future");
        self.compacted = revision;
        Ok(())
    }
}
