//! Once against the real thing: scheduler, controllers and validation are upstream's.

use std::process::Stdio;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};
use skep_testkit::{ApiServer, Options};

use crate::harness::{Running, node, quick, until};

fn template(restart: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "x"}},
        "spec": {
            "restartPolicy": restart, "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": "example.com/x:1"}],
        },
    })
}

#[tokio::test]
async fn a_real_cluster_takes_hollow_nodes_for_nodes() {
    let server = ApiServer::start(Options { reach_nodes: true, ..Options::whole() }).await.unwrap();
    let client = server.client().await.unwrap();
    let namespace = server.namespace(&client, "hollow").await.unwrap();
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), &namespace);
    until("the default service account", || async { accounts.get_opt("default").await.unwrap() }).await;
    let mut config = quick();
    config.timings.run = skep_vnode::hollow::Spread::fixed(500);
    let fleet = Running::start(client.clone(), config, (0..3).map(|n| node(&format!("h-{n}"))).collect());

    let deployments = Api::<Deployment>::namespaced(client.clone(), &namespace);
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {"replicas": 6, "selector": {"matchLabels": {"app": "x"}}, "template": template("Always")},
    }))
    .unwrap();
    deployments.create(&PostParams::default(), &deployment).await.unwrap();
    until("the deployment to be available", || async {
        let status = deployments.get("web").await.unwrap().status?;
        (status.available_replicas == Some(6)).then_some(())
    })
    .await;
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.unwrap().items;
    let hollow = |node: &Node| node.status.as_ref().unwrap().node_info.as_ref().unwrap().os_image == "hollow";
    assert!(nodes.len() == 3 && nodes.iter().all(hollow));
    let untainted = |node: &Node| node.spec.as_ref().is_none_or(|spec| spec.taints.is_none());
    until("the controller to take its taints away", || async {
        let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.unwrap().items;
        nodes.iter().all(untainted).then_some(())
    })
    .await;

    let jobs = Api::<Job>::namespaced(client.clone(), &namespace);
    let job: Job = serde_json::from_value(json!({
        "metadata": {"name": "once"}, "spec": {"completions": 3, "parallelism": 3, "template": template("Never")},
    }))
    .unwrap();
    jobs.create(&PostParams::default(), &job).await.unwrap();
    until("the job to complete", || async {
        let status = jobs.get("once").await.unwrap().status?;
        (status.succeeded == Some(3)).then_some(())
    })
    .await;

    // Whoever asks a hollow pod for its logs is told why there are none.
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace);
    let running = ListParams::default().fields("status.phase=Running");
    let pod = pods.list(&running).await.unwrap().items.remove(0).metadata.name.unwrap();
    for arguments in [["logs", &*pod].as_slice(), &["exec", &*pod, "--", "ls"]] {
        let output = tokio::process::Command::new(server.program("kubectl").unwrap())
            .env("KUBECONFIG", server.kubeconfig_path())
            .args(["-n", &namespace])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("hollow-node-has-no-logs-and-no-exec"), "{said}");
    }

    // Nothing of it stays.
    deployments.delete("web", &DeleteParams::default()).await.unwrap();
    jobs.delete("once", &DeleteParams::background()).await.unwrap();
    until("all pods to go", || async {
        pods.list(&ListParams::default()).await.unwrap().items.is_empty().then_some(())
    })
    .await;
    fleet.stop().await;
}
