//! Certificates and configuration files of a fixture.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use jiff::Timestamp;
use skep_pki::{Authority, CaData, Credentials, KeyPair, Kubeconfig, Leaf, Names, ServiceAccountKey};
use skep_plan::egress;

use super::address::Address;

/// Longer than any test run.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// Nobody listens there: what is meant for the inside of the cluster fails at once.
const NOBODY: &str = "/nonexistent/skep-test-egress.sock";

/// The files, by what they are for.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) directory: PathBuf,
    pub(super) authority: Authority,
    pub(super) ca: PathBuf,
    pub(super) server_cert: PathBuf,
    pub(super) server_key: PathBuf,
    pub(super) account_key: PathBuf,
    pub(super) account_public: PathBuf,
    pub(super) egress: Option<PathBuf>,
    pub(super) kubeconfig: PathBuf,
    admin: KeyPair,
}

impl Files {
    pub(super) fn write(directory: &Path, address: &Address, reach_nodes: bool) -> Result<Self> {
        let now = Timestamp::now();
        let authority = Authority::generate("skep-test", LIFE, now)?;
        let server = Leaf::server("kube-apiserver", LIFE).address(address.ip()).dns("kubernetes.default.svc");
        let server = authority.issue(&server, now)?;
        let admin =
            authority.issue(&Leaf::client("skep-test-admin", LIFE).organization("system:masters"), now)?;
        let account = ServiceAccountKey::generate()?;
        let write = |name: &str, text: &str| -> Result<PathBuf> {
            let path = directory.join(name);
            let mut file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            file.write_all(text.as_bytes())?;
            Ok(path)
        };
        let files = Self {
            directory: directory.to_owned(),
            ca: write("ca.crt", authority.cert_pem())?,
            server_cert: write("server.crt", &server.cert_pem)?,
            server_key: write("server.key", server.key_pem.as_str())?,
            account_key: write("account.key", account.private_pem.as_str())?,
            account_public: write("account.pub", &account.public_pem)?,
            egress: if reach_nodes { None } else { Some(write("egress.yaml", &egress::through(NOBODY))?) },
            kubeconfig: directory.join("kubeconfig"),
            authority,
            admin,
        };
        write("kubeconfig", &files.kubeconfig(address)?)?;
        Ok(files)
    }

    pub(super) fn kubeconfig(&self, address: &Address) -> Result<String> {
        let credentials = Credentials::Inline {
            cert_pem: self.admin.cert_pem.clone(),
            key_pem: self.admin.key_pem.clone(),
        };
        let ca = CaData::Inline(self.authority.cert_pem().to_owned());
        let server = format!("https://{}", address.apiserver());
        Ok(Kubeconfig::new(Names::same("skep-test"), server, ca, credentials).to_yaml()?)
    }
}
