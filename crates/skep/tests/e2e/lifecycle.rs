//! Starting, finding, stopping.

use std::{fs, io::Read, net::TcpListener, os::unix::fs::PermissionsExt, process::Stdio};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::installation::{Installation, alive, eventually, text};

pub fn it_is_ready_and_says_so(shared: &Installation) {
    let status = shared.json("status -o json");
    assert_eq!(status["phase"], "ready");
    for name in [
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "nodes",
        "gateway",
        "operator",
    ] {
        let components = status["components"].as_array().unwrap();
        let component = components.iter().find(|component| component["name"] == name).unwrap();
        assert_eq!(component["health"], "running", "{component}");
    }
    assert!(status["warnings"].is_null(), "{}", status["warnings"]);
    let nodes = shared.kubectl("get nodes --no-headers");
    assert_eq!(nodes.lines().filter(|line| line.contains(" Ready ")).count(), 3, "{nodes}");
    assert!(shared.skep("get datastores").contains("True"));
    let mode = fs::metadata(shared.data()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    for private in ["kubeconfig", "state.json", "pki/hub-ca.key"] {
        let mode = fs::metadata(shared.data().join(private)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{private}");
    }
    assert!(shared.skep("logs etcd --tail 1").lines().count() <= 1);
    assert!(shared.fails(3, "logs nothing").contains("kube-apiserver"));
}

pub fn a_second_up_attaches_or_refuses(shared: &Installation) {
    let before = shared.supervisor();
    assert!(shared.skep("up").contains("running already"));
    assert_eq!(shared.supervisor(), before);
    let error = shared.fails(2, "up --network 127.66.0.0/16");
    assert!(error.contains("SKEP-2009") && error.contains("127.66.0.0/16"), "{error}");
    assert_eq!(shared.supervisor(), before);
}

pub fn down_and_up_keep_everything(shared: &Installation) {
    shared.tenant("demo", "create configmap kept --from-literal=a=b");
    let uid = shared.kubectl("get cluster demo -o jsonpath={.metadata.uid}");
    shared.down();
    assert!(shared.fails(5, "status").contains("SKEP-2011"));
    assert!(shared.fails(5, "down").contains("SKEP-2011"));
    assert!(shared.fails(5, "get clusters").contains("SKEP-3005"));
    shared.up();
    shared.skep("wait cluster demo --timeout 2m");
    assert_eq!(shared.kubectl("get cluster demo -o jsonpath={.metadata.uid}"), uid);
    assert_eq!(shared.tenant("demo", "get configmap kept -o jsonpath={.data.a}"), "b");
}

pub fn a_second_installation_beside_it(shared: &Installation) {
    let other = Installation::new("other");
    other.up();
    let (one, two) = (shared.json("status -o json"), other.json("status -o json"));
    for what in ["network", "hub", "gateway", "metrics"] {
        assert_ne!(one["endpoints"][what], two["endpoints"][what], "{what}");
    }
    other.skep("create cluster demo");
    assert!(other.tenant("demo", "get namespaces").contains("kube-system"));
    let before = shared.processes();
    other.down();
    for pid in before {
        assert!(alive(pid), "{pid} of the first installation ended with the second");
    }
    shared.skep("wait cluster demo --timeout 1m");
}

pub fn directories_that_are_refused() {
    let installation = Installation::new("refused");
    let data = installation.data();
    fs::create_dir(&data).unwrap();
    fs::write(data.join("thesis.txt"), "").unwrap();
    assert!(installation.fails(1, "up").contains("SKEP-2003"));
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "it was touched");
    fs::remove_file(data.join("thesis.txt")).unwrap();

    fs::write(data.join("state.json"), r#"{"format": 99, "skep": "9.0.0"}"#).unwrap();
    let error = installation.fails(1, "up");
    assert!(error.contains("SKEP-2004") && error.contains("99"), "{error}");
    fs::write(data.join("state.json"), "{").unwrap();
    assert!(installation.fails(1, "up").contains("SKEP-2005"));
    fs::remove_file(data.join("state.json")).unwrap();

    assert!(installation.fails(5, "status").contains("SKEP-2011"));
    assert!(installation.fails(2, "up --gateway-listen 0.0.0.0:7443").contains("SKEP-2017"));
    assert!(installation.fails(2, "up --network 10.0.0.0/16").contains("127.N.0.0/16"));
    assert_eq!(installation.processes(), Vec::<i32>::new());
}

pub fn ports_that_are_taken() {
    let installation = Installation::new("ports");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = installation.fails(1, &format!("up --gateway-listen {address}"));
    assert!(error.contains("SKEP-2007") && error.contains(&address.to_string()), "{error}");
    assert!(error.contains(&format!("process {}", std::process::id())), "the holder is named: {error}");
    assert_eq!(installation.processes(), Vec::<i32>::new());
}

pub fn an_interrupted_start_leaves_nothing() {
    let installation = Installation::new("interrupted");
    let mut up = installation.command(["up"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("a first program", || (!installation.processes().is_empty()).then_some(()));
    kill(Pid::from_raw(i32::try_from(up.id()).unwrap()), Signal::SIGINT).unwrap();
    let mut error = Vec::new();
    up.stderr.take().unwrap().read_to_end(&mut error).unwrap();
    assert!(!up.wait().unwrap().success());
    assert!(text(&error).contains("interrupted"), "{}", text(&error));
    assert_eq!(installation.processes(), Vec::<i32>::new());
    assert!(installation.fails(5, "status").contains("SKEP-2011"));
}

pub fn down_after_a_crash_leaves_nothing() {
    let installation = Installation::new("crash");
    installation.up();
    let supervisor = installation.supervisor();
    crate::installation::kill(supervisor);
    eventually("the supervisor's end", || (!alive(supervisor)).then_some(()));
    assert!(!installation.processes().is_empty());
    let error = installation.fails(5, "status");
    assert!(error.contains("left from before"), "{error}");
    let said = installation.skep("down");
    assert!(said.contains("left behind"), "{said}");
    assert_eq!(installation.processes(), Vec::<i32>::new());
}
