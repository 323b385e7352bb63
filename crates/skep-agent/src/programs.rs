//! The three programs of a node, and their order.

use std::{sync::Arc, time::Duration};

use crate::{
    Error, Result, build,
    events::appears,
    files,
    node::Node,
    service::{Health, Program, Ready, Service},
};

/// To load its store and its containers.
const RUNTIME_STARTS: Duration = Duration::from_secs(120);
/// To look at the machine and at what runs on it.
const KUBELET_STARTS: Duration = Duration::from_secs(300);
/// What each may take to end.
const GRACE: Duration = Duration::from_secs(10);
/// Of the agent's own environment, what says how to reach registries.
const PROXIES: [&str; 8] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Programs that were started, in this order.
#[derive(Debug, Default)]
pub(crate) struct Programs(Vec<Service>);

impl Programs {
    /// Starts one after the other, each when what it needs is there. May be cancelled; what has been started stays.
    pub(crate) async fn start(&mut self, node: &Node) -> Result<()> {
        self.run(node, containerd(node)).await;
        self.run(node, kubelet(node)).await;
        // kube-proxy reads the certificate when it starts.
        let certificate = node.layout.client_certificate();
        appears(&certificate).await.map_err(Error::file("wait for", certificate))?;
        tracing::info!("the node has its certificate");
        self.run(node, kube_proxy(node)).await;
        Ok(())
    }

    async fn run(&mut self, node: &Node, program: Program) {
        self.0.push(Service::start(node.children.clone(), program));
        if let Some(service) = self.0.last() {
            service.ready().await;
        }
    }

    /// Stops them, the last one first. Pods go on.
    pub(crate) async fn stop(self) {
        for service in self.0.into_iter().rev() {
            service.stop().await;
        }
    }
}

/// The runtime.
pub(crate) fn containerd(node: &Node) -> Program {
    let layout = &node.layout;
    let proxies = PROXIES.into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)));
    Program {
        name: "containerd",
        path: node.host.containerd.join("containerd"),
        arguments: vec!["--config".into(), layout.containerd_config().display().to_string()],
        environment: environment(node).into_iter().chain(proxies).collect(),
        log: layout.log("containerd"),
        ready: Ready::Notified(RUNTIME_STARTS),
        health: Some(Health::runtime(layout.socket())),
        grace: GRACE,
        before: None,
    }
}

fn kubelet(node: &Node) -> Program {
    let (join, layout) = (node.join.clone(), node.layout.clone());
    // It has written a kubeconfig without the tenant's name when it joined.
    let before = move || {
        if !layout.client_certificate().exists() {
            return Ok(());
        }
        files::put(&layout.kubelet_kubeconfig(), &build::joined(&join, &layout), files::SECRET).map(drop)
    };
    Program {
        name: "kubelet",
        path: node.host.kubernetes.join("kubelet"),
        arguments: build::arguments(&node.join, &node.host, &node.layout),
        environment: environment(node),
        log: node.layout.log("kubelet"),
        ready: Ready::Notified(KUBELET_STARTS),
        health: Some(Health::kubelet(build::HEALTHZ)),
        grace: GRACE,
        before: Some(Arc::new(before)),
    }
}

fn kube_proxy(node: &Node) -> Program {
    Program {
        name: "kube-proxy",
        path: node.host.kubernetes.join("kube-proxy"),
        arguments: vec![format!("--config={}", node.layout.kube_proxy_config().display())],
        environment: environment(node),
        log: node.layout.log("kube-proxy"),
        ready: Ready::Started,
        health: None,
        grace: GRACE,
        before: None,
    }
}

fn environment(node: &Node) -> Vec<(String, String)> {
    // Where the kubelet looks for credentials of registries.
    vec![("PATH".to_owned(), node.search_path()), ("HOME".to_owned(), "/root".to_owned())]
}
