use skep_api::{ClusterSpec, ClusterStatus, cluster::Phase};
use skep_embedded::catalogue;

use super::*;

fn view<K: Listed>(items: Vec<K>) -> View<K> {
    View { items, single: false, namespaced: true }
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::new("web", ClusterSpec::default());
    cluster.metadata.namespace = Some("team".into());
    cluster.status = Some(ClusterStatus {
        phase: Some(Phase::Ready),
        version: Some("v1.36.3".into()),
        size_class: Some("small".into()),
        tenant: Some("web-abcd2345".into()),
        ..ClusterStatus::default()
    });
    cluster
}

#[test]
fn tables_of_every_kind() {
    let starter = catalogue::starter().unwrap();
    let text = [
        view(vec![cluster()]).table(false).render(),
        view(vec![cluster()]).table(true).render(),
        view(starter.size_classes).table(true).render(),
        view(starter.profiles).table(false).render(),
        view(starter.releases).table(true).render(),
        view(starter.datastores).table(false).render(),
    ]
    .join("\n");
    insta::assert_snapshot!(text);
}

#[test]
fn documents_can_be_applied_again() {
    let one = View { items: vec![cluster()], single: true, namespaced: false }.document().unwrap();
    assert_eq!(
        (one["kind"].as_str(), one["apiVersion"].as_str()),
        (Some("Cluster"), Some("skep.dev/v1alpha1"))
    );
    let all = view(vec![cluster()]).document().unwrap();
    assert_eq!((all["kind"].as_str(), all["items"][0]["kind"].as_str()), (Some("List"), Some("Cluster")));
    assert_eq!(view(vec![cluster()]).names(), ["cluster.skep.dev/web"]);
}

#[test]
fn every_column_has_a_value_in_every_row() {
    fn check<K: Listed>(item: &K) {
        let columns = K::COLUMNS.iter().filter(|column| **column != "|").count();
        assert_eq!(item.cells().len(), columns, "{}", K::kind(&()));
    }
    let starter = catalogue::starter().unwrap();
    check(&cluster());
    check(&starter.size_classes[0]);
    check(&starter.profiles[0]);
    check(&starter.releases[0]);
    check(&starter.datastores[0]);
}
