//! Agents that die, gateways that stop, tenants that go: what ends with them and what does not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use crate::api_server::{name_of, talk};
use crate::cell::{until, within};
use crate::tunnel_bed::{Agent, AgentOf, ApiServer, KUBELET, Network, Place, Tenancy, cell, echo};

async fn agent(
    cell: &crate::cell::Cell,
    tenancy: &Tenancy,
    node: &str,
    name: &'static str,
) -> (Agent, Arc<Network>) {
    let network = Network::of(&[(KUBELET, Place::At(echo(name).await))]);
    let of = AgentOf { tenancy, node, addresses: &[], network: network.clone() };
    (of.connect(cell).await, network)
}

#[tokio::test]
async fn when_an_agent_dies_its_streams_end_and_the_next_ones_go_elsewhere() {
    let (cell, _, tenancies) = cell(&["a"], |_| ());
    let tenancy = &tenancies["a"];
    let (first, _) = agent(&cell, tenancy, "worker-1", "1").await;
    let api_server = ApiServer::of(tenancy, &cell);
    let mut open = within(api_server.reach(KUBELET)).await;
    assert_eq!(name_of(&mut open, 1).await, "1");
    let (_second, _) = agent(&cell, tenancy, "worker-2", "2").await;
    first.kill();
    // Without a close_notify: that would be for the target to say, which it did not.
    let error = within(open.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    until(|| cell.metrics.tunnel_agents() == 1).await;
    for _ in 0..3 {
        let mut tls = within(api_server.reach(KUBELET)).await;
        assert_eq!(name_of(&mut tls, 1).await, "2");
    }
}

/// The machine is gone and nobody closed anything: another agent is asked when this one does not answer.
#[tokio::test]
async fn an_agent_that_does_not_answer_costs_its_part_of_the_time() {
    let (cell, _, tenancies) = cell(&["a"], |c| c.tunnel.dial = Duration::from_secs(3));
    let tenancy = &tenancies["a"];
    let network = Network::of(&[(KUBELET, Place::Silent)]);
    let silent = AgentOf { tenancy, node: "worker-1", addresses: &["10.1.2.3"], network: network.clone() };
    let _silent = silent.connect(&cell).await;
    let (_other, _) = agent(&cell, tenancy, "worker-2", "2").await;
    let api_server = ApiServer::of(tenancy, &cell);
    for _ in 0..5 {
        let mut tls = within(api_server.reach(KUBELET)).await;
        assert_eq!(name_of(&mut tls, 1).await, "2");
    }
    assert_eq!(network.dials(), 1, "it is asked last for a while, although the target is its own");
}

#[tokio::test]
async fn a_target_that_refuses_is_not_asked_through_another_agent() {
    let (cell, _, tenancies) = cell(&["a"], |_| ());
    let tenancy = &tenancies["a"];
    let network = Network::of(&[(KUBELET, Place::Refuses(skep_agent::tunnel::wire::Refusal::Refused))]);
    let of = AgentOf { tenancy, node: "worker-1", addresses: &["10.1.2.3"], network };
    let _own = of.connect(&cell).await;
    let (_other, other) = agent(&cell, tenancy, "worker-2", "2").await;
    let status = within(ApiServer::of(tenancy, &cell).refused(KUBELET)).await;
    assert!(status.starts_with("HTTP/1.1 502 node worker-1"), "{status}");
    assert_eq!(other.dials(), 0);
}

#[tokio::test]
async fn an_agent_that_stops_lets_open_streams_go_on_and_takes_no_new_ones() {
    let (cell, _, tenancies) = cell(&["a"], |_| ());
    let tenancy = &tenancies["a"];
    let network = Network::of(&[(KUBELET, Place::At(echo("1").await))]);
    let of = AgentOf { tenancy, node: "worker-1", addresses: &[], network };
    let stopping = of.start_as(cell.address, &tenancy.kubelet("worker-1"), |settings| {
        settings.timing.drain = Duration::from_secs(3600);
    });
    until(|| cell.metrics.tunnel_agents() == 1).await;
    let (_other, other) = agent(&cell, tenancy, "worker-2", "2").await;
    let api_server = ApiServer::of(tenancy, &cell);
    let mut open = Vec::new();
    // Both get some.
    while other.dials() == 0 || open.len() < 2 {
        open.push(within(api_server.reach(KUBELET)).await);
    }
    stopping.shutdown.cancel();
    for _ in 0..4 {
        let mut tls = within(api_server.reach(KUBELET)).await;
        assert_eq!(name_of(&mut tls, 1).await, "2");
    }
    for tls in &mut open {
        tls.read_u8().await.unwrap();
        within(talk(tls)).await.unwrap();
    }
    drop(open);
    stopping.ended().await;
    until(|| cell.metrics.tunnel_agents() == 1).await;
}

#[tokio::test]
async fn a_gateway_that_stops_lets_streams_end_and_then_ends() {
    let (cell, _, tenancies) = cell(&["a"], |c| c.timeouts.shutdown = Duration::from_secs(3600));
    let tenancy = &tenancies["a"];
    let (agent, _) = agent(&cell, tenancy, "worker-1", "1").await;
    let mut open = within(ApiServer::of(tenancy, &cell).reach(KUBELET)).await;
    open.read_u8().await.unwrap();
    cell.shutdown.cancel();
    // The agent hears that it should look for another gateway, and finds nobody at the door.
    until(|| agent.settings.status().borrow().connected == 0).await;
    until(|| agent.settings.status().borrow().trouble.as_ref().is_some_and(|t| t.contains("SKEP-8080")))
        .await;
    within(talk(&mut open)).await.unwrap();
    drop(open);
    cell.ended().await;
}

#[tokio::test]
async fn a_gateway_with_idle_agents_stops_at_once() {
    let (cell, _, tenancies) = cell(&["a"], |c| c.timeouts.shutdown = Duration::from_secs(3600));
    let (_agent, _) = agent(&cell, &tenancies["a"], "worker-1", "1").await;
    cell.shutdown.cancel();
    cell.ended().await;
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let (cell, _, tenancies) = cell(&["a"], |c| c.timeouts.shutdown = Duration::from_millis(20));
    let tenancy = &tenancies["a"];
    let (_agent, _) = agent(&cell, tenancy, "worker-1", "1").await;
    let mut open = within(ApiServer::of(tenancy, &cell).reach(KUBELET)).await;
    cell.shutdown.cancel();
    cell.ended().await;
    within(open.read_to_end(&mut Vec::new())).await.unwrap_err();
}

#[tokio::test]
async fn an_agent_comes_back_when_its_gateway_does() {
    let (first, secrets, tenancies) = cell(&["a"], |_| ());
    let address = first.address;
    let (agent, _) = agent(&first, &tenancies["a"], "worker-1", "1").await;
    first.shutdown.cancel();
    first.ended().await;
    until(|| agent.settings.status().borrow().connected == 0).await;
    let second = crate::cell::Cell::with_tunnels(secrets, |c| c.listen = address);
    second.tenant("a");
    until(|| second.metrics.tunnel_agents() == 1).await;
    let mut tls = within(ApiServer::of(&tenancies["a"], &second).reach(KUBELET)).await;
    assert_eq!(name_of(&mut tls, 1).await, "1");
}

#[tokio::test]
async fn a_tenant_that_is_removed_takes_its_tunnels_with_it() {
    let (cell, _, tenancies) = cell(&["a"], |_| ());
    let tenancy = &tenancies["a"];
    let (_agent, _) = agent(&cell, tenancy, "worker-1", "1").await;
    let mut open = within(ApiServer::of(tenancy, &cell).reach(KUBELET)).await;
    cell.forget_tenant("a");
    within(open.read_to_end(&mut Vec::new())).await.unwrap_err();
    // The agent tries again, to hear that there is no such tenant.
    until(|| cell.metrics.rejected(skep_gateway::Rejection::UnknownServerName) >= 1).await;
    assert_eq!(cell.metrics.tunnel_agents(), 0);
}

/// Whatever address is dialled leads to one of these in turn, as a load balancer's does.
async fn balancer(gateways: Vec<SocketAddr>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, turn) = (listener.local_addr().unwrap(), AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let gateway = gateways[turn.fetch_add(1, Ordering::Relaxed) % gateways.len()];
            tokio::spawn(async move {
                if let Ok(mut gateway) = TcpStream::connect(gateway).await {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut gateway).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn an_agent_is_connected_to_every_gateway() {
    let (first, secrets, tenancies) = cell(&["a"], |c| c.tunnel.gateways = 2);
    let second = crate::cell::Cell::with_tunnels(secrets, |c| c.tunnel.gateways = 2);
    second.tenant("a");
    let tenancy = &tenancies["a"];
    let network = Network::of(&[(KUBELET, Place::At(echo("1").await))]);
    let of = AgentOf { tenancy, node: "worker-1", addresses: &[], network };
    // The first gateway is met three times as often: the agent must not be content with it.
    let (one, two) = (first.address, second.address);
    let agent = of.start(balancer(vec![one, one, one, two]).await);
    until(|| agent.settings.status().borrow().connected == 2).await;
    until(|| first.metrics.tunnel_agents() == 1 && second.metrics.tunnel_agents() == 1).await;
    for cell in [&first, &second] {
        let mut tls = within(ApiServer::of(tenancy, cell).reach(KUBELET)).await;
        assert_eq!(name_of(&mut tls, 1).await, "1");
    }
}

#[tokio::test]
async fn a_gateway_that_is_silent_is_left() {
    // It takes connections and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tenancy = Tenancy::new("a");
    let of = AgentOf { tenancy: &tenancy, node: "worker-1", addresses: &[], network: Network::of(&[]) };
    let agent = of.start_as(listener.local_addr().unwrap(), &tenancy.kubelet("worker-1"), |settings| {
        settings.timing.connect = Duration::from_millis(50);
    });
    let _first = within(listener.accept()).await.unwrap();
    let _second = within(listener.accept()).await.unwrap();
    let trouble = agent.settings.status().borrow().trouble.clone().unwrap();
    assert!(trouble.contains("SKEP-8084"), "{trouble}");
}

#[tokio::test]
async fn an_agent_waits_for_the_kubelets_certificate() {
    let (cell, _, tenancies) = cell(&["a"], |_| ());
    let tenancy = &tenancies["a"];
    let of = AgentOf { tenancy, node: "worker-1", addresses: &[], network: Network::of(&[]) };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("later.pem");
    let settings = of.settings(cell.address, path.clone());
    let (status, end) = (settings.status(), tokio_util::sync::CancellationToken::new());
    let running = tokio::spawn(skep_agent::tunnel::serve(settings, end.clone()));
    until(|| status.borrow().trouble.as_ref().is_some_and(|t| t.contains("has no certificate"))).await;
    let pair = tenancy.kubelet("worker-1");
    std::fs::write(&path, format!("{}{}", pair.cert_pem, pair.key_pem.as_str())).unwrap();
    until(|| status.borrow().connected == 1).await;
    assert_eq!(status.borrow().trouble, None);
    end.cancel();
    within(running).await.unwrap();
    until(|| cell.metrics.tunnel_agents() == 0).await;
}
