//! What one tenant's certificate opens, and what it does not. `docs/security/datastores.md` says the same in words.

use std::time::Duration;

use skep_api::TenantId;
use skep_pki::Leaf;
use skep_testkit::PATIENCE;

use super::cell::Cell;
use super::ctl::Ctl;
use crate::etcd::{Connection, Credentials, Failure};

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// What a tenant must not do, to a neighbour or to the cluster.
const DENIED: &[&str] = &[
    // The neighbour's keys, straight and by ranges that reach them.
    "get /skep/neighbour-1/secret",
    "get --prefix /skep/neighbour-1/",
    "get --prefix /skep/",
    "get --prefix ''",
    "get --from-key /skep/demo-1/",
    "get /skep/demo-1/ /skep/neighbour-2",
    "get --prefix /skep/demo-1 --keys-only",
    "get --prefix --count-only /skep/neighbour-1/",
    "put /skep/neighbour-1/secret mine",
    "put /skep/demo-1 beside",
    "put compact_rev_key 1",
    "del compact_rev_key",
    "get --prefix compact_rev_key",
    "put elsewhere 1",
    "del --prefix /skep/neighbour-1/",
    "del --from-key /skep/demo-1/",
    "lock /skep/neighbour-1/lock",
    // The whole cluster.
    "compact 1",
    "compact --physical 1",
    "defrag",
    "snapshot save nowhere.db",
    "endpoint hashkv",
    "move-leader 1",
    "member add x --peer-urls=https://127.0.0.1:1",
    "member remove 1",
    "downgrade enable 3.6",
    // Users and roles.
    "user list",
    "user add evil --no-password",
    "user get neighbour-1",
    "user grant-role demo-1 root",
    "user delete neighbour-1",
    "role list",
    "role get neighbour-1",
    "role grant-permission demo-1 readwrite --prefix /skep/neighbour-1/",
    "role delete neighbour-1",
    "auth disable",
];

/// What etcd leaves open to everybody whose certificate its client authority signed, none of which shows or changes a
/// key; and the one key that every tenant may read.
const OPEN: &[&str] = &[
    "get compact_rev_key",
    "endpoint status",
    "endpoint health",
    "member list",
    "alarm list",
    "auth status",
    "user get demo-1",
    "role get demo-1",
    "lease grant 60",
];

#[tokio::test]
async fn a_tenants_certificate_opens_its_own_keys_only() {
    let cell = Cell::serving().await;
    let neighbour = Ctl::tenant(&cell, "neighbour-1").await;
    assert!(neighbour.run("put /skep/neighbour-1/secret value").await.ok);
    let lease = neighbour.run("lease grant 600").await.text;
    let lease = lease.split_whitespace().nth(1).unwrap().to_owned();
    assert!(neighbour.run(&format!("put --lease={lease} /skep/neighbour-1/leased v")).await.ok);

    let tenant = Ctl::tenant(&cell, "demo-1").await;
    assert!(tenant.run("put /skep/demo-1/key value").await.ok);
    assert!(tenant.run("get --prefix /skep/demo-1/").await.text.contains("value"));
    assert!(tenant.run("del /skep/demo-1/key").await.ok);
    for command in DENIED {
        let said = tenant.run(command).await;
        assert!(said.denied(), "{command}: {said:?}");
    }
    assert!(tenant.run("lease list").await.denied(), "names the leases of others that hold keys");
    for command in ["revoke", "timetolive --keys", "keep-alive --once"] {
        let said = tenant.run(&format!("lease {command} {lease}")).await;
        assert!(said.denied(), "lease {command}: {said:?}");
    }
    let said = tenant.run(&format!("put --lease={lease} /skep/demo-1/mine v")).await;
    assert!(said.denied(), "hangs a key of its own on the neighbour's lease: {said:?}");
    for watch in ["watch --prefix /skep/neighbour-1/", "watch --prefix ''", "watch --prefix compact_rev_key"]
    {
        let said = tokio::time::timeout(PATIENCE, tenant.run(watch)).await.expect("ends by itself");
        assert!(!said.ok && said.text.contains("PermissionDenied"), "{watch}: {said:?}");
    }
    for command in OPEN {
        let said = tenant.run(command).await;
        assert!(said.ok, "{command}: {said:?}");
    }
    let left = neighbour.run("get --prefix /skep/neighbour-1/").await.text;
    assert!(left.contains("value") && left.contains("leased"), "{left}");
}

/// Alarms stop all writes for everybody; etcdctl cannot raise one, a hostile client can try.
#[tokio::test]
async fn a_tenant_cannot_raise_alarms() {
    use crate::etcd::wire::{AlarmAction, AlarmType};
    let cell = Cell::serving().await;
    let access = cell.ensure("demo-1").await;
    let credentials =
        Credentials { server_ca_pem: access.server_ca_pem.clone(), client: access.client.pair.clone() };
    let tenant = Connection::new(&access.endpoints, &credentials).unwrap();
    for (action, alarm) in [
        (AlarmAction::Activate, AlarmType::NoSpace),
        (AlarmAction::Activate, AlarmType::Corrupt),
        (AlarmAction::Deactivate, AlarmType::NoSpace),
    ] {
        let said = tenant.alarm(action, alarm, 0).await;
        assert!(matches!(&said, Err(Failure::Refused(why)) if why.contains("permission denied")), "{said:?}");
    }
    assert!(tenant.health().await.unwrap().alarms.is_empty());
}

#[tokio::test]
async fn strangers_are_shut_out() {
    let cell = Cell::serving().await;
    let access = cell.ensure("demo-1").await;
    let now = jiff::Timestamp::now();
    let material = |pair: &skep_pki::KeyPair| {
        let credentials = Credentials { server_ca_pem: access.server_ca_pem.clone(), client: pair.clone() };
        Connection::new(&access.endpoints, &credentials).unwrap()
    };
    // Another authority's certificate for the right name, even for root.
    let other = skep_pki::Authority::generate("main-client-ca", YEAR, now).unwrap();
    for name in ["demo-1", "root"] {
        let stranger = material(&other.issue(&Leaf::client(name, YEAR), now).unwrap());
        assert!(matches!(stranger.health().await, Err(Failure::Unavailable(_))), "{name}");
    }
    // A member's certificate is no client's.
    let opened = cell.datastores.get(&cell.reference()).await.unwrap();
    let server_leaf =
        opened.material.client_authority.issue(&Leaf::server("root", YEAR).dns("x"), now).unwrap();
    assert!(material(&server_leaf).health().await.is_err(), "a server's certificate shown by a client");
    // The right authority, but a user that does not exist (any more).
    let removed: TenantId = "demo-1".parse().unwrap();
    let tenant = material(&access.client.pair);
    assert!(tenant.count(&removed).await.is_ok());
    opened.connection.shut_out(&removed).await.unwrap();
    assert!(matches!(tenant.count(&removed).await, Err(Failure::Refused(_))));
}
