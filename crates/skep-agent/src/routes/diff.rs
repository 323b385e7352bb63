//! From what is to what should be. Pure.

use std::collections::BTreeSet;

use super::entry::{Entry, Line};

/// What the kernel must be told, in this order: nothing points at what is gone or not there yet.
pub(super) fn diff(desired: &BTreeSet<Entry>, actual: &BTreeSet<Entry>) -> Vec<Line> {
    let keys: BTreeSet<_> = desired.iter().map(Entry::key).collect();
    // What has another entry under the same key is replaced in one step. Routes come last in the order of entries: they
    // are removed first and set last.
    let removed = actual.iter().rev().filter(|entry| !keys.contains(&entry.key())).map(Entry::remove);
    let set = desired.iter().filter(|entry| !actual.contains(entry)).map(Entry::set);
    removed.chain(set).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, net::Ipv4Addr};

    use ipnet::Ipv4Net;

    use super::*;
    use crate::routes::{entry::Route, vxlan::Mac};

    fn route(third: u8, via: u8) -> Entry {
        let range = Ipv4Net::new(Ipv4Addr::new(10, 244, third, 0), 24).unwrap();
        Entry::Route(Route { range, via: Ipv4Addr::new(198, 19, 3, via), device: "eth0".into() })
    }

    fn neighbour(third: u8, node: u8) -> Entry {
        Entry::Neighbour(Ipv4Addr::new(10, 244, third, 0), Mac::of(Ipv4Addr::new(198, 19, 3, node)))
    }

    fn set<const N: usize>(entries: [Entry; N]) -> BTreeSet<Entry> {
        entries.into()
    }

    #[test]
    fn what_is_right_is_left_alone() {
        let same = set([route(1, 8), neighbour(1, 8)]);
        assert_eq!(diff(&same, &same), []);
        assert_eq!(diff(&BTreeSet::new(), &BTreeSet::new()), []);
    }

    #[test]
    fn what_is_gone_goes_and_what_changed_is_replaced_in_one_step() {
        let lines = diff(&set([route(1, 9), route(3, 5)]), &set([route(1, 8), route(2, 8)]));
        let lines: Vec<String> = lines.into_iter().map(|line| format!("{line:?}")).collect();
        assert_eq!(
            lines,
            [
                r#"Ip("route del 10.244.2.0/24 via 198.19.3.8 dev eth0 proto 83")"#,
                r#"Ip("route replace 10.244.1.0/24 via 198.19.3.9 dev eth0 proto 83")"#,
                r#"Ip("route replace 10.244.3.0/24 via 198.19.3.5 dev eth0 proto 83")"#,
            ]
        );
    }

    #[test]
    fn routes_are_removed_first_and_set_last() {
        let entries = set([route(1, 8), neighbour(1, 8)]);
        let starts = |lines: Vec<Line>| {
            lines
                .into_iter()
                .map(|line| match line {
                    Line::Ip(text) | Line::Bridge(text) => text.split(' ').next().unwrap().to_owned(),
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(starts(diff(&entries, &BTreeSet::new())), ["neigh", "route"]);
        assert_eq!(starts(diff(&BTreeSet::new(), &entries)), ["route", "neigh"]);
    }

    /// Does what the lines say, as the kernel would: a key has one entry.
    fn kernel(actual: &BTreeSet<Entry>, lines: &[Line], all: &[Entry]) -> BTreeSet<Entry> {
        let find =
            |line: &Line| all.iter().find(|entry| entry.set() == *line || entry.remove() == *line).unwrap();
        let mut table: BTreeMap<String, Entry> =
            actual.iter().map(|entry| (format!("{:?}", entry.key()), entry.clone())).collect();
        for line in lines {
            let entry = find(line);
            let key = format!("{:?}", entry.key());
            match entry.set() == *line {
                true => drop(table.insert(key, entry.clone())),
                false => assert!(table.remove(&key).is_some(), "{line:?} removes what is not there"),
            }
        }
        table.into_values().collect()
    }

    #[test]
    fn from_any_state_the_wanted_one_is_reached() {
        let all: Vec<Entry> = (0..2)
            .flat_map(|third| (8..10).flat_map(move |node| [route(third, node), neighbour(third, node)]))
            .collect();
        // Of entries with the same key at most one.
        let states: Vec<BTreeSet<Entry>> = (0..1_u32 << all.len())
            .map(|bits| {
                all.iter()
                    .enumerate()
                    .filter(|(n, _)| bits & (1 << n) != 0)
                    .map(|(_, e)| e.clone())
                    .collect::<BTreeSet<_>>()
            })
            .filter(|state| state.iter().map(Entry::key).collect::<BTreeSet<_>>().len() == state.len())
            .collect();
        assert_eq!(states.len(), 81);
        for actual in &states {
            for desired in &states {
                let lines = diff(desired, actual);
                assert_eq!(kernel(actual, &lines, &all), *desired, "{actual:?} → {lines:?}");
            }
        }
    }
}
