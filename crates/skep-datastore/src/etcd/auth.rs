//! Users and roles: switching authentication on, letting a tenant in, shutting it out.
//!
//! A tenant has a user and a role of its own name; the role allows reading and writing the keys under its prefix, and
//! reading how far history was dropped. The user has no password: only a client certificate with its name opens the door.
//! Steady state changes nothing in etcd, because every change of users or roles makes etcd refuse the calls that cross it
//! (their clients repeat them).

use std::collections::BTreeSet;

use skep_api::TenantId;

use super::connection::Door;
use super::wire::{
    AuthStatus, Empty, GrantPermission, GrantRole, Named, Names, Permission, PermissionType,
    RevokePermission, RevokeRole, Role, UserAdd, UserOptions,
};
use super::{Connection, Failure, compaction, keys};

/// The operator's own user and role: etcd gives the role of this name every right.
pub const ROOT: &str = "root";

const STATUS: &str = "/etcdserverpb.Auth/AuthStatus";
const ENABLE: &str = "/etcdserverpb.Auth/AuthEnable";
const USER_ADD: &str = "/etcdserverpb.Auth/UserAdd";
const USER_GET: &str = "/etcdserverpb.Auth/UserGet";
const USER_LIST: &str = "/etcdserverpb.Auth/UserList";
const USER_DELETE: &str = "/etcdserverpb.Auth/UserDelete";
const USER_GRANT: &str = "/etcdserverpb.Auth/UserGrantRole";
const USER_REVOKE: &str = "/etcdserverpb.Auth/UserRevokeRole";
const ROLE_ADD: &str = "/etcdserverpb.Auth/RoleAdd";
const ROLE_GET: &str = "/etcdserverpb.Auth/RoleGet";
const ROLE_LIST: &str = "/etcdserverpb.Auth/RoleList";
const ROLE_DELETE: &str = "/etcdserverpb.Auth/RoleDelete";
const ROLE_GRANT: &str = "/etcdserverpb.Auth/RoleGrantPermission";
const ROLE_REVOKE: &str = "/etcdserverpb.Auth/RoleRevokePermission";

impl Connection {
    /// Is authentication on?
    ///
    /// # Errors
    /// etcd does not answer.
    pub async fn auth_enabled(&self) -> Result<bool, Failure> {
        Ok(self.call::<_, AuthStatus>(STATUS, Empty {}).await?.enabled)
    }

    /// Makes sure that authentication is on and that this connection's user, root, may do everything.
    ///
    /// May be cut off after any step and run again: etcd refuses to switch authentication on before root is complete.
    ///
    /// # Errors
    /// etcd does not answer or refuses.
    pub async fn enable_auth(&self) -> Result<(), Failure> {
        if self.auth_enabled().await? {
            return Ok(());
        }
        let _changing = self.changes.lock().await;
        self.add_user(ROOT).await?;
        // etcd needs no entry for the role root, but its tools list it.
        exists_is_fine(self.call(ROLE_ADD, named(ROOT)).await)?;
        self.grant_role(ROOT).await?;
        self.call::<_, Empty>(ENABLE, Empty {}).await?;
        Ok(())
    }

    /// Makes sure that the tenant's user exists, may use the keys under its prefix and read how far history was dropped,
    /// and nothing else. Says whether anything had to be changed.
    ///
    /// # Errors
    /// etcd does not answer or refuses.
    pub async fn admit(&self, tenant: &TenantId) -> Result<bool, Failure> {
        let (name, wanted) = (tenant.as_str(), permissions(tenant));
        let (role, user) = tokio::join!(
            missing_is_none(self.call::<_, Role>(ROLE_GET, named(name))),
            missing_is_none(self.call::<_, Names>(USER_GET, named(name))),
        );
        let (role, user) = (role?, user?);
        let present = role.as_ref().map_or(&[][..], |r| &r.permissions);
        let right = present.len() == wanted.len() && wanted.iter().all(|p| present.contains(p));
        let granted = user.as_ref().is_some_and(|u| u.names == [name]);
        if right && granted {
            return Ok(false);
        }
        let door = self.changes.lock().await;
        if *door == Door::Closed {
            return Err(Failure::Refused("it is being deleted and takes no new tenants".to_owned()));
        }
        if role.is_none() {
            exists_is_fine(self.call(ROLE_ADD, named(name)).await)?;
        }
        // Foreign permissions go before the user can use them; the wanted ones come before the user is let in.
        for surplus in present.iter().filter(|p| !wanted.contains(p)) {
            let revoke = RevokePermission {
                role: name.to_owned(),
                key: surplus.key.clone(),
                range_end: surplus.range_end.clone(),
            };
            missing_is_fine(self.call(ROLE_REVOKE, revoke).await)?;
        }
        for missing in wanted.iter().filter(|p| !present.contains(p)) {
            let grant = GrantPermission { role: name.to_owned(), permission: Some(missing.clone()) };
            self.call::<_, Empty>(ROLE_GRANT, grant).await?;
        }
        if user.is_none() {
            self.add_user(name).await?;
        }
        for surplus in user.iter().flat_map(|u| &u.names).filter(|r| *r != name) {
            let revoke = RevokeRole { user: name.to_owned(), role: surplus.clone() };
            missing_is_fine(self.call(USER_REVOKE, revoke).await)?;
        }
        if !granted {
            self.grant_role(name).await?;
        }
        Ok(true)
    }

