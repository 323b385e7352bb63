//! A real etcd and kube-apiserver for tests, one per test binary.
//!
//! Guarantees: the processes end with the test process, however that ends
//! ([`guard`]); they listen on a loopback address of this process only; and no
//! packet ever leaves for an address inside the cluster, because its egress
//! goes to a socket that does not exist.
//!
//! Not for production: etcd does not sync its files, the store is a temporary
//! directory, and the only user is an administrator.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};
use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use skep_engine::{Artifact, Engine, Lines};
use tempfile::TempDir;
use tokio::{sync::OnceCell, time::timeout};

use crate::PATIENCE;

mod address;
mod files;
pub mod guard;
mod programs;

use address::Address;
use files::Files;
use guard::Guarded;

static SHARED: OnceCell<ApiServer> = OnceCell::const_new();
static SHARED_WHOLE: OnceCell<ApiServer> = OnceCell::const_new();
static NAMESPACES: AtomicU32 = AtomicU32::new(0);

/// What a fixture consists of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Kubernetes version; `$SKEP_TEST_KUBERNETES`, else the newest the engine knows.
    pub kubernetes: String,
    /// Also run kube-controller-manager (garbage collection, service accounts, Deployments …).
    pub controller_manager: bool,
    /// Also run kube-scheduler.
    pub scheduler: bool,
    /// Lets the API server reach nodes and webhooks: for tests that serve a kubelet on loopback.
    pub reach_nodes: bool,
    /// CRDs to install.
    pub crds: Vec<CustomResourceDefinition>,
    /// Further flags of kube-apiserver.
    pub apiserver_flags: Vec<String>,
}

impl Default for Options {
    /// etcd and kube-apiserver of the newest version, with Skep's CRDs.
    fn default() -> Self {
        let newest = || skep_engine::KUBERNETES[0].to_owned();
        Self {
            kubernetes: std::env::var("SKEP_TEST_KUBERNETES").unwrap_or_else(|_| newest()),
            controller_manager: false,
            scheduler: false,
            reach_nodes: false,
            crds: skep_api::crds(),
            apiserver_flags: Vec::new(),
        }
    }
}

impl Options {
    /// With kube-controller-manager and kube-scheduler: a whole control plane.
    pub fn whole() -> Self {
        Self { controller_manager: true, scheduler: true, ..Self::default() }
    }
}

/// A running API server.
#[derive(Debug)]
pub struct ApiServer {
    /// In the order they were started.
    processes: Vec<Guarded>,
    kubeconfig: String,
    files: Files,
    address: Address,
    programs: Artifact,
    directory: TempDir,
}

