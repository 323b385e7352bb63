//! The life of a control plane with every API call failing once, in every way: it ends in the same objects, and a
//! deleted one leaves nothing, keys included.

use anyhow::Result;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};
use skep_testkit::scenario::settle;
use skep_testkit::{Backend, Scenario, World};

use crate::cell::{Cell, control_plane, ready};

struct Life {
    cell: Cell,
}

impl World for Life {
    fn backend(&self) -> &Backend {
        &self.cell.backend
    }

    async fn set_up(&mut self, _: &Client) -> Result<()> {
        self.cell.create(&control_plane(|spec| spec.api_server.replicas = 2)).await
    }

    async fn converge(&mut self, client: Client) -> Result<()> {
        let reconciler = self.cell.reconciler(client);
        let cell = &self.cell;
        settle(&cell.backend, 20, || async {
            cell.pass(&reconciler).await?;
            cell.run_pods(&ready).await
        })
        .await
    }

    async fn delete(&mut self, _: &Client) -> Result<()> {
        // The gateway's door belongs to the cell and stays; whether it is whole is what the end of a creation shows.
        let api: Api<Secret> = Api::namespaced(self.cell.fake.client(), skep_api::SYSTEM_NAMESPACE);
        for name in self.cell.secrets_of_the_cell().into_keys() {
            api.delete(&name, &DeleteParams::default()).await?;
        }
        self.cell.delete().await
    }

    /// Digests of random keys.
    fn normalise(&self, object: &mut Value) {
        let metas = ["/metadata", "/spec/template/metadata"];
        for meta in metas {
            let Some(meta) = object.pointer_mut(meta) else { continue };
            for (place, key) in [("labels", "skep.dev/revision"), ("annotations", "skep.dev/files")] {
                if meta[place].get(key).is_some() {
                    meta[place][key] = json!("random");
                }
            }
        }
    }

    async fn leftovers(&mut self) -> Vec<String> {
        let tenant = self.cell.store.tenant(&Cell::datastore(), &Cell::tenant());
        tenant.map(|tenant| format!("{tenant:?}")).into_iter().collect()
    }
}

#[tokio::test]
async fn every_call_may_fail() -> Result<()> {
    let report = Scenario::new(|| async { Ok(Life { cell: Cell::new()? }) }).run().await?;
    assert!(report.creation.len() > 20 && report.deletion.len() > 4 && report.runs > 100, "{report:?}");
    Ok(())
}
