//! The two controllers, and who wakes whom.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use skep_api::condition::{self, ConditionType};
use skep_api::machine::MachinePhase;
use skep_api::{Cluster, ControlPlane, Machine, MachineClass, NodePool, Release, labels};
use skep_kubeops::watch::Select;
use skep_kubeops::{Cache, Controller, Key, Observed, Targets, Trigger};
use tokio_util::sync::CancellationToken;

use crate::{Caches, Config, MachineReconciler, NodePoolReconciler};

/// Machines worked on at once. Each waits for a tenant and an infrastructure most of the time.
const MACHINES: usize = 32;

/// Runs both controllers until `shutdown`; each lets its running passes end.
pub async fn run(config: Config, shutdown: CancellationToken) {
    let caches = Caches::default();
    let pools = Trigger::new();
    tokio::join!(
        run_machines(&config, &caches, pools.clone(), shutdown.clone()),
        run_pools(&config, &caches, pools, shutdown),
    );
}

async fn run_machines(config: &Config, caches: &Caches, pools: Trigger, shutdown: CancellationToken) {
    let (observed, trigger) = (Observed::default(), Trigger::new());
    let reconciler =
        MachineReconciler::new(config.clone(), caches.clone(), observed.clone(), trigger.clone());
    let machines = &caches.machines;
    // What both controllers read is watched here once; pools are called for from here.
    let (of_clusters, of_planes) = (machines.clone(), machines.clone());
    let (of_secrets, of_classes, of_pools) = (machines.clone(), machines.clone(), machines.clone());
    let (on_cluster, on_plane) = (Pools::new(caches, &pools), Pools::new(caches, &pools));
    let (on_class, on_release) = (pools.clone(), pools);
    let controller = Controller::new(reconciler, config.client.clone())
        .observed(&observed)
        .objects(machines)
        .relates::<Secret>(Select::labels(kubeconfigs()), move |meta| of_kubeconfig(&of_secrets, meta))
        .caches::<Cluster>(Select::all(), &caches.clusters, move |cluster| {
            let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
            on_cluster.wake(&namespace, &name);
            unsettled(&of_clusters, &namespace, &name)
        })
        .caches::<ControlPlane>(Select::all(), &caches.control_planes, move |object| {
            let cluster = &object.spec.cluster;
            on_plane.wake(&cluster.namespace, &cluster.name);
            unsettled(&of_planes, &cluster.namespace, &cluster.name)
        })
        .caches::<MachineClass>(Select::all(), &caches.classes, move |class| {
            on_class.all();
            // What runs is left as it is when its class changes.
            let name = class.name_any();
            waiting(&of_classes, |machine| machine.spec.template.machine_class == name)
        })
        .caches::<Release>(Select::all(), &caches.releases, move |_| {
            on_release.all();
            Targets::None
        })
        .caches::<NodePool>(Select::all(), &caches.machine_pools, move |pool| ordered(&of_pools, pool))
        .triggered_by(&trigger)
        .concurrency(MACHINES)
        .metrics(&config.metrics)
        .events(&config.recorder)
        .run(shutdown);
    tokio::select! {
        () = controller => {}
        () = hear(config, machines, &trigger) => {}
    }
}

/// Calls for each machine whose infrastructure says that it has ended. Never returns.
async fn hear(config: &Config, machines: &Cache<Machine>, trigger: &Trigger) {
    let each = config.infrastructures.values().flatten().map(|infrastructure| async {
        loop {
            let uid = infrastructure.provider.ended().await;
            let ended = machines.select(|machine| machine.metadata.uid.as_deref() == Some(&*uid));
            ended.iter().for_each(|machine| trigger.one(Key::of(&**machine)));
        }
    });
    futures::future::join_all(each).await;
    // Where there is no infrastructure there is nobody to hear.
    std::future::pending().await
}

async fn run_pools(config: &Config, caches: &Caches, trigger: Trigger, shutdown: CancellationToken) {
    let reconciler = NodePoolReconciler::new(config.clone(), caches.clone());
    let pooled =
        Select::labels(format!("{}={},{}", labels::MANAGED_BY, labels::MANAGED_BY_SKEP, labels::POOL));
    Controller::new(reconciler, config.client.clone())
        .objects(&caches.pools)
        .caches::<Machine>(pooled, &caches.pool_machines, |machine| {
            let pool = machine.labels().get(labels::POOL);
            pool.map(|pool| Key::namespaced(machine.namespace().unwrap_or_default(), pool.as_str())).into()
        })
        .triggered_by(&trigger)
        .metrics(&config.metrics)
        .events(&config.recorder)
        .run(shutdown)
        .await;
}

