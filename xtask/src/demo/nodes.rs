//! The part of the demo with nodes: real ones and an application with root, hollow ones without.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde_json::json;
use skep_engine::oci::Layout;

use super::{CLUSTER, Steps};
use crate::{conformance, installation::Installation};

const APP: &str = "web";
/// Questions to the Service at most until every pod has answered one.
const QUESTIONS: usize = 50;

/// kubectl on the tenant.
pub struct Tenant<'a> {
    pub kubectl: &'a Path,
    pub kubeconfig: &'a Path,
}

impl Tenant<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.kubectl);
        command.arg("--kubeconfig").arg(self.kubeconfig).args(args);
        command
    }

    /// Runs kubectl; its output goes where ours goes.
    pub fn run(&self, args: &[&str]) -> anyhow::Result<()> {
        println!("\n$ kubectl {}", args.join(" "));
        let status = self.command(args).status()?;
        anyhow::ensure!(status.success(), "kubectl {} failed: {status}", args.join(" "));
        Ok(())
    }

    fn output(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = self.command(args).stderr(Stdio::inherit()).output()?;
        anyhow::ensure!(output.status.success(), "kubectl {} failed: {}", args.join(" "), output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    fn apply(&self, manifest: &serde_json::Value) -> anyhow::Result<()> {
        let mut child = self.command(&["apply", "-f", "-"]).stdin(Stdio::piped()).spawn()?;
        child.stdin.take().context("kubectl has no input")?.write_all(manifest.to_string().as_bytes())?;
        anyhow::ensure!(child.wait()?.success(), "kubectl apply failed");
        Ok(())
    }
}

/// Hollow nodes: what can be shown without root.
pub fn hollow(steps: &mut Steps, installation: &Installation, tenant: &Tenant<'_>) -> anyhow::Result<()> {
    steps.take("hollow nodes: they exist in the API only, because real ones need root", || {
        pool(installation, "hollow", "hollow-small", "3")?;
        tenant.run(&["get", "nodes", "-o", "wide"])
    })
}

/// Two real nodes, and an application that answers through its Service.
pub async fn real(steps: &mut Steps, installation: &Installation, tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let layout = Layout::open(&installation.data_dir()?.join("images"))?;
    let image = conformance::application(&layout).await?;
    steps.take("two real nodes: containerd, kubelet, kube-proxy", || {
        pool(installation, "workers", "local-small", "2")?;
        tenant.run(&["get", "nodes", "-o", "wide"])
    })?;
    steps.take("an application behind a Service", || {
        tenant.apply(&application(&image))?;
        tenant.run(&["rollout", "status", &format!("deployment/{APP}"), "--timeout=5m"])?;
        tenant.run(&["get", "pods", "-o", "wide"])?;
        let path = format!("/api/v1/namespaces/default/services/{APP}:80/proxy/hostname");
        println!("\n$ kubectl get --raw {path}");
        let mut seen = BTreeSet::new();
        for _ in 0..QUESTIONS {
            let answer = tenant.output(&["get", "--raw", &path])?;
            if seen.insert(answer.clone()) {
                println!("{answer}");
            }
            if seen.len() == 2 {
                return Ok(());
            }
        }
        anyhow::bail!("{QUESTIONS} questions were answered by {} of 2 pods", seen.len())
    })
}

fn pool(installation: &Installation, name: &str, class: &str, replicas: &str) -> anyhow::Result<()> {
    let size = ["--class", class, "--replicas", replicas, "--timeout", "30m"];
    installation.skep(&[&["create", "nodepool", name, "--cluster", CLUSTER][..], &size].concat())
}

fn application(image: &str) -> serde_json::Value {
    let labels = json!({"app": APP});
    let metadata = json!({"name": APP, "namespace": "default"});
    let spread = json!([{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": labels},
    }]);
    let container = json!({
        "name": APP, "image": image, "args": ["netexec", "--http-port=8080"], "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/hostname", "port": 8080}, "periodSeconds": 1},
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {
            "replicas": 2, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels},
                "spec": {"containers": [container], "topologySpreadConstraints": spread}},
        }},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]}},
    ]})
}
