//! The operator: the controllers of clusters, control planes, datastores, node pools, machines and autoscalers around one
//! client.

use std::{net::SocketAddr, sync::Arc};

use kube::Client;
use skep_autoscaler::component::{self, Offer};
use skep_controlplane::CellSettings;
use skep_datastore::{Datastores, EtcdTenants};
use skep_kubeops::{Metrics, Recorder};
use skep_node::Infrastructures;
use skep_plan::address::PodNetwork;
use tokio_util::sync::CancellationToken;

/// Name in events and as user agent.
pub const NAME: &str = "skep-operator";

/// What the controllers are told.
#[derive(Clone)]
pub struct Settings {
    /// Domain under which tenants are named.
    pub domain: String,
    /// URL of the gateway as tenants' clients reach it.
    pub gateway: String,
    /// URL of the gateway as pods of the cell reach it.
    pub gateway_inside: String,
    /// Most control planes that start at the same time.
    pub starts: usize,
    /// How members of datastores are reached.
    pub network: PodNetwork,
    /// Where machines come from.
    pub infrastructures: Infrastructures,
    /// What clusters get that ask for an autoscaler.
    pub autoscaler: Option<Offer>,
    /// Which copy of the operator this is: shown in events.
    pub instance: String,
}

/// Runs all controllers until `shutdown`; each lets its running reconciles end.
pub async fn run(client: Client, settings: Settings, metrics: Metrics, shutdown: CancellationToken) {
    let recorder = Recorder::new(client.clone(), NAME, &settings.instance).metrics(&metrics);
    let datastores = Datastores::new(client.clone());
    let store = EtcdTenants::new(datastores.clone());
    let datastore = skep_datastore::Context {
        client: client.clone(),
        datastores,
        config: skep_datastore::Config::new(settings.network),
        metrics: metrics.clone(),
        recorder: Some(recorder.clone()),
    };
    let autoscaler = component::Config {
        client: client.clone(),
        offer: settings.autoscaler,
        gateway: settings.gateway_inside.clone(),
        connect: skep_node::connect(),
        metrics: metrics.clone(),
        recorder: recorder.clone(),
    };
    let control_plane = skep_controlplane::Config {
        client: client.clone(),
        store: Arc::new(store),
        cell: CellSettings { gateway: settings.gateway_inside.clone(), priority_class: None },
        starts: settings.starts,
        metrics: metrics.clone(),
        recorder: recorder.clone(),
    };
    let nodes = skep_node::Config::new(
        client.clone(),
        settings.gateway_inside.clone(),
        settings.infrastructures,
        metrics.clone(),
        recorder.clone(),
    );
    let fleet =
        skep_fleet::Config { client, domain: settings.domain, gateway: settings.gateway, metrics, recorder };
    tokio::join!(
        skep_datastore::run(datastore, shutdown.clone()),
        skep_controlplane::run(control_plane, shutdown.clone()),
        skep_node::run(nodes, shutdown.clone()),
        component::run(autoscaler, shutdown.clone()),
        skep_fleet::run(fleet, shutdown),
    );
}

/// The URL by which pods on loopback reach a gateway that listens there or on all addresses.
pub fn inside(listen: SocketAddr) -> String {
    let host = if listen.ip().is_unspecified() { "127.0.0.1".to_owned() } else { listen.ip().to_string() };
    format!("https://{host}:{}", listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_reach_the_gateway_on_loopback() {
        assert_eq!(inside("0.0.0.0:7443".parse().unwrap()), "https://127.0.0.1:7443");
        assert_eq!(inside("192.0.2.1:7443".parse().unwrap()), "https://192.0.2.1:7443");
    }
}
