//! Parts as programs of their own, beside a running hub.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use skep_pki::{Authority, Leaf};

use crate::{
    hub::Hub,
    installation::{Installation, eventually},
};

/// A part, ended with the scenario.
struct Part(Child);

impl Part {
    fn start(shared: &Installation, line: &str) -> Self {
        let kubeconfig = shared.data().join("kubeconfig");
        let mut command = shared.command(line.split_whitespace());
        command.env("SKEP_KUBECONFIG", kubeconfig).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Ends as a service manager ends it.
    fn stop(mut self) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), Signal::SIGTERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The body of an answer, once there is one.
fn http(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(answer)
}

pub fn a_gateway_of_its_own(shared: &Installation) {
    let (listen, metrics) = (free(), free());
    let line = format!("gateway --listen 127.0.0.1:{listen} --metrics-listen 127.0.0.1:{metrics}");
    let gateway = Part::start(shared, &line);
    eventually("metrics", || {
        http(metrics, "/metrics").filter(|text| text.contains("\nskep_gateway_open_connections"))
    });
    let own = shared.json("status -o json")["endpoints"]["gateway"].as_str().unwrap().to_owned();
    let kubeconfig = shared.skep("kubeconfig demo").replace(&own, &format!("127.0.0.1:{listen}"));
    let file = shared.file("beside.kubeconfig");
    fs::write(&file, kubeconfig).unwrap();
    let line = format!("kubectl --kubeconfig={} get namespaces", file.display());
    assert!(shared.skep(&line).contains("kube-system"));
    gateway.stop();
}

pub fn an_operator_that_leads(shared: &Installation) {
    let metrics = free();
    let line = format!(
        "operator --gateway-url https://127.0.0.1:1 --identity a --metrics-listen 127.0.0.1:{metrics}"
    );
    // It would change what the embedded operator has made: the gateway's URL. So there is nothing to work on.
    let leads = || http(metrics, "/metrics").filter(|text| text.contains("skep_leader 1"));
    let operator = Part::start(shared, &line);
    eventually("leadership", leads);
    let lease = shared.kubectl("-n skep-system get lease skep-operator -o jsonpath={.spec.holderIdentity}");
    assert_eq!(lease, "a");
    operator.stop();
    let after = shared.kubectl("-n skep-system get lease skep-operator -o jsonpath={.spec.holderIdentity}");
    assert_eq!(after, "", "given back");
}

pub fn a_fourth_node(shared: &Installation) {
    let network: skep_plan::address::LoopbackNet =
        shared.json("status -o json")["endpoints"]["network"].as_str().unwrap().parse().unwrap();
    let pki = shared.data().join("pki");
    let read = |name: &str| fs::read_to_string(pki.join(name)).unwrap();
    let authority = Authority::from_pem(&read("nodes-ca.crt"), &read("nodes-ca.key")).unwrap();
    let leaf = Leaf::server("skep-d", Duration::from_secs(3600)).address(network.node(3).unwrap());
    let pair = authority.issue(&leaf, jiff::Timestamp::now()).unwrap();
    fs::write(shared.file("d.crt"), &pair.cert_pem).unwrap();
    fs::write(shared.file("d.key"), pair.key_pem.as_bytes()).unwrap();
    let line = format!(
        "vnode --name skep-d --zone d --index 3 --network {network} --node-dir {} --tls-cert {} --tls-key {} --client-ca {} \
         --metrics-listen 127.0.0.1:{}",
        shared.file("node-d").display(),
        shared.file("d.crt").display(),
        shared.file("d.key").display(),
        pki.join("nodes-ca.crt").display(),
        free(),
    );
    let node = Part::start(shared, &line);
    eventually("the node", || {
        shared
            .kubectl("get nodes --no-headers")
            .lines()
            .any(|line| line.contains("skep-d ") && line.contains(" Ready "))
            .then_some(())
    });
    node.stop();
    shared.kubectl("delete node skep-d");
}

/// Roles allow everything that our parts do: the hub has not refused one request since it was started.
pub fn nobody_was_refused(shared: &Hub) {
    let metrics = shared.kubectl("get --raw /metrics");
    let requests: Vec<&str> =
        metrics.lines().filter(|line| line.starts_with("apiserver_request_total{")).collect();
    assert!(requests.len() > 100, "the API server counts otherwise now");
    // The one thing that is refused for another reason: whoever publishes the cluster's CA in a namespace that is ending.
    // Our own ConfigMaps are applied, not posted.
    let of_ending = |line: &&str| line.contains("resource=\"configmaps\"") && line.contains("verb=\"POST\"");
    let refused = requests.into_iter().filter(|line| line.contains("code=\"403\""));
    assert_eq!(refused.filter(|line| !of_ending(line)).collect::<Vec<_>>(), Vec::<&str>::new());
}
