//! Machines reach the host's end of the bridge and each other, and nothing else.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use skep_infra::Provider as _;

use super::harness::*;

/// One word over a connection.
fn talk(listener: &TcpListener, connect: impl FnOnce() -> TcpStream + Send) -> SocketAddr {
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut stream = connect();
            stream.write_all(b"word").unwrap();
        });
        let (mut stream, peer) = listener.accept().unwrap();
        let mut word = String::new();
        stream.read_to_string(&mut word).unwrap();
        assert_eq!(word, "word");
        client.join().unwrap();
        peer
    })
}

fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    TcpStream::connect_timeout(&to, Duration::from_secs(5))
}

#[tokio::test]
async fn machines_reach_the_bridge_and_each_other() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    let local = ground.open();
    let first = running(&ground, &local, &order("m1", "node-1", "a")).await.address.unwrap();
    let second = running(&ground, &local, &order("m2", "node-2", "b")).await.address.unwrap();

    let of_host = TcpListener::bind((ground.network.gateway(), 0)).unwrap();
    let to = of_host.local_addr().unwrap();
    let peer = talk(&of_host, || within(&ground, "m1", || connect(to).unwrap()));
    assert_eq!(peer.ip(), first);

    let of_second = within(&ground, "m2", || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    let to = SocketAddr::from((second, of_second.local_addr().unwrap().port()));
    let peer = talk(&of_second, || within(&ground, "m1", || connect(to).unwrap()));
    assert_eq!(peer.ip(), first);
    let peer = talk(&of_second, || connect(to).unwrap());
    assert_eq!(peer.ip(), ground.network.gateway());

    // The host passes nothing on for them, also when it begins to for others.
    let forwarding = format!("/proc/sys/net/ipv4/conf/{}/forwarding", ground.network.bridge);
    assert_eq!(fs::read_to_string(&forwarding).unwrap(), "0\n");
    fs::write(&forwarding, "1").unwrap();
    local.ensure(&order("m1", "node-1", "a")).await.unwrap();
    assert_eq!(fs::read_to_string(&forwarding).unwrap(), "0\n");
    for uid in ["m1", "m2"] {
        delete(&local, uid).await;
    }
    ground.assert_clean();
}

#[tokio::test]
async fn a_bridge_that_somebody_took_away_is_mended_and_machines_go_on() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    let local = ground.open();
    let order_of = |n: u8| order(&format!("m{n}"), &format!("node-{n}"), "a");
    let orders = [order_of(1), order_of(2)];
    for order in &orders {
        running(&ground, &local, order).await;
    }
    let pids = ["m1", "m2"].map(|uid| first_process(&ground, uid));
    run("ip", &["link", "delete", "dev", &ground.network.bridge]);
    let veth = names_in("/sys/class/net")
        .into_iter()
        .find(|link| link.starts_with(&format!("s{}-", ground.installation())));
    run("ip", &["link", "delete", "dev", &veth.unwrap()]);
    for order in &orders {
        local.ensure(order).await.unwrap();
    }
    assert_eq!(["m1", "m2"].map(|uid| first_process(&ground, uid)), pids);
    let of_host = TcpListener::bind((ground.network.gateway(), 0)).unwrap();
    let to = of_host.local_addr().unwrap();
    for uid in ["m1", "m2"] {
        talk(&of_host, || within(&ground, uid, || connect(to).unwrap()));
        delete(&local, uid).await;
    }
    ground.assert_clean();
}
