//! The way between zones is worse than the way inside one.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use skep_infra::local::{Local, Settings, ZoneLink};

use super::harness::*;

/// Far above what a busy host adds.
const DELAY: Duration = Duration::from_millis(150);

#[tokio::test]
async fn packets_between_zones_take_longer() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    let link = ZoneLink { delay: DELAY, loss: 0.0 };
    let settings = Settings { between_zones: Some(link), ..ground.settings() };
    let missing = Local::check(&settings).await;
    if let Some(error) = missing.iter().find(|error| error.to_string().contains("netem")) {
        say(&format!("SKIPPED, no delay between zones was tested: {error}"));
        return;
    }
    let local = Local::open(settings).unwrap();
    for (uid, zone) in [("m1", "a"), ("m2", "a"), ("m3", "b")] {
        running(&ground, &local, &order(uid, uid, zone)).await;
    }
    // The second time, when everybody knows everybody's hardware address.
    let way = |to: &str| round_trip(&ground, "m1", to).and(round_trip(&ground, "m1", to)).unwrap();
    let (inside, between) = (way("m2"), way("m3"));
    assert!(inside < DELAY, "{inside:?}");
    assert!(between >= DELAY * 2, "{between:?}");
    for uid in ["m1", "m2", "m3"] {
        delete(&local, uid).await;
    }
    ground.assert_clean();
}

/// How long it takes to connect from one machine to another.
fn round_trip(ground: &Ground, from: &str, to: &str) -> Option<Duration> {
    let address = {
        let text = std::fs::read_to_string(ground.machine_dir(to).join("config/host.json")).ok()?;
        serde_json::from_str::<skep_agent::config::Host>(&text).ok()?.address
    };
    let listener = within(ground, to, || TcpListener::bind((address, 0)).unwrap());
    let to: SocketAddr = listener.local_addr().ok()?;
    within(ground, from, move || {
        let begin = Instant::now();
        TcpStream::connect_timeout(&to, Duration::from_secs(10)).ok().map(|_| begin.elapsed())
    })
}
