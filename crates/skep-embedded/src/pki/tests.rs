use std::os::unix::fs::PermissionsExt;

use super::*;

fn layout() -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::resolve(Some(&dir.path().join("data"))).unwrap();
    layout.prepare().unwrap();
    layout.prepare_inside().unwrap();
    (dir, layout)
}

fn nodes(address: [u8; 4]) -> Vec<IpAddr> {
    vec![address.into()]
}

fn now() -> Timestamp {
    "2026-11-21T00:00:00Z".parse().unwrap()
}

fn years(n: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() + n * 365 * 86_400).unwrap()
}

fn issued(pki: &Pki) -> Vec<&str> {
    pki.issued.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn a_second_start_issues_nothing() {
    let (_dir, layout) = layout();
    let first = ensure(&layout, &nodes([127, 64, 255, 1]), true, now()).unwrap();
    assert!(issued(&first).contains(&"admin"));
    let second = ensure(&layout, &nodes([127, 64, 255, 1]), true, now()).unwrap();
    assert_eq!(issued(&second), Vec::<&str>::new());
    assert_eq!(first.authorities(), second.authorities());
}

#[test]
fn keys_are_for_the_owner_only() {
    let (_dir, layout) = layout();
    ensure(&layout, &nodes([127, 64, 255, 1]), true, now()).unwrap();
    for entry in fs::read_dir(layout.pki()).unwrap().flatten() {
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.path());
    }
}

#[test]
fn another_address_of_a_node_issues_the_serving_certificate_only() {
    let (_dir, layout) = layout();
    ensure(&layout, &nodes([127, 64, 255, 1]), true, now()).unwrap();
    let moved = ensure(&layout, &nodes([127, 65, 255, 1]), true, now()).unwrap();
    assert_eq!(issued(&moved), ["nodes-endpoint"]);
}

#[test]
fn leaves_are_renewed_in_time_and_authorities_only_at_a_start() {
    let (_dir, layout) = layout();
    let first = ensure(&layout, &nodes([127, 64, 255, 1]), true, now()).unwrap();
    assert!(first.renewal < years(1), "renewal before the end of life");
    let second = ensure(&layout, &nodes([127, 64, 255, 1]), false, first.renewal).unwrap();
    assert!(!second.issued.is_empty());
    assert_eq!(first.authorities(), second.authorities());
    let running = ensure(&layout, &nodes([127, 64, 255, 1]), false, years(9)).unwrap();
    assert_eq!(first.authorities(), running.authorities());
    let restarted = ensure(&layout, &nodes([127, 64, 255, 1]), true, years(9)).unwrap();
    assert_ne!(first.authorities(), restarted.authorities());
    assert!(issued(&restarted).contains(&"admin") && issued(&restarted).contains(&"hub-ca"));
}

#[test]
fn the_key_of_stored_secrets_is_never_replaced() {
    let (_dir, layout) = layout();
    let pki = ensure(&layout, &nodes([127, 64, 255, 1]), true, now()).unwrap();
    let read = || (fs::read(pki.encryption()).unwrap(), fs::read(pki.service_account_key()).unwrap());
    let before = read();
    ensure(&layout, &nodes([127, 64, 255, 1]), true, years(9)).unwrap();
    assert_eq!(before, read());
}

#[test]
fn a_torn_pair_is_issued_again_and_a_damaged_authority_is_an_error() {
    let (_dir, layout) = layout();
    ensure(&layout, &nodes([127, 64, 255, 1]), true, now()).unwrap();
    fs::copy(layout.pki().join("operator.key"), layout.pki().join("gateway.key")).unwrap();
    let again = ensure(&layout, &nodes([127, 64, 255, 1]), true, now()).unwrap();
    assert_eq!(issued(&again), ["gateway"]);
    fs::write(layout.pki().join("hub-ca.crt"), "not a certificate").unwrap();
    let error = ensure(&layout, &nodes([127, 64, 255, 1]), true, now()).unwrap_err();
    assert_eq!(error.code().to_string(), "SKEP-2016");
}

#[test]
fn kubeconfigs_of_programs_name_files_and_the_others_hold_everything() {
    let (_dir, layout) = layout();
    let pki = ensure(&layout, &nodes([127, 64, 255, 1]), true, now()).unwrap();
    let with_files = pki.kubeconfig_with_files(name::SCHEDULER, "https://127.0.0.1:1").unwrap();
    assert!(with_files.contains("kube-scheduler.key") && !with_files.contains("client-key-data"));
    let inline = Kubeconfig::parse(&pki.kubeconfig(name::ADMIN, "https://127.0.0.1:1").unwrap()).unwrap();
    assert!(inline.is_self_contained());
    assert!(pki.kubeconfig("nobody", "https://127.0.0.1:1").is_err());
}
