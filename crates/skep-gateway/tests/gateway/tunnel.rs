//! The tunnel when everything goes well, and what is said when it does not.

use std::time::Duration;

use skep_agent::tunnel::wire::Refusal;
use skep_gateway::Rejection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::api_server::{name_of, talk};
use crate::cell::{until, within};
use crate::tunnel_bed::{
    AgentOf, ApiServer, KUBELET, Network, Place, cell, client, connect, echo, files, issue, knock,
};

#[tokio::test]
async fn an_api_server_reaches_a_kubelet_through_its_agent() {
    let (cell, _, tenancies) = cell(&["a"], |_| ());
    let network = Network::of(&[(KUBELET, Place::At(echo("kubelet").await))]);
    let agent = AgentOf { tenancy: &tenancies["a"], node: "worker-1", addresses: &["10.1.2.3"], network };
    let agent = agent.connect(&cell).await;
    let api_server = ApiServer::of(&tenancies["a"], &cell);
    for _ in 0..3 {
        let mut tls = within(api_server.reach(KUBELET)).await;
        assert_eq!(name_of(&mut tls, 7).await, "kubelet");
        within(talk(&mut tls)).await.unwrap();
    }
    let status = agent.settings.status().borrow().clone();
    assert_eq!((status.connected, status.wanted, status.trouble), (1, 1, None));
    until(|| cell.metrics.tunnel_connections() == 0).await;
    let mut registry = prometheus_client::registry::Registry::default();
    cell.metrics.clone().register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "gateway_tunnel_agents{tenant=\"a\"} 1",
        "gateway_tunnel_dials_total{tenant=\"a\",result=\"connected\"} 3",
        "gateway_tunnel_bytes_total{tenant=\"a\",direction=\"to_nodes\"} 39",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn a_tenant_without_nodes_fails_at_once_and_says_why() {
    let (cell, _, tenancies) = cell(&["a"], |_| ());
    let status = within(ApiServer::of(&tenancies["a"], &cell).refused(KUBELET)).await;
    assert_eq!(status, "HTTP/1.1 503 no node of this cluster is connected to the gateway (SKEP-8081)");
}

/// API servers find a gateway that was replaced sooner than agents do.
#[tokio::test]
async fn a_new_gateway_lets_connections_wait_for_the_first_agent() {
    let (cell, _, tenancies) = cell(&["a"], |config| config.tunnel.settle = Duration::from_secs(600));
    let api_server = ApiServer::of(&tenancies["a"], &cell);
    let network = Network::of(&[(KUBELET, Place::At(echo("kubelet").await))]);
    let agent = AgentOf { tenancy: &tenancies["a"], node: "worker-1", addresses: &[], network };
    let comes = async {
        until(|| cell.metrics.tunnel_connections() == 1).await;
        agent.connect(&cell).await
    };
    let (mut tls, _agent) = within(async { tokio::join!(api_server.reach(KUBELET), comes) }).await;
    assert_eq!(name_of(&mut tls, 7).await, "kubelet");
}

#[tokio::test]
async fn a_refusal_names_the_node_and_the_reason() {
    let (cell, _, tenancies) = cell(&["a"], |_| ());
    let network = Network::of(&[
        ("10.0.0.1:1", Place::Refuses(Refusal::Refused)),
        ("10.0.0.2:1", Place::Refuses(Refusal::Forbidden)),
    ]);
    let agent = AgentOf { tenancy: &tenancies["a"], node: "worker-1", addresses: &[], network };
    let _agent = agent.connect(&cell).await;
    let api_server = ApiServer::of(&tenancies["a"], &cell);
    for (target, answer) in [
        ("10.0.0.1:1", "HTTP/1.1 502 node worker-1: 10.0.0.1:1 says no (SKEP-8082)"),
        ("10.0.0.2:1", "HTTP/1.1 403 node worker-1: 10.0.0.2:1 says no (SKEP-8082)"),
        ("10.0.0.3:1", "HTTP/1.1 504 node worker-1: no way to 10.0.0.3:1 (SKEP-8082)"),
        ("10.0.0.3", "HTTP/1.1 400 its target is not a host and a port (SKEP-8086)"),
    ] {
        assert_eq!(within(api_server.refused(target)).await, answer);
    }
}

#[tokio::test]
async fn only_connect_is_answered() {
    let (cell, _, tenancies) = cell(&["a"], |_| ());
    let tenancy = &tenancies["a"];
    let config = client(&[&tenancy.cluster], Some(&tenancy.api_server()), &[]);
    let mut tls = within(knock(cell.address, "tunnel.a", &config)).await.unwrap();
    tls.write_all(b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within(tls.read_to_string(&mut answer)).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400 only CONNECT of HTTP/1.1 is answered here (SKEP-8086)"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_closed_half_leaves_the_other_open() {
    let (cell, _, tenancies) = cell(&["a"], |_| ());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let network = Network::of(&[(KUBELET, Place::At(listener.local_addr().unwrap()))]);
    let agent = AgentOf { tenancy: &tenancies["a"], node: "worker-1", addresses: &[], network };
    let _agent = agent.connect(&cell).await;
    let mut tls = within(ApiServer::of(&tenancies["a"], &cell).reach(KUBELET)).await;
    let (mut target, _) = within(listener.accept()).await.unwrap();
    tls.write_all(b"question").await.unwrap();
    tls.shutdown().await.unwrap();
    let mut heard = Vec::new();
    within(target.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, b"question");
    target.write_all(b"answer").await.unwrap();
    drop(target);
    let mut heard = Vec::new();
    within(tls.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, b"answer");
    until(|| cell.metrics.tunnel_connections() == 0).await;
}

#[tokio::test]
async fn large_streams_arrive_whole_in_both_directions_at_once() {
    let (cell, _, tenancies) = cell(&["a"], |_| ());
    let network = Network::of(&[(KUBELET, Place::At(echo("").await))]);
    let agent = AgentOf { tenancy: &tenancies["a"], node: "worker-1", addresses: &[], network };
    let _agent = agent.connect(&cell).await;
    let api_server = ApiServer::of(&tenancies["a"], &cell);
    let one = |seed: u64| {
        let reach = api_server.reach(KUBELET);
        async move {
            let say: Vec<u8> = (0..3_000_000u64).map(|n| ((n * seed) >> 7) as u8).collect();
            let (mut read, mut write) = tokio::io::split(reach.await);
            let saying = async {
                write.write_all(&say).await.unwrap();
                write.shutdown().await.unwrap();
            };
            let mut heard = Vec::new();
            let (read, ()) = tokio::join!(read.read_to_end(&mut heard), saying);
            read.unwrap();
            assert!(heard == say, "{seed}: {} of {} bytes", heard.len(), say.len());
        }
    };
    within(async { tokio::join!(one(3), one(5), one(7)) }).await;
    until(|| cell.metrics.tunnel_connections() == 0).await;
}

/// Sixty streams of which nobody reads the end do not stop one that is read.
#[tokio::test]
async fn streams_that_are_not_read_do_not_stop_the_others() {
    let (cell, _, tenancies) = cell(&["a"], |_| ());
    let network = Network::of(&[(KUBELET, Place::At(echo("").await))]);
    let agent = AgentOf { tenancy: &tenancies["a"], node: "worker-1", addresses: &[], network };
    let _agent = agent.connect(&cell).await;
    let api_server = ApiServer::of(&tenancies["a"], &cell);
    let mut stuck = Vec::new();
    let block = vec![1; 1 << 20];
    for _ in 0..60 {
        let mut tls = within(api_server.reach(KUBELET)).await;
        // As long as something is taken, go on.
        while let Ok(Ok(_)) =
            tokio::time::timeout(std::time::Duration::from_millis(20), tls.write(&block)).await
        {}
        stuck.push(tls);
    }
    let mut tls = within(api_server.reach(KUBELET)).await;
    within(talk(&mut tls)).await.unwrap();
}

#[tokio::test]
async fn the_agent_of_the_node_that_is_dialled_is_asked_first_and_any_for_a_pod() {
    let (cell, _, tenancies) = cell(&["a"], |_| ());
    let (at_1, at_2, pod) = (echo("1").await, echo("2").await, echo("p").await);
    let of = |at, own: &str| Network::of(&[(own, Place::At(at)), ("10.244.0.7:80", Place::At(pod))]);
    let (one, two) = (of(at_1, "10.1.0.1:10250"), of(at_2, "10.1.0.2:10250"));
    let agent = |node, address, network: &std::sync::Arc<Network>| AgentOf {
        tenancy: &tenancies["a"],
        node,
        addresses: address,
        network: network.clone(),
    };
    let _one = agent("worker-1", &["10.1.0.1"], &one).connect(&cell).await;
    let _two = agent("worker-2", &["10.1.0.2", "fd00::2"], &two).connect(&cell).await;
    let api_server = ApiServer::of(&tenancies["a"], &cell);
    for _ in 0..5 {
        for (target, name) in [("10.1.0.1:10250", "1"), ("10.1.0.2:10250", "2"), ("10.244.0.7:80", "p")] {
            let mut tls = within(api_server.reach(target)).await;
            assert_eq!(name_of(&mut tls, 1).await, name);
        }
    }
    assert_eq!(one.dials() + two.dials(), 15, "nobody was asked in vain");
    assert!(one.dials() > 5 && two.dials() > 5, "pods are shared: {} {}", one.dials(), two.dials());
}

#[tokio::test]
async fn before_1_36_api_servers_come_to_the_door() {
    let (cell, secrets, tenancies) = cell(&["a", "b"], |_| ());
    let network = Network::of(&[(KUBELET, Place::At(echo("kubelet").await))]);
    let agent = AgentOf { tenancy: &tenancies["a"], node: "worker-1", addresses: &[], network };
    let _agent = agent.connect(&cell).await;
    let tenancy = &tenancies["a"];
    let door = skep_pki::Authority::generate("door", crate::tunnel_bed::DAY, jiff::Timestamp::now()).unwrap();
    let config = client(&[&door], Some(&tenancy.api_server()), &[]);
    // As long as there is no door, whoever says no name hears what is usual here.
    within(knock(cell.address, "127.0.0.1", &config)).await.unwrap_err();
    assert_eq!(cell.metrics.rejected(Rejection::NoServerName), 1);

    let leaf = skep_pki::Leaf::server("gateway", crate::tunnel_bed::DAY)
        .address(std::net::Ipv4Addr::LOCALHOST)
        .dns("gateway.skep-system.svc");
    secrets.put_door(files(&issue(&door, &leaf), None));
    let mut tls = within(async {
        loop {
            match knock(cell.address, "127.0.0.1", &config).await {
                Ok(tls) => return tls,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
        }
    })
    .await;
    assert_eq!(within(connect(&mut tls, KUBELET)).await.unwrap(), "HTTP/1.1 200 Connection established");
    assert_eq!(name_of(&mut tls, 7).await, "kubelet");

    // Where the gateway is dialled by a name, that is what they say.
    let mut tls = within(knock(cell.address, "gateway.skep-system.svc", &config)).await.unwrap();
    assert_eq!(within(connect(&mut tls, KUBELET)).await.unwrap(), "HTTP/1.1 200 Connection established");

    // People whose kubeconfig lacks the name still hear that it is the name: they offer protocols.
    let person = client(&[&door], None, &[b"h2", b"http/1.1"]);
    let error = within(knock(cell.address, "127.0.0.1", &person)).await;
    assert_eq!(crate::tls::alert(error), rustls::AlertDescription::UnrecognisedName);

    // A tenant without an agent is told so, under its own name only.
    let config = client(&[&door], Some(&tenancies["b"].api_server()), &[]);
    let mut tls = within(knock(cell.address, "127.0.0.1", &config)).await.unwrap();
    let status = within(connect(&mut tls, KUBELET)).await.unwrap();
    assert!(status.starts_with("HTTP/1.1 503"), "{status}");
}