impl ApiServer {
    /// The fixture of this test binary, started on first use (about 2.5 s) with default options.
    ///
    /// # Errors
    /// The binaries cannot be had, or something does not start; the error carries the end of its log.
    pub async fn shared() -> Result<&'static Self> {
        SHARED.get_or_try_init(|| Self::start(Options::default())).await
    }

    /// The same with kube-controller-manager and kube-scheduler ([`Options::whole`]); another server than
    /// [`ApiServer::shared`].
    ///
    /// # Errors
    /// As [`ApiServer::shared`].
    pub async fn shared_whole() -> Result<&'static Self> {
        SHARED_WHOLE.get_or_try_init(|| Self::start(Options::whole())).await
    }

    /// A fixture of its own.
    ///
    /// # Errors
    /// As [`ApiServer::shared`].
    pub async fn start(options: Options) -> Result<Self> {
        let engine = Engine::from_env()?;
        let progress = Lines::stderr();
        let kube = skep_engine::kubernetes_image(&options.kubernetes)?;
        let programs =
            engine.ensure(&kube, &progress).await.context("no Kubernetes binaries for the tests")?;
        let etcd =
            engine.ensure(&skep_engine::etcd_image(), &progress).await.context("no etcd for the tests")?;
        let directory = tempfile::Builder::new().prefix("skep-test-").tempdir()?;
        let address = Address::next();
        let store = programs::etcd(&etcd, &address, directory.path())?;
        let files = Files::write(directory.path(), &address, options.reach_nodes)?;
        let kubeconfig = files.kubeconfig(&address)?;
        let mut server = Self { processes: vec![store], kubeconfig, files, address, programs, directory };
        server.wait_for_port(server.address.etcd(), "etcd").await?;

        let apiserver = programs::apiserver(&server.programs, &server.address, &server.files, &options)?;
        server.processes.push(apiserver);
        server.wait_for_port(server.address.apiserver(), "kube-apiserver").await?;
        server.wait_until_it_serves().await?;
        if options.controller_manager {
            server.processes.push(programs::controller_manager(
                &server.programs,
                &server.address,
                &server.files,
            )?);
        }
        if options.scheduler {
            server.processes.push(programs::scheduler(&server.programs, &server.address, &server.files)?);
        }
        server.install(&options.crds).await?;
        Ok(server)
    }

    /// A client with all rights, for the calling runtime. It does not repeat calls: tests see every answer.
    ///
    /// # Errors
    /// The kubeconfig cannot be used.
    pub async fn client(&self) -> Result<Client> {
        Ok(Client::try_from(self.config().await?)?)
    }

    /// The configuration behind [`ApiServer::client`].
    ///
    /// # Errors
    /// The kubeconfig cannot be used.
    pub async fn config(&self) -> Result<Config> {
        let kubeconfig = Kubeconfig::from_yaml(&self.kubeconfig)?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.default_retry = false;
        Ok(config)
    }

    /// An administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &str {
        &self.kubeconfig
    }

    /// The administrator's kubeconfig as a file.
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.files.kubeconfig.clone()
    }

    /// `https://127.x.y.z:6443`.
    pub fn server(&self) -> String {
        format!("https://{}", self.address.apiserver())
    }

    /// The authority that signed the server's certificate, and whose clients the server believes.
    pub fn authority(&self) -> &skep_pki::Authority {
        &self.files.authority
    }

    /// The directory with everything of this fixture, logs included.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Path of a program of the same Kubernetes version (`kubectl`).
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        self.programs.program(name)
    }

    /// A new namespace that no other test uses: `<prefix>-<n>`.
    ///
    /// # Errors
    /// It cannot be created.
    pub async fn namespace(&self, client: &Client, prefix: &str) -> Result<String> {
        let number = NAMESPACES.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}-{number}");
        let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await?;
        Ok(name)
    }

    /// Installs CRDs and waits until they are served.
    ///
    /// # Errors
    /// One is refused, or is not established in time.
    pub async fn install(&self, crds: &[CustomResourceDefinition]) -> Result<()> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client().await?);
        let params = PatchParams::apply("skep-testkit").force();
        for crd in crds {
            let name = crd.metadata.name.as_deref().context("a CRD without a name")?;
            api.patch(name, &params, &Patch::Apply(crd))
                .await
                .with_context(|| format!("CRD {name} refused"))?;
        }
        for crd in crds {
            let name = crd.metadata.name.as_deref().unwrap_or_default();
            let established = kube::runtime::conditions::is_crd_established();
            let wait = kube::runtime::wait::await_condition(api.clone(), name, established);
            timeout(PATIENCE, wait).await.with_context(|| format!("CRD {name} is not established"))??;
        }
        self.wait_until_served(crds).await
    }

    /// "Established" comes a moment before the handler is there.
    async fn wait_until_served(&self, crds: &[CustomResourceDefinition]) -> Result<()> {
        let client = self.client().await?;
        for crd in crds {
            let Some(version) = crd.spec.versions.iter().find(|version| version.served) else { continue };
            let path = format!("/apis/{}/{}/{}?limit=1", crd.spec.group, version.name, crd.spec.names.plural);
            let request = http::Request::get(&path).body(Vec::new())?;
            self.until(&path, || async { client.request_text(request.clone()).await.is_ok() }).await?;
        }
        Ok(())
    }

    async fn wait_for_port(&self, address: std::net::SocketAddr, what: &str) -> Result<()> {
        self.until(what, || async { tokio::net::TcpStream::connect(address).await.is_ok() }).await
    }

    /// The API answers and the `default` namespace is there: that is all a test needs. The rest
    /// of `/readyz` (bootstrap roles) comes later and matters only to users who are no administrators.
    async fn wait_until_it_serves(&self) -> Result<()> {
        let client = self.client().await?;
        let namespaces: Api<Namespace> = Api::all(client);
        self.until("default namespace", || async {
            namespaces.get_opt("default").await.is_ok_and(|n| n.is_some())
        })
        .await
    }

    async fn until<F: Future<Output = bool>>(&self, what: &str, so: impl FnMut() -> F) -> Result<()> {
        guard::until(&self.processes, what, so).await
    }
}

impl Drop for ApiServer {
    /// Last started, first ended: the store goes when nobody uses it.
    fn drop(&mut self) {
        while let Some(process) = self.processes.pop() {
            drop(process);
        }
    }
}
