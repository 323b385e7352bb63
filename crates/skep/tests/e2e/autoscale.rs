//! Upstream's cluster-autoscaler as a component of a cluster, on hollow nodes.

use std::fs;

use serde_json::Value;

use crate::installation::{Installation, eventually};

/// Two classes, one dearer; a cluster that asks for an autoscaler with short times; a pool of each class.
const OBJECTS: &str = r#"
apiVersion: skep.dev/v1alpha1
kind: MachineClass
metadata: {name: dear}
spec: {provider: Hollow, capacity: {cpu: "4", memory: 16Gi, ephemeralStorage: 100Gi, pods: 110}, zones: [a], hourlyPrice: "2"}
---
apiVersion: skep.dev/v1alpha1
kind: MachineClass
metadata: {name: cheap}
spec: {provider: Hollow, capacity: {cpu: "4", memory: 16Gi, ephemeralStorage: 100Gi, pods: 110}, zones: [a], hourlyPrice: "1"}
---
apiVersion: skep.dev/v1alpha1
kind: Cluster
metadata: {name: auto, namespace: default}
spec:
  components: {autoscaler: Managed, dns: "Off", metrics: "Off"}
  flags:
    autoscaler:
    - {name: scan-interval, value: 1s}
    - {name: scale-down-unneeded-time, value: 3s}
    - {name: scale-down-delay-after-add, value: 3s}
    - {name: scale-down-delay-after-delete, value: 0s}
    - {name: unremovable-node-recheck-timeout, value: 2s}
    - {name: node-info-cache-expire-time, value: 1m}
---
apiVersion: skep.dev/v1alpha1
kind: NodePool
metadata: {name: dear, namespace: default}
spec: {cluster: auto, scaling: {min: 0, max: 4}, template: {machineClass: dear}}
---
apiVersion: skep.dev/v1alpha1
kind: NodePool
metadata: {name: cheap, namespace: default}
spec: {cluster: auto, scaling: {min: 0, max: 4}, template: {machineClass: cheap}}
"#;

/// Three pods, of which a node has room for one.
const PODS: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: work, namespace: default}
spec:
  replicas: 3
  selector: {matchLabels: {app: work}}
  template:
    metadata: {labels: {app: work}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: work, image: example.org/work:1, resources: {requests: {cpu: '3'}}}]
";

/// Reason and message of the component's condition.
fn said(shared: &Installation) -> Option<(String, String)> {
    let cluster = shared.json("get clusters auto -o json");
    let conditions = cluster["status"]["conditions"].as_array()?.clone();
    let one = conditions.into_iter().find(|one| one["type"] == "AutoscalerReady")?;
    Some((one["reason"].as_str()?.to_owned(), one["message"].as_str()?.to_owned()))
}

fn machines(shared: &Installation, pool: &str) -> Vec<String> {
    let all = shared.json(&format!("kubectl get machines -l skep.dev/pool={pool} -o json"));
    let names = all["items"].as_array().cloned().unwrap_or_default();
    names.iter().filter_map(|one| one["metadata"]["name"].as_str().map(str::to_owned)).collect()
}

/// Reasons and words of the expander on a pool.
fn explained(shared: &Installation, pool: &str) -> String {
    let events = shared.json("kubectl get events.events.k8s.io -o json");
    let of_pool = |event: &&Value| {
        event["regarding"]["kind"] == "NodePool"
            && event["regarding"]["name"] == pool
            && event["action"] == "Expand"
    };
    let all = events["items"].as_array().cloned().unwrap_or_default();
    let words = all.iter().filter(of_pool).map(|event| format!("{} {}\n", event["reason"], event["note"]));
    words.collect()
}

/// Pods without a place bring nodes, of the cheaper pool; when they go, exactly those nodes go.
pub fn pods_bring_nodes_and_take_them_along(shared: &Installation) {
    let file = shared.file("autoscale.yaml");
    fs::write(&file, OBJECTS).unwrap();
    shared.kubectl(&format!("apply -f {}", file.display()));
    shared.skep("wait cluster auto --for=ready --timeout 5m");

    let (reason, message) = eventually("it runs, or says what it lacks", || {
        said(shared).filter(|(reason, _)| ["Running", "ImageUnavailable"].contains(&reason.as_str()))
    });
    let there = reason == "Running";
    if there {
        scale(shared);
    } else {
        println!("LEFT OUT: cluster-autoscaler itself: {message}");
        assert!(message.contains("SKEP_ENGINE_PATH"), "{message}");
        assert_eq!(machines(shared, "cheap"), [] as [String; 0]);
    }

    // Flags that would lead it elsewhere are refused, and it goes on as it was.
    let patch = r#"{"spec":{"flags":{"autoscaler":[{"name":"cloud-config","value":"/x"}]}}}"#;
    shared.kubectl(&format!("patch cluster auto --type=merge -p={patch}"));
    let refused =
        eventually("the flag is refused", || said(shared).filter(|(reason, _)| reason == "FlagNotAllowed"));
    assert!(refused.1.contains("cloud-config"), "{}", refused.1);

    // Who no longer asks for it has nothing of it left.
    let tenant = shared.json("get clusters auto -o json")["status"]["tenant"].as_str().unwrap().to_owned();
    let role = "get clusterrolebindings -o name --field-selector=metadata.name=skep:cluster-autoscaler";
    assert!(shared.tenant("auto", role).contains("skep:cluster-autoscaler"));
    shared.kubectl(r#"patch cluster auto --type=merge -p={"spec":{"components":{"autoscaler":"Off"}}}"#);
    eventually("the condition is gone", || said(shared).is_none().then_some(()));
    let objects = format!(
        "-n {tenant} get deployments,secrets,networkpolicies -l skep.dev/component=cluster-autoscaler -o name"
    );
    assert_eq!(shared.kubectl(&objects), "");
    assert_eq!(shared.tenant("auto", role), "");
    for pool in ["dear", "cheap"] {
        shared.skep(&format!("delete nodepool {pool}"));
        shared.kubectl(&format!("delete machineclass {pool}"));
    }
    shared.skep("delete cluster auto");
}

fn scale(shared: &Installation) {
    let file = shared.file("work.yaml");
    fs::write(&file, PODS).unwrap();
    shared.tenant("auto", &format!("apply -f {}", file.display()));
    shared.tenant("auto", "rollout status deployment work --timeout=90s");
    let cheap = machines(shared, "cheap");
    assert_eq!((cheap.len(), machines(shared, "dear").len()), (3, 0));
    let (kept, passed) = (explained(shared, "cheap"), explained(shared, "dear"));
    assert!(kept.contains("ExpansionPossible"), "{kept}");
    assert!(passed.contains("ExpansionPassedOver") && passed.contains("cost"), "{passed}");
    println!("{kept}{passed}");

    // One of three is enough: the pods that are left say which.
    shared.tenant("auto", "scale deployment work --replicas=1");
    let stays = eventually("one pod is left", || {
        let nodes = shared.tenant("auto", "get pods -l app=work -o jsonpath={.items[*].spec.nodeName}");
        let nodes: Vec<&str> = nodes.split_whitespace().collect();
        (nodes.len() == 1).then(|| nodes[0].to_owned())
    });
    eventually("the idle machines are gone", || (machines(shared, "cheap") == [stays.clone()]).then_some(()));
    shared.tenant("auto", "delete deployment work");
    eventually("none is left", || machines(shared, "cheap").is_empty().then_some(()));
    let pool = shared.json("get nodepools cheap -o json");
    assert_eq!(pool["spec"]["replicas"], 0, "{pool:#}");
}
