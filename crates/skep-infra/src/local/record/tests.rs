use proptest::prelude::*;

use super::*;

fn limits() -> Limits {
    Limits { cpu_milli: 1000, memory_bytes: 1 << 30, pids: 1000 }
}

fn wanted<'a>(uid: &'a str, zone: &'a str) -> Wanted<'a> {
    Wanted { uid, name: uid, zone, limits: limits() }
}

#[test]
fn a_record_is_found_again() {
    let data = tempfile::tempdir().unwrap();
    let (book, hands) = (Book::new(data.path()), Hands::default());
    assert_eq!(book.all().unwrap(), []);
    assert_eq!(book.read("m1").unwrap(), None);
    files::make_dir(&data.path().join("machines"), 0o700).unwrap();
    let network = Network::numbered(7);
    let mut first = book.create(&hands, &network, &wanted("m1", "a")).unwrap();
    assert_eq!(first.address.to_string(), "198.19.7.2");
    let second = book.create(&hands, &network, &wanted("m2", "b")).unwrap();
    assert_eq!((second.address.to_string().as_str(), second.zone_number), ("198.19.7.3", 2));
    first.deleting = true;
    book.update(&hands, &first).unwrap();
    assert_eq!(book.read("m1").unwrap().unwrap(), first);
    assert_eq!(book.all().unwrap().len(), 2);
    book.update(&hands, &second).unwrap();
    hands.rename(&book.dir("m1"), &book.gone("m1")).unwrap();
    assert_eq!(book.read("m1").unwrap(), None);
    assert_eq!(book.all_gone().unwrap(), ["m1"]);
    assert_eq!(book.all().unwrap(), [second]);
}

#[test]
fn a_killed_creation_leaves_no_machine() {
    let data = tempfile::tempdir().unwrap();
    let (book, hands) = (Book::new(data.path()), Hands::default());
    let half = data.path().join("machines/.new-m1");
    files::make_dir(&half, 0o700).unwrap();
    fs::write(half.join(FILE), "{").unwrap();
    assert_eq!(book.all().unwrap(), []);
    assert_eq!(book.all_unborn().unwrap(), [half]);
    book.create(&hands, &Network::numbered(7), &wanted("m1", "a")).unwrap();
    assert!(book.all_unborn().unwrap().is_empty());
}

#[test]
fn a_record_of_another_machine_or_format_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let (book, hands) = (Book::new(data.path()), Hands::default());
    files::make_dir(&data.path().join("machines"), 0o700).unwrap();
    book.create(&hands, &Network::numbered(7), &wanted("m1", "a")).unwrap();
    fs::rename(book.dir("m1"), book.dir("m2")).unwrap();
    let error = book.read("m2").unwrap_err();
    assert!(error.to_string().contains("it is the record of m1"), "{error}");
    let path = book.dir("m2").join(FILE);
    let text = fs::read_to_string(&path).unwrap().replace("\"format\": 1", "\"format\": 9");
    fs::write(&path, text).unwrap();
    let error = book.all().unwrap_err();
    assert!(error.to_string().contains("its format is 9"), "{error}");
}

#[test]
fn a_full_network_says_so() {
    let network = Network::numbered(7);
    let mut records: Vec<Record> = Vec::new();
    for number in 0..253 {
        let uid = format!("m{number}");
        records.push(lease(&records, &network, &wanted(&uid, "a")).unwrap());
    }
    let error = lease(&records, &network, &wanted("one-more", "a")).unwrap_err();
    assert_eq!(error.to_string(), "no address is free for machine one-more: 198.19.7.0/24 has 253 machines");
}

proptest! {
    /// Machines come and go in any order: what is leased never meets, and zones keep their number while they have machines.
    #[test]
    fn leases_never_meet(events in prop::collection::vec((0_u8..40, 0_u8..4), 1..120)) {
        let network = Network::numbered(7);
        let mut records: Vec<Record> = Vec::new();
        for (machine, zone) in events {
            let uid = format!("{machine:08x}-0000-4000-8000-000000000000");
            if records.iter().any(|record| record.uid == uid) {
                records.retain(|record| record.uid != uid);
                continue;
            }
            let zone = format!("zone-{zone}");
            let new = lease(&records, &network, &wanted(&uid, &zone)).unwrap();
            prop_assert!(network.net.contains(&new.address));
            prop_assert!(new.address != network.gateway() && new.address != network.net.broadcast());
            for old in &records {
                prop_assert!(old.address != new.address && old.short != new.short);
                prop_assert_eq!(old.zone == new.zone, old.zone_number == new.zone_number);
            }
            records.push(new);
        }
    }
}
