//! etcdctl, the judge from outside.

use std::path::PathBuf;
use std::process::Stdio;

use skep_pki::KeyPair;
use skep_testkit::PATIENCE;
use tokio::process::Command;

use super::cell::Cell;

/// etcdctl with one user's certificate.
pub(super) struct Ctl {
    program: PathBuf,
    arguments: Vec<String>,
}

/// What a run of etcdctl gave.
#[derive(Debug)]
pub(super) struct Said {
    pub ok: bool,
    pub text: String,
}

impl Said {
    /// Did etcd refuse for lack of a right?
    pub(super) fn denied(&self) -> bool {
        !self.ok && self.text.contains("permission denied")
    }
}

impl Ctl {
    /// As the owner of this certificate.
    pub(super) fn new(cell: &Cell, name: &str, server_ca_pem: &str, pair: &KeyPair) -> Self {
        let file = |suffix: &str, content: &str| {
            let path = cell.directory.path().join(format!("{name}.{suffix}"));
            std::fs::write(&path, content).unwrap();
            path.display().to_string()
        };
        let arguments = vec![
            format!("--endpoints={}", cell.endpoint()),
            format!("--cacert={}", file("ca", server_ca_pem)),
            format!("--cert={}", file("crt", &pair.cert_pem)),
            format!("--key={}", file("key", pair.key_pem.as_str())),
            format!("--dial-timeout={PATIENCE:?}"),
            format!("--command-timeout={PATIENCE:?}"),
        ];
        Self { program: cell.etcd_programs.join("etcdctl"), arguments }
    }

    /// As a tenant that was let in.
    pub(super) async fn tenant(cell: &Cell, tenant: &str) -> Self {
        let access = cell.ensure(tenant).await;
        Self::new(cell, tenant, &access.server_ca_pem, &access.client.pair)
    }

    /// Runs a command, given as words.
    pub(super) async fn run(&self, command: &str) -> Said {
        let mut words: Vec<&str> = command.split_whitespace().collect();
        // An empty key is an empty argument.
        words.iter_mut().filter(|w| **w == "''").for_each(|w| *w = "");
        let output = Command::new(&self.program)
            .args(&self.arguments)
            .args(words)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        Said { ok: output.status.success(), text: String::from_utf8_lossy(&text).into_owned() }
    }
}
