//! What `plan` and `describe` need to foresee a change: the catalogue, the datastores, the gateway.

use kube::{Api, Client, api::ListParams};
use skep_api::{Cluster, ClusterProfile, ControlPlane, Datastore, Release, SizeClass, TenantId};
use skep_plan::{Catalogue, Cell, Plan, Refused, datastore::Candidate};

use crate::error::{self, Result};

/// Everything that decides what becomes of a `Cluster`.
pub struct Outlook {
    catalogue: Catalogue,
    cell: Cell,
    control_planes: Api<ControlPlane>,
}

/// What becomes of one cluster.
pub struct Foreseen {
    /// What changes and what restarts.
    pub plan: Plan,
}

impl Outlook {
    /// Reads the hub.
    pub async fn read(client: &Client) -> Result<Self> {
        let (classes, profiles, releases, datastores, control_planes) = tokio::try_join!(
            list::<SizeClass>(client, "size classes"),
            list::<ClusterProfile>(client, "profiles"),
            list::<Release>(client, "releases"),
            list::<Datastore>(client, "datastores"),
            list::<ControlPlane>(client, "control planes"),
        )?;
        // Where the gateway is, other control planes know; for the very first one the operator will tell.
        let endpoint = control_planes.first().map(|control_plane| &control_plane.spec.endpoint);
        let mut cell = Cell::new(endpoint.map_or("https://gateway", |endpoint| &endpoint.server));
        if let Some((_, domain)) = endpoint.and_then(|endpoint| endpoint.host.split_once('.')) {
            cell.domain = domain.to_owned();
        }
        cell.datastores = datastores.iter().map(Candidate::from).collect();
        Ok(Self {
            catalogue: Catalogue::new(&classes, &profiles, &releases),
            cell,
            control_planes: Api::all(client.clone()),
        })
    }

    /// The control plane of a cluster, when there is one.
    pub async fn control_plane(&self, cluster: &Cluster) -> Result<Option<ControlPlane>> {
        let Some(uid) = &cluster.metadata.uid else { return Ok(None) };
        let tenant = TenantId::of_cluster(cluster.metadata.name.as_deref().unwrap_or_default(), uid);
        let api: Api<ControlPlane> =
            Api::namespaced(self.control_planes.clone().into_client(), tenant.as_str());
        let all = api
            .list(&ListParams::default())
            .await
            .map_err(|error| error::api(&format!("control plane of {tenant}"), &error))?;
        Ok(all.items.into_iter().find(|found| found.spec.cluster.uid == *uid))
    }

    /// What becomes of `cluster`, given what runs.
    pub fn foresee(
        &self,
        cluster: &Cluster,
        running: Option<&ControlPlane>,
    ) -> Result<Foreseen, Box<Refused>> {
        let spec = skep_plan::resolve(cluster, &self.catalogue, &self.cell, running.map(Into::into))?;
        Ok(Foreseen { plan: skep_plan::diff(running.map(|running| &running.spec), &spec) })
    }
}

async fn list<K>(client: &Client, what: &str) -> Result<Vec<K>>
where
    K: skep_kubeops::Object,
{
    let api: Api<K> = Api::all(client.clone());
    api.list(&ListParams::default()).await.map(|list| list.items).map_err(|error| error::api(what, &error))
}
