//! The cloud provider `externalgrpc` over the pools of one cluster.
//!
//! A node group is a `NodePool` with `spec.scaling`; its id is the pool's name. An instance is a `Machine`; its id is the
//! provider id of the machine, or a name of ours while it has none.

mod instance;
mod scale;
mod template;

use http::Request;
use hyper::body::Incoming;
use kube::ResourceExt as _;
use skep_api::NodePool;
use skep_node::pool::is_of;
use skep_plan::node_pool::replicas;

use crate::Error;
use crate::hub::{Again, Hub, State};
use crate::proto::provider::{
    self as wire, DeleteNodesRequest, GpuLabelResponse, NodeGroup, NodeGroupForNodeRequest,
    NodeGroupForNodeResponse, NodeGroupsResponse, NodesResponse, Nothing, OfGroup, ResizeRequest,
    TargetSizeResponse, TemplateNodeInfoResponse,
};
use crate::rpc::{Body, Rpc, Service, unary};

/// Label of nodes with a GPU. No machine class has any yet, so no node has it.
const GPU_LABEL: &str = "skep.dev/gpu";

/// Answers upstream's client.
#[derive(Clone)]
pub struct Provider {
    hub: Hub,
}

impl Provider {
    /// A provider over these pools.
    pub fn new(hub: Hub) -> Self {
        Self { hub }
    }

    async fn group(&self, id: &str) -> Result<(State, NodePool), Error> {
        let state = self.hub.state().await?;
        let pool = state.pools.get(id).cloned().ok_or_else(|| self.hub.no_group(id))?;
        Ok((state, pool))
    }

    async fn node_groups(&self) -> Result<NodeGroupsResponse, Error> {
        let state = self.hub.state().await?;
        Ok(NodeGroupsResponse { node_groups: state.pools.values().map(describe).collect() })
    }

    /// An empty group says that the node is nobody's business.
    async fn group_for_node(
        &self,
        request: NodeGroupForNodeRequest,
    ) -> Result<NodeGroupForNodeResponse, Error> {
        let node = request.node.ok_or_else(|| Error::Request("it names no node".to_owned()))?;
        let state = self.hub.state().await?;
        let machine = state.machines.iter().find(|machine| instance::is(machine, &node));
        let pool = machine.and_then(|machine| state.pools.values().find(|pool| is_of(pool, machine)));
        Ok(NodeGroupForNodeResponse { node_group: Some(pool.map(describe).unwrap_or_default()) })
    }

    async fn nodes(&self, request: OfGroup) -> Result<NodesResponse, Error> {
        let (state, pool) = self.group(&request.id).await?;
        let of_pool = state.machines.iter().filter(|machine| is_of(&pool, machine));
        Ok(NodesResponse { instances: of_pool.map(|machine| instance::describe(&pool, machine)).collect() })
    }

    async fn target_size(&self, request: OfGroup) -> Result<TargetSizeResponse, Error> {
        let (_, pool) = self.group(&request.id).await?;
        Ok(TargetSizeResponse { target_size: i32::try_from(replicas(&pool.spec)).unwrap_or(i32::MAX) })
    }

    async fn template(&self, request: OfGroup) -> Result<TemplateNodeInfoResponse, Error> {
        let (state, pool) = self.group(&request.id).await?;
        let node = template::node(&pool, &state)?;
        Ok(TemplateNodeInfoResponse { node_bytes: prost::Message::encode_to_vec(&node) })
    }

    async fn increase(&self, request: ResizeRequest) -> Result<Nothing, Error> {
        let decide = |pool: &_, machines: &_| scale::increase(pool, machines, request.delta);
        self.hub.resize(&request.id, Again::IfSizeIsTheSame, decide).await.map(|()| Nothing {})
    }

    async fn decrease(&self, request: ResizeRequest) -> Result<Nothing, Error> {
        let decide = |pool: &_, machines: &_| scale::decrease(pool, machines, request.delta);
        self.hub.resize(&request.id, Again::IfSizeIsTheSame, decide).await.map(|()| Nothing {})
    }

    async fn delete(&self, request: DeleteNodesRequest) -> Result<Nothing, Error> {
        let decide = |pool: &_, machines: &_| scale::delete(pool, machines, &request.nodes);
        self.hub.resize(&request.id, Again::Always, decide).await.map(|()| Nothing {})
    }

    async fn refresh(&self) -> Result<Nothing, Error> {
        self.hub.refresh().await.map(|()| Nothing {})
    }
}

impl Rpc for Provider {
    const SERVICES: &'static [Service] = &[(wire::SERVICE, &wire::METHODS)];

    async fn call(&self, method: &str, request: Request<Incoming>) -> http::Response<Body> {
        match method {
            "NodeGroups" => unary(request, |_: Nothing| self.node_groups()).await,
            "NodeGroupForNode" => unary(request, |asked| self.group_for_node(asked)).await,
            "GPULabel" => {
                let label = || GpuLabelResponse { label: GPU_LABEL.to_owned() };
                unary(request, |_: Nothing| async move { Ok(label()) }).await
            }
            // No types of GPU, nothing to clean up, and upstream's own options for every group.
            "GetAvailableGPUTypes" | "Cleanup" | "NodeGroupGetOptions" => {
                unary(request, |_: Nothing| async { Ok(Nothing {}) }).await
            }
            "Refresh" => unary(request, |_: Nothing| self.refresh()).await,
            "NodeGroupTargetSize" => unary(request, |asked| self.target_size(asked)).await,
            "NodeGroupIncreaseSize" => unary(request, |asked| self.increase(asked)).await,
            "NodeGroupDeleteNodes" => unary(request, |asked| self.delete(asked)).await,
            "NodeGroupDecreaseTargetSize" => unary(request, |asked| self.decrease(asked)).await,
            "NodeGroupNodes" => unary(request, |asked| self.nodes(asked)).await,
            "NodeGroupTemplateNodeInfo" => unary(request, |asked| self.template(asked)).await,
            // Prices: upstream's client takes this for "not implemented" and goes on without. Ours are in the expander.
            _ => tonic::Status::unimplemented("prices are compared by skep's expander").into_http(),
        }
    }
}

fn describe(pool: &NodePool) -> NodeGroup {
    let (min, max) = scale::bounds(pool);
    NodeGroup {
        id: pool.name_any(),
        min_size: min,
        max_size: max,
        debug: format!(
            "node pool {}/{} of class {}: {} wanted, {min} to {max} allowed",
            pool.namespace().unwrap_or_default(),
            pool.name_any(),
            pool.spec.template.machine_class,
            replicas(&pool.spec),
        ),
    }
}
