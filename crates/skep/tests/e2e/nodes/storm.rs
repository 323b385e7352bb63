//! A zone of hollow nodes goes dark and comes back: nothing is repaired there. A single node that goes dark beside it is.

use std::collections::BTreeSet;

use super::{allowed, repairs, uids};
use crate::installation::{Installation, eventually};

/// In three zones.
const NODES: usize = 30;
const POOL: &str = "storm";
const DARK: &str = "skep.dev/hollow=dark --overwrite";
const LIGHT: &str = "skep.dev/hollow=true --overwrite";

pub fn storm(shared: &Installation) {
    shared.skep(&format!(
        "create nodepool {POOL} -c demo --class hollow-small --replicas {NODES} --timeout 2m"
    ));
    shared.kubectl(&format!(
        "patch nodepool {POOL} --type=merge -p={{\"spec\":{{\"repair\":{{\"notReadySeconds\":30}}}}}}"
    ));
    eventually("repair has looked at the pool", || (allowed(shared, POOL).0 == "Idle").then_some(()));
    let before = machines(shared);
    let in_zone = |zone: &str| format!("skep.dev/pool={POOL},topology.kubernetes.io/zone={zone}");
    let zone = shared.tenant("demo", &format!("get nodes -o name -l {}", in_zone("a")));
    assert_eq!(zone.lines().count(), NODES / 3);
    let beside = shared.tenant("demo", &format!("get nodes -o name -l {}", in_zone("b")));
    let beside = beside.lines().next().unwrap().trim_start_matches("node/").to_owned();

    shared.tenant("demo", &format!("label nodes -l {} {DARK}", in_zone("a")));
    shared.tenant("demo", &format!("label node {beside} {DARK}"));
    eventually("they are known to be away", || (ready(shared)? == NODES - NODES / 3 - 1).then_some(()));
    let said = eventually("their time is over", || {
        let (reason, message) = allowed(shared, POOL);
        (reason == "ZoneUnhealthy" && !repairs(shared, POOL).is_empty()).then_some(message)
    });
    assert!(said.contains("zone a"), "{said}");
    let once = vec![(beside.clone(), "Reboot".to_owned())];
    assert_eq!(repairs(shared, POOL), once);

    shared.tenant("demo", &format!("label nodes -l skep.dev/pool={POOL} {LIGHT}"));
    eventually("all are back", || (ready(shared)? == NODES).then_some(()));
    eventually("repair has nothing to do", || (allowed(shared, POOL).0 == "Idle").then_some(()));
    assert_eq!(repairs(shared, POOL), once);
    assert_eq!(machines(shared), before, "none was replaced");
    shared.skep(&format!("delete nodepool {POOL}"));
}

/// Nodes that are ready.
fn ready(shared: &Installation) -> Option<usize> {
    let nodes = shared.try_tenant("demo", &format!("get nodes --no-headers -l skep.dev/pool={POOL}"))?;
    Some(nodes.lines().filter(|line| line.contains(" Ready ")).count())
}

fn machines(shared: &Installation) -> BTreeSet<String> {
    uids(&shared.json(&format!("get machines -l skep.dev/pool={POOL} -o json"))).into_iter().collect()
}
