//! A tenant's cluster with real nodes as a cell: real kubelets run the control planes of tenants in it.

use std::time::Instant;

use crate::{
    clusters,
    hub::Hub,
    installation::{Installation, eventually, kill},
    kills, nodes, nodes_brought, parts,
};

/// What passes on an installation passes in a cell that is a cluster of it.
pub fn kube_on_kube(shared: &Installation) {
    if let Some(missing) = nodes::missing() {
        println!("LEFT OUT: kube on kube: {missing}");
        return;
    }
    shared.skep("create cluster cell");
    let refused = shared.fails(1, "cell join cell");
    assert!(refused.contains("SKEP-3015") && refused.contains("none is ready"), "{refused}");
    shared.skep("create nodepool hosts -c cell --class local-medium --replicas 2 --timeout 30m");
    let machines = nodes::uids(&shared.json("get machines -o json"));
    assert_eq!(nodes::left(&machines), 2);
    print!("{}", shared.skep("cell join cell"));
    // Again is no change.
    print!("{}", shared.skep("cell join cell"));

    let cell = shared.cell("cell");
    step("create and use", || clusters::create_and_use(&cell));
    step("refusals", || clusters::what_cannot_be_is_refused_with_what_can(&cell));
    step("resize", || clusters::a_resize_loses_no_request(&cell));
    cell.tenant("demo", "create configmap kept --from-literal=a=b");
    step("kill -9 of tenants' programs", || kills::each_program_of_tenants(&cell));
    let hosts = shared.json("get machines -l skep.dev/pool=hosts -o json");
    let beside = hosts["items"][0]["status"]["address"].as_str().unwrap().to_owned();
    step("a machine that somebody brings, and kill -9 of the cell's programs", || {
        nodes_brought::to_a_cell(&cell, &beside, || programs_of_the_cell(&cell));
    });
    step("version change", || clusters::a_version_change_loses_no_request(&cell));
    // With the installation, the machines go and come back, and all that runs on them.
    step("down and up", || {
        shared.down();
        shared.up();
        shared.skep("wait nodepool hosts --timeout 3m");
        kills::works(&cell, "after-up");
    });
    step("delete", || clusters::delete_leaves_nothing(&cell));
    parts::nobody_was_refused(&cell);
    shared.skep("delete cluster cell --timeout 5m");
    eventually("nothing of it is on this host", || (nodes::left(&machines) == 0).then_some(()));
}

fn step(name: &str, scenario: impl FnOnce()) {
    let began = Instant::now();
    scenario();
    println!("  in the cell: {name} ({:.1} s)", began.elapsed().as_secs_f64());
}

/// Operator and gateway are pods: another container takes over, and nobody notices.
fn programs_of_the_cell(cell: &Hub) {
    for program in ["operator", "gateway", "volumes"] {
        let before = cell.container(program);
        assert_eq!(before.len(), 2, "{program}");
        before.iter().for_each(|pid| kill(*pid));
        eventually(program, || {
            let now = cell.container(program);
            (now.len() == 2 && now.iter().all(|pid| !before.contains(pid))).then_some(())
        });
        kills::works(cell, &format!("cell-{program}"));
    }
}