    /// Takes the tenant's user away: from now on its certificate opens nothing.
    ///
    /// The role stays as a sign that there may be keys, until [`Connection::forget`].
    ///
    /// # Errors
    /// etcd does not answer or refuses.
    pub async fn shut_out(&self, tenant: &TenantId) -> Result<(), Failure> {
        let _changing = self.changes.lock().await;
        missing_is_fine(self.call(USER_DELETE, named(tenant.as_str())).await)
    }

    /// Takes the tenant's role away, after its keys are gone.
    ///
    /// # Errors
    /// etcd does not answer or refuses.
    pub async fn forget(&self, tenant: &TenantId) -> Result<(), Failure> {
        let _changing = self.changes.lock().await;
        missing_is_fine(self.call(ROLE_DELETE, named(tenant.as_str())).await)
    }

    /// Everybody who has a user or a role, root aside: tenants, and tenants whose removal is under way.
    ///
    /// # Errors
    /// etcd does not answer or refuses.
    pub async fn tenants(&self) -> Result<BTreeSet<String>, Failure> {
        let users = self.call::<_, Names>(USER_LIST, Empty {}).await?;
        let roles = self.call::<_, Names>(ROLE_LIST, Empty {}).await?;
        Ok(users.names.into_iter().chain(roles.names).filter(|name| name != ROOT).collect())
    }

    /// The tenant's role and user as they are.
    #[cfg(test)]
    pub(crate) async fn described(&self, tenant: &TenantId) -> (Option<Role>, Option<Names>) {
        let name = tenant.as_str();
        (self.call(ROLE_GET, named(name)).await.ok(), self.call(USER_GET, named(name)).await.ok())
    }

    async fn add_user(&self, name: &str) -> Result<(), Failure> {
        let user = UserAdd { name: name.to_owned(), options: Some(UserOptions { no_password: true }) };
        exists_is_fine(self.call(USER_ADD, user).await)
    }

    /// Gives a user the role of its own name; etcd takes a repetition without a change.
    async fn grant_role(&self, name: &str) -> Result<(), Failure> {
        let grant = GrantRole { user: name.to_owned(), role: name.to_owned() };
        self.call::<_, Empty>(USER_GRANT, grant).await.map(drop)
    }
}

/// The permissions of a tenant's role.
fn permissions(tenant: &TenantId) -> [Permission; 2] {
    let (key, range_end) = keys::range(tenant);
    [
        Permission { kind: PermissionType::ReadWrite.into(), key, range_end },
        Permission {
            kind: PermissionType::Read.into(),
            key: compaction::KEY.to_vec(),
            range_end: Vec::new(),
        },
    ]
}

fn named(name: &str) -> Named {
    Named { name: name.to_owned() }
}

fn exists_is_fine(answer: Result<Empty, Failure>) -> Result<(), Failure> {
    match answer {
        Ok(_) | Err(Failure::Exists) => Ok(()),
        Err(failure) => Err(failure),
    }
}

fn missing_is_fine(answer: Result<Empty, Failure>) -> Result<(), Failure> {
    match answer {
        Ok(_) | Err(Failure::Missing) => Ok(()),
        Err(failure) => Err(failure),
    }
}

async fn missing_is_none<A>(answer: impl Future<Output = Result<A, Failure>>) -> Result<Option<A>, Failure> {
    match answer.await {
        Ok(found) => Ok(Some(found)),
        Err(Failure::Missing) => Ok(None),
        Err(failure) => Err(failure),
    }
}
