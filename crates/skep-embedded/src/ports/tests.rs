use super::*;

fn choose(old: &Ports, keep: &[Purpose], free: impl Fn(u16) -> bool) -> Ports {
    old.choose(&keep.iter().copied().collect(), Path::new("/data/a"), free).unwrap()
}

#[test]
fn every_purpose_gets_a_port_of_its_own_outside_the_range_of_outgoing_connections() {
    let ports = choose(&Ports::default(), &[], |_| true);
    let all: BTreeSet<u16> = Purpose::ALL.iter().map(|purpose| ports.get(*purpose).unwrap()).collect();
    assert_eq!(all.len(), Purpose::ALL.len());
    assert!(all.iter().all(|port| RANGE.contains(port)));
}

#[test]
fn free_ports_are_remembered_and_only_taken_ones_change() {
    let old = choose(&Ports::default(), &[], |_| true);
    assert_eq!(choose(&old, &[], |_| true), old);
    let taken = old.get(Purpose::Gateway).unwrap();
    let new = choose(&old, &[], |port| port != taken);
    for purpose in Purpose::ALL {
        assert_eq!(new.get(purpose) == old.get(purpose), purpose != Purpose::Gateway, "{purpose:?}");
    }
    let kept = choose(&old, &[Purpose::Gateway], |port| port != taken);
    assert_eq!(kept, old, "a port that our own process has is not free but ours");
}

#[test]
fn nothing_free_is_an_error_that_names_the_range() {
    let error = Ports::default().choose(&BTreeSet::new(), Path::new("/"), |_| false).unwrap_err();
    assert!(error.to_string().contains("20000"), "{error}");
}

#[test]
fn the_search_visits_every_port_once() {
    let all: Vec<u16> = from(Path::new("/data/b")).collect();
    assert_eq!(all.len(), RANGE.len());
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), RANGE.len());
}

#[test]
fn a_port_with_a_listener_is_not_free() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    assert!(!is_free(port));
    drop(listener);
    assert!(is_free(port));
}

#[test]
fn the_remembered_form_is_stable() {
    let ports = choose(&Ports::default(), &[], |_| true);
    let text = serde_json::to_string(&ports).unwrap();
    assert!(text.contains("\"api-server\":"), "{text}");
    assert_eq!(serde_json::from_str::<Ports>(&text).unwrap(), ports);
}
