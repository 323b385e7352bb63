//! What a person can choose about an installation.

use std::net::SocketAddr;

use skep_plan::address::LoopbackNet;

use crate::{Error, Result, board::Endpoints, network::NODE_PORT};

/// Choices of `skep up`. What is left open is remembered from the last start, or chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Where the gateway listens; loopback and a free port when not set.
    pub gateway_listen: Option<SocketAddr>,
    /// URL under which tenants reach the gateway, `https://host:port`, when it is not the address it listens on.
    pub gateway_url: Option<String>,
    /// Loopback network of the pods.
    pub network: Option<LoopbackNet>,
}

/// Ports that pods and nodes bind on loopback addresses: a listener on all addresses would take them away.
const POD_PORTS: [u16; 4] = [6443, 2379, 2380, NODE_PORT];

impl Options {
    /// Refuses choices that cannot work before anything is started.
    ///
    /// # Errors
    /// [`Error::Option`] that says what would work.
    pub fn check(&self) -> Result<()> {
        if let Some(address) = self.gateway_listen {
            if address.ip().is_unspecified() && POD_PORTS.contains(&address.port()) {
                return Err(Error::Option(format!(
                    "the gateway cannot listen on {address}: port {} is used by pods on loopback addresses; choose another port, \
                     or one address of this machine",
                    address.port()
                )));
            }
            if address.ip().is_unspecified() && self.gateway_url.is_none() {
                return Err(Error::Option(format!(
                    "the gateway can listen on {address} only together with --gateway-url: kubeconfigs of tenants have to name \
                     an address of this machine"
                )));
            }
        }
        Ok(())
    }

    /// Where the gateway listens, given the port that was chosen for it.
    pub fn gateway_address(&self, chosen: SocketAddr) -> SocketAddr {
        match self.gateway_listen {
            // Port 0 asks for any: the remembered one, so that kubeconfigs stay valid.
            Some(asked) if asked.port() == 0 => SocketAddr::new(asked.ip(), chosen.port()),
            Some(asked) => asked,
            None => chosen,
        }
    }

    /// The URL that tenants' kubeconfigs name.
    pub fn gateway_url(&self, listen: SocketAddr) -> String {
        self.gateway_url.clone().unwrap_or_else(|| format!("https://{listen}"))
    }

    /// Which of these choices differ from what runs; empty when it can be used as it is.
    pub fn differences(&self, running: &Endpoints) -> Vec<String> {
        let mut differences = Vec::new();
        let mut compare = |what: &str, asked: Option<String>, running: &str| {
            if let Some(asked) = asked.filter(|asked| asked != running) {
                differences.push(format!("{what} is {running}, asked for {asked}"));
            }
        };
        let same_port = |asked: SocketAddr| {
            let port = running.gateway.parse::<SocketAddr>().map_or(0, |address| address.port());
            if asked.port() == 0 { SocketAddr::new(asked.ip(), port) } else { asked }
        };
        let listen = self.gateway_listen.map(|asked| same_port(asked).to_string());
        compare("the gateway's address", listen, &running.gateway);
        compare("the gateway's URL", self.gateway_url.clone(), &running.gateway_url);
        compare("the loopback network", self.network.map(|net| net.to_string()), &running.network);
        differences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(address: &str) -> Options {
        Options { gateway_listen: Some(address.parse().unwrap()), ..Options::default() }
    }

    #[test]
    fn a_listener_on_all_addresses_needs_a_url_and_a_port_of_its_own() {
        assert!(listen("127.0.0.1:6443").check().is_ok());
        assert!(listen("192.0.2.1:6443").check().is_ok());
        let error = listen("0.0.0.0:7443").check().unwrap_err();
        assert!(error.to_string().contains("--gateway-url"), "{error}");
        let with_url = |listen: Options, url: &str| Options { gateway_url: Some(url.into()), ..listen };
        assert!(with_url(listen("0.0.0.0:7443"), "https://here:7443").check().is_ok());
        let error = with_url(listen("[::]:6443"), "https://here:6443").check().unwrap_err();
        assert!(error.to_string().contains("6443 is used by pods"), "{error}");
    }

    #[test]
    fn only_what_was_asked_for_can_differ() {
        let running = Endpoints {
            hub: "https://127.0.0.1:20000".into(),
            gateway: "127.0.0.1:20001".into(),
            gateway_url: "https://127.0.0.1:20001".into(),
            metrics: String::new(),
            network: "127.64.0.0/16".into(),
        };
        assert!(Options::default().differences(&running).is_empty());
        assert!(listen("127.0.0.1:20001").differences(&running).is_empty());
        assert!(listen("127.0.0.1:0").differences(&running).is_empty());
        assert_eq!(listen("127.0.0.1:7443").differences(&running).len(), 1);
        let network = Options { network: Some("127.65.0.0/16".parse().unwrap()), ..Options::default() };
        assert_eq!(
            network.differences(&running),
            ["the loopback network is 127.64.0.0/16, asked for 127.65.0.0/16"]
        );
    }

    #[test]
    fn port_zero_keeps_the_remembered_port() {
        let chosen = "127.0.0.1:20001".parse().unwrap();
        assert_eq!(listen("127.0.0.2:0").gateway_address(chosen), "127.0.0.2:20001".parse().unwrap());
        assert_eq!(Options::default().gateway_address(chosen), chosen);
    }
}
