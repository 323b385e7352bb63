//! `skep gateway`: what is set on a production cell. Everything there is can be set in a file.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum};
use skep_gateway::config::{Config, IpNet, ProxyAccept};

use super::{part::Common, values::Span};

/// `skep gateway`
#[derive(Clone, Debug, Args)]
pub struct Gateway {
    #[command(flatten)]
    pub common: Common,
    /// YAML file with these settings and all others; what is set here goes before it
    #[arg(long, env = "SKEP_GATEWAY_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address for tenants' clients [default: 127.0.0.1:6443]
    #[arg(long, env = "SKEP_GATEWAY_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Whether load balancers send a PROXY header, version 2 [default: off]
    #[arg(long, env = "SKEP_GATEWAY_PROXY_ACCEPT", value_enum)]
    pub proxy_accept: Option<ProxyAcceptArg>,
    /// Networks whose PROXY headers are believed [default: none]
    #[arg(long, env = "SKEP_GATEWAY_PROXY_TRUSTED", value_name = "CIDR", value_delimiter = ',')]
    pub proxy_trusted: Option<Vec<IpNet>>,
    /// Whether API servers get a PROXY header [default: false]
    #[arg(long, env = "SKEP_GATEWAY_PROXY_SEND", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub proxy_send: Option<bool>,
    /// How many gateways stand behind the address that nodes dial; a node's agent connects to each of them [default: 1]
    #[arg(long, env = "SKEP_GATEWAY_TUNNEL_GATEWAYS", value_name = "NUMBER")]
    pub tunnel_gateways: Option<usize>,
    /// Most open connections; fewer where the limit of open files says so [default: 50000]
    #[arg(long, env = "SKEP_GATEWAY_CONNECTIONS", value_name = "NUMBER")]
    pub connections: Option<usize>,
    /// Most open connections of one tenant [default: 5000]
    #[arg(long, env = "SKEP_GATEWAY_CONNECTIONS_PER_TENANT", value_name = "NUMBER")]
    pub connections_per_tenant: Option<usize>,
    /// How long a client may take for its TLS ClientHello [default: 5s]
    #[arg(long, env = "SKEP_GATEWAY_HANDSHAKE_TIMEOUT", value_name = "TIME")]
    pub handshake_timeout: Option<Span>,
    /// How long a connection waits for an API server of its tenant [default: 1m]
    #[arg(long, env = "SKEP_GATEWAY_HOLD", value_name = "TIME")]
    pub hold: Option<Span>,
    /// How long connections go on after their API server's pod is gone [default: 30s]
    #[arg(long, env = "SKEP_GATEWAY_DRAIN", value_name = "TIME")]
    pub drain: Option<Span>,
    /// How long connections go on after SIGTERM [default: 30s]
    #[arg(long, env = "SKEP_GATEWAY_SHUTDOWN", value_name = "TIME")]
    pub shutdown: Option<Span>,
}

/// `--proxy-accept`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProxyAcceptArg {
    /// None does.
    Off,
    /// Trusted networks may.
    Optional,
    /// All must, from trusted networks; nobody else connects.
    Required,
}

impl Gateway {
    /// These settings over those of the file, or over the defaults.
    pub fn over(&self, mut config: Config) -> Config {
        let Config { limits, timeouts, proxy, .. } = &mut config;
        set(&mut proxy.accept, self.proxy_accept.map(ProxyAccept::from));
        set(&mut proxy.trusted, self.proxy_trusted.clone());
        set(&mut proxy.send, self.proxy_send);
        set(&mut limits.connections, self.connections);
        set(&mut limits.connections_per_tenant, self.connections_per_tenant);
        set(&mut timeouts.handshake, self.handshake_timeout.map(|span| span.0));
        set(&mut timeouts.hold, self.hold.map(|span| span.0));
        set(&mut timeouts.drain, self.drain.map(|span| span.0));
        set(&mut timeouts.shutdown, self.shutdown.map(|span| span.0));
        set(&mut config.tunnel.gateways, self.tunnel_gateways);
        set(&mut config.listen, self.listen);
        config
    }
}

impl From<ProxyAcceptArg> for ProxyAccept {
    fn from(arg: ProxyAcceptArg) -> Self {
        match arg {
            ProxyAcceptArg::Off => Self::Off,
            ProxyAcceptArg::Optional => Self::Optional,
            ProxyAcceptArg::Required => Self::Required,
        }
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::{Command, FromArgMatches};

    use super::*;

    fn command() -> Command {
        Gateway::augment_args(Command::new("gateway"))
    }

    fn over_defaults(args: &[String]) -> Config {
        let name = ["gateway".to_owned()];
        let matches = command().try_get_matches_from(name.iter().chain(args)).unwrap();
        Gateway::from_arg_matches(&matches).unwrap().over(Config::default())
    }

    #[test]
    fn help_is_reviewed() {
        insta::assert_snapshot!(command().term_width(100).render_help().to_string());
    }

    #[test]
    fn help_names_the_defaults() {
        let mut args = Vec::new();
        for arg in command().get_arguments() {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let Some((_, value)) = help.split_once("[default: ") else { continue };
            if value != "none]" {
                args.extend([
                    format!("--{}", arg.get_long().unwrap()),
                    value.trim_end_matches(']').to_owned(),
                ]);
            }
        }
        assert_eq!(args.len(), 20, "{args:?}");
        assert_eq!(over_defaults(&args), Config::default());
    }

    #[test]
    fn every_setting_arrives() {
        let args = "--listen 0.0.0.0:443 --proxy-accept required --proxy-trusted 10.0.0.0/8,::1/128 --proxy-send --tunnel-gateways 3 \
                    --connections 9 --connections-per-tenant 8 --handshake-timeout 1s --hold 2s --drain 3s --shutdown 4s";
        let config = over_defaults(&args.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let mut expected = Config::on("0.0.0.0:443".parse().unwrap());
        expected.proxy.accept = ProxyAccept::Required;
        expected.proxy.trusted = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        expected.proxy.send = true;
        expected.tunnel.gateways = 3;
        (expected.limits.connections, expected.limits.connections_per_tenant) = (9, 8);
        let seconds = Duration::from_secs;
        expected.timeouts.handshake = seconds(1);
        expected.timeouts.hold = seconds(2);
        expected.timeouts.drain = seconds(3);
        expected.timeouts.shutdown = seconds(4);
        assert_eq!(config, expected);
    }
}
