//! A cluster of two real nodes for the tests, made and deleted as people do it.

use std::io::Write as _;
use std::process::Stdio;

use anyhow::Context as _;
use serde_json::json;
use skep_engine::oci::Layout;

use super::{Options, images};
use crate::installation::Installation;

/// Its name. The tests have it to themselves.
pub const NAME: &str = "conformance";
const POOL: &str = "nodes";

/// The cluster.
pub struct Cluster {
    installation: Installation,
}

impl Cluster {
    /// Makes it, in an installation that is started if it does not run, and with nodes the images that tests use.
    pub async fn make(options: &Options, nodes: bool) -> anyhow::Result<Self> {
        let installation = Installation::attach(&options.skep, options.data_dir.as_deref())?;
        anyhow::ensure!(
            !installation.has_cluster(NAME)?,
            "there is a cluster named {NAME} already: name it with --cluster, or delete it"
        );
        if nodes {
            let layout = Layout::open(&installation.data_dir()?.join("images"))?;
            let made = images::ensure(&layout).await?;
            println!("These images are not upstream's but stand-ins made here: {}", made.join(", "));
        }
        installation.skep(&["create", "cluster", NAME, "--version", &options.version])?;
        let cluster = Self { installation };
        if nodes {
            let version = options.node_version.as_ref().unwrap_or(&options.version);
            cluster.apply(&pool(version))?;
            cluster.installation.skep(&["wait", "nodepool", POOL, "--timeout", "30m"])?;
        }
        Ok(cluster)
    }

    /// Deletes it, nodes first.
    pub fn delete(self) -> anyhow::Result<()> {
        self.installation.skep(&["delete", "cluster", NAME])
    }

    fn apply(&self, manifest: &serde_json::Value) -> anyhow::Result<()> {
        let mut kubectl = self
            .installation
            .command(&["kubectl", "apply", "-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .context("cannot run kubectl")?;
        kubectl.stdin.take().context("kubectl has no input")?.write_all(manifest.to_string().as_bytes())?;
        anyhow::ensure!(kubectl.wait()?.success(), "the pool was refused");
        Ok(())
    }
}

/// Two equal nodes. Images stay until the last test, and are pulled side by side.
fn pool(version: &str) -> serde_json::Value {
    json!({
        "apiVersion": "skep.dev/v1alpha1", "kind": "NodePool",
        "metadata": {"name": POOL, "namespace": "default"},
        "spec": {
            "cluster": NAME, "replicas": 2,
            "template": {
                "machineClass": "local-medium", "version": version,
                "kubelet": {"imageGcHighThresholdPercent": 100, "maxParallelImagePulls": 8},
            },
        },
    })
}