/// The pools of a cluster, to be called for.
struct Pools {
    pools: Cache<NodePool>,
    trigger: Trigger,
}

impl Pools {
    fn new(caches: &Caches, trigger: &Trigger) -> Self {
        Self { pools: caches.pools.clone(), trigger: trigger.clone() }
    }

    fn wake(&self, namespace: &str, cluster: &str) {
        let joins = |pool: &NodePool| {
            pool.spec.cluster == cluster && pool.metadata.namespace.as_deref() == Some(namespace)
        };
        self.pools.select(joins).iter().for_each(|pool| self.trigger.one(Key::of(&**pool)));
    }
}

/// Selector of the Secrets with kubeconfigs, as the hub labels them for Cluster API's tools.
fn kubeconfigs() -> String {
    format!("{}={},cluster.x-k8s.io/cluster-name", labels::MANAGED_BY, labels::MANAGED_BY_SKEP)
}

fn of_kubeconfig(machines: &Cache<Machine>, meta: &ObjectMeta) -> Targets {
    let cluster = meta.labels.as_ref().and_then(|labels| labels.get(labels::CLUSTER));
    match (meta.namespace.as_deref(), cluster) {
        (Some(namespace), Some(cluster)) => of_cluster(machines, namespace, cluster),
        _ => Targets::None,
    }
}

fn of_cluster(machines: &Cache<Machine>, namespace: &str, cluster: &str) -> Targets {
    let joins = |machine: &Machine| {
        machine.spec.cluster == cluster && machine.metadata.namespace.as_deref() == Some(namespace)
    };
    keys(machines, joins)
}

/// Machines that may wait for something of their cluster.
fn unsettled(machines: &Cache<Machine>, namespace: &str, cluster: &str) -> Targets {
    keys(machines, |machine| {
        machine.spec.cluster == cluster
            && machine.metadata.namespace.as_deref() == Some(namespace)
            && !is_settled(machine)
    })
}

/// Whether a machine waits for nothing: it runs and its node is ready. There may be thousands of those. One that is found
/// stopped while its cluster does not serve keeps the phase it had, and is started when the cluster does.
fn is_settled(machine: &Machine) -> bool {
    machine.metadata.deletion_timestamp.is_none()
        && machine.status.as_ref().is_some_and(|status| {
            status.phase == Some(MachinePhase::Ready)
                && condition::is_true(&status.conditions, ConditionType::MachineReady)
        })
}

/// Machines that are not accepted, or not yet.
fn waiting(machines: &Cache<Machine>, wanted: impl Fn(&Machine) -> bool) -> Targets {
    let accepted = |machine: &Machine| {
        let status = machine.status.as_ref();
        status.is_some_and(|status| condition::is_true(&status.conditions, ConditionType::Accepted))
    };
    keys(machines, |machine| wanted(machine) && !accepted(machine))
}

/// Machines that a pool has ordered the repair of.
fn ordered(machines: &Cache<Machine>, pool: &NodePool) -> Targets {
    let orders = pool.status.as_ref().map(|status| status.repairs.as_slice()).unwrap_or_default();
    let namespace = pool.namespace().unwrap_or_default();
    let open = |name: &str| {
        let machine = machines.get(&Key::namespaced(namespace.as_str(), name))?;
        crate::repair::open_order(pool, &machine).map(|_| Key::of(&*machine))
    };
    Targets::Many(orders.iter().filter_map(|order| open(&order.machine)).collect())
}

fn keys(machines: &Cache<Machine>, wanted: impl Fn(&Machine) -> bool) -> Targets {
    Targets::Many(machines.select(wanted).iter().map(|machine| Key::of(&**machine)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_machine_that_stands_still_is_not_settled_whatever_its_node_said() {
        let machine = |phase: &str, runs: &str| -> Machine {
            serde_json::from_value(json!({
                "apiVersion": "skep.dev/v1alpha1", "kind": "Machine", "metadata": {"name": "a", "namespace": "n"},
                "spec": {"cluster": "c", "zone": "a", "template": {"machineClass": "m"}},
                "status": {"phase": phase, "conditions": [{"type": "MachineReady", "status": runs, "reason": "R",
                    "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
            }))
            .unwrap()
        };
        assert!(is_settled(&machine("Ready", "True")));
        assert!(!is_settled(&machine("Ready", "False")));
        assert!(!is_settled(&machine("NotReady", "True")));
        let mut leaving = machine("Ready", "True");
        leaving.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert!(!is_settled(&leaving));
    }
}
