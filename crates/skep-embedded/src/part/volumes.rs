//! Volumes on the disk of one real node.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use kube::Client;
use skep_vnode::{
    events::Recorder,
    provisioner::{Provisioner, ProvisionerConfig},
};
use tokio_util::sync::CancellationToken;

/// User agent.
pub const NAME: &str = "skep-volumes";

/// Makes and removes volumes of `node` in `root` until `shutdown`. The kubelet must know `root` under the same path.
pub async fn run(client: Client, node: &str, root: PathBuf, shutdown: CancellationToken) {
    let (recorder, writing) = Recorder::new(client.clone());
    let config = ProvisionerConfig { root, nodes: BTreeSet::from([node.to_owned()]) };
    let provisioner = Provisioner::new(client, recorder, Arc::from(node), config);
    // The writer ends with the recorder, which the provisioner takes with it.
    tokio::join!(provisioner.run(shutdown), writing);
}
