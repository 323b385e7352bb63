//! The etcd in memory against the real one: the same script of failing calls ends in the same users and roles.

use std::collections::BTreeMap;

use skep_api::TenantId;
use skep_testkit::PATIENCE;

use super::cell::Cell;
use crate::etcd::Connection;
use crate::etcd::Failure;
use crate::etcd::stage::{FakeEtcd, Moment, Stage};

/// What can be seen of an etcd from outside.
async fn seen(root: &Connection, tenants: &[&TenantId]) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([("tenants".to_owned(), format!("{:?}", root.tenants().await.unwrap()))]);
    for tenant in tenants {
        let keys = root.count(tenant).await.unwrap();
        all.insert(tenant.to_string(), format!("{keys} keys, {:?}", root.described(tenant).await));
    }
    all
}

async fn run(root: &Connection, tenant: &TenantId, fail: (usize, Moment)) -> Vec<Result<(), Failure>> {
    let mut said = Vec::new();
    for step in 0..2 {
        for faulty in [true, false] {
            root.stage.fail(faulty.then_some(fail));
            said.push(match step {
                0 => root.admit(tenant).await.map(drop),
                _ => {
                    async {
                        root.shut_out(tenant).await?;
                        root.clear(tenant, tokio::time::Instant::now() + PATIENCE).await?;
                        root.forget(tenant).await
                    }
                    .await
                }
            });
        }
    }
    root.stage.fail(None);
    // A text of the transport is not the same twice.
    said.into_iter()
        .map(|r| {
            r.map_err(|f| {
                if matches!(f, Failure::Unavailable(_)) { Failure::Unavailable(String::new()) } else { f }
            })
        })
        .collect()
}

#[tokio::test]
async fn the_etcd_in_memory_behaves_like_the_real_one() {
    let cell = Cell::serving().await;
    let opened = cell.datastores.get(&cell.reference()).await.unwrap();
    let real = &opened.connection;
    let memory = FakeEtcd::default();
    let mut fake = real.clone();
    fake.stage = Stage::with(&memory);
    fake.enable_auth().await.unwrap();
    let tenants: Vec<TenantId> = (0..16).map(|i| format!("demo-{i}").parse().unwrap()).collect();
    for (index, tenant) in tenants.iter().enumerate() {
        let fail = (index / 2 + 1, if index % 2 == 0 { Moment::Before } else { Moment::After });
        assert_eq!(run(real, tenant, fail).await, run(&fake, tenant, fail).await, "{fail:?}");
        assert!(real.admit(tenant).await.is_ok() && fake.admit(tenant).await.is_ok());
        let both = [tenant, &tenants[0]];
        assert_eq!(seen(real, &both).await, seen(&fake, &both).await, "{fail:?}");
    }
}
