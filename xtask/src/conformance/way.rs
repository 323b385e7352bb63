//! A kubeconfig that upstream's suite understands.
//!
//! The suite takes the server's URL from the kubeconfig and gives it to clientcmd once more as an override, which
//! drops `tls-server-name` (`k8s.io/client-go/tools/clientcmd`: a server that is overridden takes its TLS name from the
//! override too). Without that name the gateway cannot know the tenant. So the suite gets the tenant's name as the
//! server's name, and for lack of DNS a file of hosts that only the suite sees, which takes root, or an HTTP proxy of ours
//! that leads there (`proxy-url`, which is kept, but of which the suite's web sockets know nothing). Every byte still goes
//! through the gateway.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

/// Longest head of a CONNECT request.
const HEAD: usize = 4096;
/// For a request to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A way that is open until this is dropped.
pub struct Way {
    /// What the suite is given.
    pub kubeconfig: PathBuf,
    /// What the suite is to see as `/etc/hosts`.
    pub hosts: Option<PathBuf>,
    proxy: Option<JoinHandle<()>>,
}

impl Way {
    /// Opens the way if the cluster is known by a TLS name only; else the kubeconfig is good as it is.
    pub async fn open(kubeconfig: &Path, kubectl: &Path, scratch: &Path) -> anyhow::Result<Self> {
        let output = Command::new(kubectl)
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .args(["config", "view", "--raw", "--minify", "--flatten", "-o", "json"])
            .output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        let mut config: Value = serde_json::from_slice(&output.stdout)?;
        let cluster = config.pointer_mut("/clusters/0/cluster").and_then(Value::as_object_mut);
        let cluster = cluster.context("the kubeconfig has no cluster")?;
        let Some(name) = cluster.remove("tls-server-name") else {
            return Ok(Self { kubeconfig: kubeconfig.to_owned(), hosts: None, proxy: None });
        };
        let server = cluster.get("server").and_then(Value::as_str).context("the cluster has no server")?;
        let address: SocketAddr = server
            .trim_start_matches("https://")
            .trim_end_matches('/')
            .parse()
            .with_context(|| format!("{server} has a TLS name and no address"))?;
        let host = name.as_str().unwrap_or_default().to_owned();
        let name = format!("{host}:{}", address.port());
        cluster.insert("server".to_owned(), json!(format!("https://{name}")));
        let (mut hosts, mut proxy) = (None, None);
        if nix::unistd::geteuid().is_root() {
            let known = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
            let path = scratch.join("hosts");
            std::fs::write(&path, format!("{known}\n{} {host}\n", address.ip()))?;
            hosts = Some(path);
        } else {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            cluster.insert("proxy-url".to_owned(), json!(format!("http://{}", listener.local_addr()?)));
            proxy = Some(tokio::spawn(serve(listener, name, address)));
        }
        // JSON is YAML.
        let path = scratch.join("suite.kubeconfig");
        std::fs::write(&path, serde_json::to_vec(&config)?)?;
        Ok(Self { kubeconfig: path, hosts, proxy })
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        if let Some(proxy) = &self.proxy {
            proxy.abort();
        }
    }
}

async fn serve(listener: TcpListener, name: String, address: SocketAddr) {
    // Aborted with the listener's task.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let name = name.clone();
        connections.spawn(async move {
            if let Err(error) = lead(client, &name, address).await {
                eprintln!("conformance: proxy: {error:#}");
            }
        });
    }
}

/// One connection: `CONNECT name`, then bytes.
async fn lead(mut client: TcpStream, name: &str, address: SocketAddr) -> anyhow::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        anyhow::ensure!(head.len() < HEAD, "the request is too long");
        // Byte by byte, so that nothing behind the head is taken.
        head.push(timeout(PATIENCE, client.read_u8()).await??);
    }
    let line = String::from_utf8_lossy(&head);
    if !line.starts_with(&format!("CONNECT {name} ")) {
        client.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await?;
        anyhow::bail!("refused: {}", line.lines().next().unwrap_or_default());
    }
    let mut server = TcpStream::connect(address).await?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    // A reset is an end like any other.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn leads_to_its_name_only() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = server.local_addr().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let proxy = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, "demo.skep.internal:1".to_owned(), address));
        let ask = async |name: &str, more: &str| {
            let mut client = TcpStream::connect(proxy).await.unwrap();
            client
                .write_all(format!("CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\n{more}").as_bytes())
                .await
                .unwrap();
            client
        };
        let mut refused = ask("other.skep.internal:1", "").await;
        let mut answer = String::new();
        refused.read_to_string(&mut answer).await.ok();
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");

        let mut client = ask("demo.skep.internal:1", "hello").await;
        let (mut accepted, _) = server.accept().await.unwrap();
        let mut said = [0; 5];
        accepted.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"hello");
        accepted.write_all(b"bye").await.unwrap();
        drop(accepted);
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("HTTP/1.1 200 OK\r\n\r\nbye"), "{answer}");
        serving.abort();
    }
}
