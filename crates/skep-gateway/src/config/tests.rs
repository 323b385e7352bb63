use super::*;

#[test]
fn defaults_are_valid_and_survive_a_file() {
    let config = Config::default();
    config.validate().unwrap();
    let text = serde_json::to_string(&config).unwrap();
    assert!(text.contains("\"handshake\":\"5s\""), "{text}");
    assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
}

#[test]
fn a_file_may_say_little() {
    let config: Config = serde_saphyr::from_str(
        "listen: 0.0.0.0:443\ntimeouts: {hold: 1m 30s}\nproxy: {accept: optional, trusted: [10.0.0.0/8]}\n",
    )
    .unwrap();
    assert_eq!(config.timeouts.hold, Duration::from_secs(90));
    assert_eq!(config.timeouts.dial, Timeouts::default().dial);
    config.validate().unwrap();
}

#[test]
fn an_unknown_field_is_refused() {
    assert!(serde_saphyr::from_str::<Config>("limits: {conections: 5}\n").is_err());
}

#[test]
fn impossible_settings_name_their_field() {
    let refused = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    };
    assert!(refused(|c| c.limits.connections = 0).contains("limits.connections is 0"));
    assert!(refused(|c| c.limits.hello_bytes = 10).contains("limits.helloBytes is 10"));
    assert!(refused(|c| c.limits.tries = 0).contains("limits.tries"));
    assert!(refused(|c| c.timeouts.dial = Duration::ZERO).contains("timeouts.dial"));
    assert!(refused(|c| c.timeouts.drain = Duration::MAX).contains("timeouts.drain"));
    assert!(refused(|c| c.proxy.accept = ProxyAccept::Required).contains("proxy.trusted"));
    assert!(refused(|c| c.tunnel.gateways = 0).contains("tunnel.gateways is 0: allowed are 1 to 16"));
    assert!(refused(|c| c.tunnel.connections_per_tenant = 0).contains("tunnel.connectionsPerTenant is 0"));
    assert!(refused(|c| c.tunnel.reload = Duration::ZERO).contains("tunnel.reload"));
    assert!(refused(|c| c.tunnel.settle = Duration::MAX).contains("tunnel.settle"));
    assert!(
        refused(|c| (c.limits.per_source, c.limits.per_source_burst) = (1, 0)).contains("perSourceBurst")
    );
}
