use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::{BoxFuture, join_all};

use super::*;
use crate::config::Config;
use crate::node_tunnel::fixtures::Tenancy;
use crate::routes::{ControlPlaneFact, Key};
use crate::shared::Shared;

/// Gives what it is told to give, and counts.
#[derive(Default)]
struct Source {
    answer: std::sync::Mutex<Option<Result<IdentityFiles, IdentityError>>>,
    door: std::sync::Mutex<Option<IdentityFiles>>,
    reads: AtomicUsize,
}

impl Source {
    fn set(&self, answer: Result<IdentityFiles, IdentityError>) {
        *self.answer.lock().unwrap() = Some(answer);
    }
}

impl Identities for Source {
    fn of_tenant<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<IdentityFiles, IdentityError>> {
        Box::pin(async move {
            self.reads.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            let missing = || Err(IdentityError::Missing(namespace.to_owned()));
            self.answer.lock().unwrap().clone().unwrap_or_else(missing)
        })
    }

    fn of_door(&self) -> BoxFuture<'_, Result<Option<IdentityFiles>, IdentityError>> {
        Box::pin(async { Ok(self.door.lock().unwrap().clone()) })
    }
}

fn bed(reload: Duration) -> (Arc<Source>, Keeper, Arc<Shared>, Arc<Tenant>) {
    let source = Arc::new(Source::default());
    let shared = Arc::new(Shared::new(Config::default()));
    let (key, tenant) = (Key::new("ns-a", "a"), "a".to_owned());
    let plane = ControlPlaneFact { key, created: 0, tenant, host: "a.skep.internal".into() };
    shared.directory.update(|table| table.apply_control_plane(plane));
    let tenant = shared.directory.tenants().remove(0);
    (source.clone(), Keeper::new(source, reload), shared, tenant)
}

const LONG: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn all_that_come_at_once_wait_for_one_read() {
    let (source, keeper, shared, tenant) = bed(LONG);
    source.set(Ok(Tenancy::new("a").files()));
    let place = &tenant.tunnel_within(&shared.config.tunnel).identity;
    let all = join_all((0..20).map(|_| keeper.tenant(&tenant, place))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(source.reads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_missing_secret_is_not_asked_for_by_everybody_who_knocks() {
    let (source, keeper, shared, tenant) = bed(LONG);
    let place = &tenant.tunnel_within(&shared.config.tunnel).identity;
    for _ in 0..10 {
        let error = keeper.tenant(&tenant, place).await.unwrap_err();
        assert_eq!(error, IdentityError::Missing("ns-a".into()));
    }
    assert_eq!(source.reads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_was_good_goes_on_when_the_cell_is_away() {
    let (source, keeper, shared, tenant) = bed(Duration::ZERO);
    let place = &tenant.tunnel_within(&shared.config.tunnel).identity;
    source.set(Ok(Tenancy::new("a").files()));
    let first = keeper.tenant(&tenant, place).await.unwrap();
    source.set(Err(IdentityError::Unreadable { object: "x".into(), reason: "away".into() }));
    assert!(Arc::ptr_eq(&keeper.tenant(&tenant, place).await.unwrap(), &first));
    source.set(Err(IdentityError::Missing("x".into())));
    assert!(keeper.tenant(&tenant, place).await.is_err(), "a Secret that was deleted is gone");
}

#[tokio::test]
async fn new_files_are_taken_over_and_the_same_files_are_the_same() {
    let (source, keeper, shared, tenant) = bed(Duration::ZERO);
    let place = &tenant.tunnel_within(&shared.config.tunnel).identity;
    let files = Tenancy::new("a").files();
    source.set(Ok(files.clone()));
    let first = keeper.tenant(&tenant, place).await.unwrap();
    source.set(Ok(files));
    assert!(Arc::ptr_eq(&keeper.tenant(&tenant, place).await.unwrap(), &first));
    source.set(Ok(Tenancy::new("a").files()));
    assert!(!Arc::ptr_eq(&keeper.tenant(&tenant, place).await.unwrap(), &first));
    assert_eq!(source.reads.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn there_is_a_door_only_with_its_secret() {
    let (source, keeper, ..) = bed(LONG);
    assert!(keeper.door().await.unwrap().is_none());
    *keeper.door.lock().await = None;
    *source.door.lock().unwrap() = Some(Tenancy::new("a").files());
    let door = keeper.door().await.unwrap();
    assert_eq!(door.as_ref().as_ref().unwrap().names(), ["tunnel.a"]);
}
