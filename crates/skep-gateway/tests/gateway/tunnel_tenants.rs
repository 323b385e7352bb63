//! No way from one tenant to another, and no tenant at the cost of another.

use rustls::AlertDescription;
use skep_agent::tunnel::wire::ALPN;
use skep_gateway::Rejection;
use skep_gateway::proxy_protocol::build;
use skep_pki::{KeyPair, Leaf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api_server::{ApiServer as Passthrough, name_of};
use crate::cell::{host, until, within};
use crate::tls::{Identity, alert};
use crate::tunnel_bed::{
    AgentOf, ApiServer, DAY, KUBELET, Network, Place, cell, client, connect, echo, files, issue, knock,
};

#[tokio::test]
async fn each_tenant_reaches_its_own_node_at_the_same_address() {
    let (cell, _, tenancies) = cell(&["a", "b"], |_| ());
    let mut agents = Vec::new();
    for (id, at) in [("a", echo("node-a").await), ("b", echo("node-b").await)] {
        let network = Network::of(&[(KUBELET, Place::At(at))]);
        let of = AgentOf { tenancy: &tenancies[id], node: "worker-1", addresses: &["10.1.2.3"], network };
        agents.push(of.connect(&cell).await);
    }
    for (id, name) in [("a", "node-a"), ("b", "node-b"), ("a", "node-a")] {
        let mut tls = within(ApiServer::of(&tenancies[id], &cell).reach(KUBELET)).await;
        assert_eq!(name_of(&mut tls, 6).await, name);
    }
    drop(agents.remove(0));
    until(|| cell.metrics.tunnel_agents() == 1).await;
    let status = within(ApiServer::of(&tenancies["a"], &cell).refused(KUBELET)).await;
    assert!(status.starts_with("HTTP/1.1 503 no node of this cluster"), "{status}");
}

/// Whether somebody with this certificate gets an answer under this name.
async fn is_served(cell: &crate::cell::Cell, name: &str, shows: Option<&KeyPair>, as_agent: bool) -> bool {
    let protocols: &[&[u8]] = if as_agent { &[ALPN] } else { &[] };
    // Who verifies the gateway is another question: every authority there is is believed.
    let config = client(&[], shows, protocols);
    let mut config = (*config).clone();
    config.dangerous().set_certificate_verifier(std::sync::Arc::new(crate::tunnel_tenants::Anybody::new()));
    let Ok(mut tls) = within(knock(cell.address, name, &std::sync::Arc::new(config))).await else {
        return false;
    };
    if as_agent {
        // A gateway that takes us for an agent begins with the preface of HTTP/2.
        return within(tls.read_u8()).await.is_ok();
    }
    within(connect(&mut tls, KUBELET)).await.is_ok()
}

#[tokio::test]
async fn a_certificate_of_one_tenant_opens_nothing_of_another() {
    let (cell, secrets, tenancies) = cell(&["a", "b"], |_| ());
    let (a, b) = (&tenancies["a"], &tenancies["b"]);
    let door = skep_pki::Authority::generate("door", DAY, jiff::Timestamp::now()).unwrap();
    let at_door = Leaf::server("gateway", DAY).address(std::net::Ipv4Addr::LOCALHOST);
    secrets.put_door(files(&issue(&door, &at_door), None));
    // It says that it is of tenant a, and b's authority signed that.
    let liar = issue(&b.tunnel, &Leaf::client("kube-apiserver", DAY).organization("a"));
    let (api_a, api_b, node_a, node_b) = (a.api_server(), b.api_server(), a.kubelet("n"), b.kubelet("n"));
    let admin = issue(&a.cluster, &Leaf::client("admin", DAY).organization("system:masters"));
    for (what, name, shows, as_agent, served) in [
        ("an API server at its own", "tunnel.a", Some(&api_a), false, true),
        ("an agent at its own", "tunnel.a", Some(&node_a), true, true),
        ("an API server at the door", "127.0.0.1", Some(&api_b), false, true),
        ("an API server at another's", "tunnel.a", Some(&api_b), false, false),
        ("an agent at another's", "tunnel.a", Some(&node_b), true, false),
        ("the same under the long name", "tunnel.a.skep.internal", Some(&node_b), true, false),
        ("one that names another tenant", "tunnel.a", Some(&liar), false, false),
        ("one that names another tenant at the door", "127.0.0.1", Some(&liar), false, false),
        ("nobody", "tunnel.a", None, false, false),
        ("nobody at the door", "127.0.0.1", None, false, false),
        ("an agent as an API server", "tunnel.a", Some(&node_a), false, false),
        ("an API server as an agent", "tunnel.a", Some(&api_a), true, false),
        ("an agent at the door", "127.0.0.1", Some(&node_a), false, false),
        ("the administrator", "tunnel.a", Some(&admin), false, false),
        ("the administrator as an agent", "tunnel.a", Some(&admin), true, false),
    ] {
        assert_eq!(is_served(&cell, name, shows, as_agent).await, served, "{what}");
    }
    until(|| cell.metrics.rejected(Rejection::TunnelTls) >= 5).await;
    until(|| cell.metrics.rejected(Rejection::TunnelRole) >= 5).await;
}

#[tokio::test]
async fn a_node_cannot_draw_the_connections_of_another_to_itself() {
    let (cell, _, tenancies) = cell(&["a"], |_| ());
    let network = |name| async move { Network::of(&[(KUBELET, Place::At(echo(name).await))]) };
    let of = |node, network| AgentOf { tenancy: &tenancies["a"], node, addresses: &["10.1.2.3"], network };
    let _honest = of("worker-1", network("1").await).connect(&cell).await;
    let _other = of("worker-2", network("2").await).connect(&cell).await;
    for _ in 0..5 {
        let mut tls = within(ApiServer::of(&tenancies["a"], &cell).reach(KUBELET)).await;
        assert_eq!(name_of(&mut tls, 1).await, "1");
    }
}

#[tokio::test]
async fn a_tenants_own_name_is_never_terminated() {
    let (cell, secrets, _) = cell(&["a", "tunnel.a"], |_| ());
    secrets.put(&crate::tunnel_bed::Tenancy::new("a"));
    // One tenant's own host looks like the tunnel of another.
    for tenant in ["a", "tunnel.a"] {
        let identity = Identity::new(&host(tenant));
        let server = Passthrough::start("s", &identity).await;
        cell.pod(tenant, "p", server.address, true);
        let mut stream = within(identity.connect(cell.address)).await.unwrap();
        assert_eq!(name_of(&mut stream, 1).await, "s");
    }
}

#[tokio::test]
async fn names_of_tunnels_that_nobody_has_are_unknown() {
    let (cell, ..) = cell(&["a"], |_| ());
    for name in ["tunnel.b", "tunnel.b.skep.internal", "tunnel.tunnel.a", "b"] {
        let result = within(knock(cell.address, name, &client(&[], None, &[]))).await;
        assert_eq!(alert(result), AlertDescription::UnrecognisedName, "{name}");
    }
}

#[tokio::test]
async fn connections_of_one_tenant_are_bounded_apart_from_the_others() {
    let (cell, _, tenancies) = cell(&["a", "b"], |c| c.tunnel.connections_per_tenant = 2);
    let mut agents = Vec::new();
    for id in ["a", "b"] {
        let network = Network::of(&[(KUBELET, Place::At(echo("k").await))]);
        let of = AgentOf { tenancy: &tenancies[id], node: "worker-1", addresses: &[], network };
        agents.push(of.connect(&cell).await);
    }
    let (a, b) = (ApiServer::of(&tenancies["a"], &cell), ApiServer::of(&tenancies["b"], &cell));
    let open = [within(a.reach(KUBELET)).await, within(a.reach(KUBELET)).await];
    let status = within(a.refused(KUBELET)).await;
    assert_eq!(status, "HTTP/1.1 503 the cluster has as many connections to its nodes as it may (SKEP-8085)");
    within(b.reach(KUBELET)).await;
    drop(open);
    until(|| cell.metrics.tunnel_connections() == 0).await;
    within(a.reach(KUBELET)).await;
}

#[tokio::test]
async fn agents_of_one_tenant_are_bounded() {
    let (cell, _, tenancies) = cell(&["a"], |c| c.tunnel.agents_per_tenant = 1);
    let of = |node| AgentOf { tenancy: &tenancies["a"], node, addresses: &[], network: Network::of(&[]) };
    let first = of("worker-1").connect(&cell).await;
    let second = of("worker-2").start(cell.address);
    until(|| cell.metrics.rejected(Rejection::TunnelConnections) >= 1).await;
    assert_eq!(cell.metrics.tunnel_agents(), 1);
    drop(first);
    until(|| second.settings.status().borrow().connected == 1).await;
}

#[tokio::test]
async fn handshakes_are_bounded() {
    let (cell, _, tenancies) = cell(&["a"], |c| c.tunnel.handshakes = 1);
    // It has said which tunnel it wants, and then nothing.
    let config = client(&[&tenancies["a"].cluster], None, &[]);
    let name = rustls::pki_types::ServerName::try_from("tunnel.a").unwrap();
    let mut hello = Vec::new();
    rustls::ClientConnection::new(config, name).unwrap().write_tls(&mut hello).unwrap();
    let mut slow = TcpStream::connect(cell.address).await.unwrap();
    slow.write_all(&hello).await.unwrap();
    within(slow.read_u8()).await.unwrap();
    let refused = within(ApiServer::of(&tenancies["a"], &cell).dial(KUBELET)).await;
    assert_eq!(alert(refused), AlertDescription::InternalError);
    assert_eq!(cell.metrics.rejected(Rejection::TunnelHandshakes), 1);
    drop(slow);
    cell.until_open(0).await;
    within(ApiServer::of(&tenancies["a"], &cell).dial(KUBELET)).await.unwrap();
}

#[tokio::test]
async fn a_tenant_without_a_secret_is_refused_until_it_has_one() {
    let (cell, secrets, _) = cell(&[], |_| ());
    let tenancy = crate::tunnel_bed::Tenancy::new("a");
    cell.tenant("a");
    let refused = within(ApiServer::of(&tenancy, &cell).dial(KUBELET)).await;
    assert_eq!(alert(refused), AlertDescription::InternalError);
    assert_eq!(cell.metrics.rejected(Rejection::TunnelIdentity), 1);
    secrets.put(&tenancy);
    let agent = AgentOf { tenancy: &tenancy, node: "worker-1", addresses: &[], network: Network::of(&[]) };
    let agent = agent.start(cell.address);
    until(|| agent.settings.status().borrow().connected == 1).await;
}

/// Nobody told the gateway that the authorities are others now: the first certificate that does not fit does.
#[tokio::test]
async fn new_authorities_are_noticed_when_they_are_needed() {
    let (cell, secrets, tenancies) = cell(&["a"], |_| ());
    let of = |tenancy| AgentOf { tenancy, node: "worker-1", addresses: &[], network: Network::of(&[]) };
    let old = of(&tenancies["a"]).connect(&cell).await;
    let renewed = crate::tunnel_bed::Tenancy::new("a");
    secrets.put(&renewed);
    let new = of(&renewed).start(cell.address);
    until(|| new.settings.status().borrow().connected == 1).await;
    assert!(old.settings.status().borrow().connected == 1, "who is in stays in");
}

/// The endpoint that an agent keeps for pods: the server name is the Service's, the tenant stands in the header.
#[tokio::test]
async fn node_agents_name_their_tenant_in_a_header() {
    for accept in [skep_gateway::config::ProxyAccept::Off, skep_gateway::config::ProxyAccept::Optional] {
        let (cell, ..) = cell(&["a"], |c| {
            c.proxy.accept = accept;
            c.proxy.trusted = vec!["10.0.0.0/8".parse().unwrap()];
        });
        let identity = Identity::new("kubernetes.default.svc");
        let server = Passthrough::start("s", &identity).await;
        cell.pod("a", "p", server.address, true);
        for authority in ["a", "a.skep.internal"] {
            let mut stream = TcpStream::connect(cell.address).await.unwrap();
            let header =
                build("192.0.2.7:1234".parse().unwrap(), "198.18.0.1:6443".parse().unwrap(), Some(authority));
            stream.write_all(&header).await.unwrap();
            let mut stream = within(identity.handshake(stream)).await.unwrap();
            assert_eq!(name_of(&mut stream, 1).await, "s");
        }
    }
}

/// Believes every server, so that only what the gateway says counts.
#[derive(Debug)]
pub struct Anybody(rustls::crypto::WebPkiSupportedAlgorithms);

impl Anybody {
    fn new() -> Self {
        Self(rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms)
    }
}

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.supported_schemes()
    }
}
