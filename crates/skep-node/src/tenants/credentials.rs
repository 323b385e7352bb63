//! How to reach a tenant's API server as its administrator.

use std::sync::Arc;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use skep_kubeops::{ClientConfig, Key};
use skep_pki::{CaData, Kubeconfig};

use super::Endpoint;
use crate::Error;

/// Key of the kubeconfig in its Secret, as Cluster API has it.
const KUBECONFIG_KEY: &str = "value";
/// User agent towards tenants.
const AGENT: &str = "skep-operator";

/// Makes clients of tenants. Tests put another one here.
pub type Connect = Arc<dyn Fn(Credentials) -> BoxFuture<'static, Result<Client, String>> + Send + Sync>;

/// Certificates of a tenant's administrator, and where they are good for.
#[derive(Clone)]
pub struct Credentials {
    /// Where.
    pub endpoint: Endpoint,
    /// Certificate authorities of the API server, PEM.
    pub authorities: String,
    config: Kubeconfig,
}

impl Credentials {
    /// Takes the certificates out of a Secret with a kubeconfig, and nothing else: the server is the one of `endpoint`,
    /// whatever the kubeconfig says, and nothing on this machine is read or run.
    ///
    /// # Errors
    /// There is no kubeconfig with inline certificates in it.
    pub fn read(key: &Key, secret: &Secret, endpoint: &Endpoint) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Kubeconfig { secret: key.clone(), reason };
        let data = secret.data.as_ref().and_then(|data| data.get(KUBECONFIG_KEY));
        let text = data.ok_or_else(|| wrong(format!("it has no key `{KUBECONFIG_KEY}`")))?;
        let text = std::str::from_utf8(&text.0).map_err(|_| wrong("it is no text".to_owned()))?;
        let config = Kubeconfig::parse(text).map_err(|error| wrong(error.to_string()))?;
        let authorities = match &config.ca {
            CaData::Inline(pem) if config.is_self_contained() => pem.clone(),
            _ => return Err(wrong("certificates and key must be inside, not in files".to_owned())),
        };
        let config = Kubeconfig {
            server: endpoint.server.clone(),
            tls_server_name: Some(endpoint.host.clone()),
            namespace: None,
            ..config
        };
        Ok(Self { endpoint: endpoint.clone(), authorities, config })
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// The clients of the product. They do not repeat calls by themselves: an eviction that a disruption budget refuses is
/// answered like a call that came too fast, and would be waited for within one pass, pod after pod.
pub fn connect() -> Connect {
    Arc::new(|credentials| {
        Box::pin(async move {
            let yaml = credentials.config.to_yaml().map_err(|error| error.to_string())?;
            let config = ClientConfig::from_yaml(&yaml).await.map_err(|error| error.to_string())?;
            config.retries(0).build(AGENT).map_err(|error| error.to_string())
        })
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use skep_pki::{Names, Pem};

    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint { server: "https://127.0.0.1:6443".into(), host: "demo-abcd2345.skep.internal".into() }
    }

    fn read(value: &str) -> Result<Credentials, Error> {
        let data = [(KUBECONFIG_KEY.to_owned(), ByteString(value.as_bytes().to_vec()))].into();
        let secret = Secret { data: Some(data), ..Secret::default() };
        Credentials::read(&Key::namespaced("team-a", "demo-kubeconfig"), &secret, &endpoint())
    }

    fn kubeconfig(server: &str) -> String {
        let names = Names { cluster: "c".into(), user: "u".into(), context: "x".into() };
        let credentials = skep_pki::Credentials::Inline { cert_pem: "CERT".into(), key_pem: Pem::new("KEY") };
        Kubeconfig::new(names, server, CaData::Inline("CA".into()), credentials).to_yaml().unwrap()
    }

    #[test]
    fn only_certificates_are_taken_from_where_tenants_may_write() {
        let read = read(&kubeconfig("https://169.254.169.254")).unwrap();
        assert_eq!(read.config.server, "https://127.0.0.1:6443");
        assert_eq!(read.config.tls_server_name.as_deref(), Some("demo-abcd2345.skep.internal"));
        assert_eq!(read.authorities, "CA");
        assert!(!format!("{read:?}").contains("KEY"));
    }

    #[test]
    fn a_kubeconfig_that_would_read_or_run_something_here_is_refused() {
        let inline = kubeconfig("https://127.0.0.1:6443");
        let file = inline.replace("client-key-data: S0VZ", "client-key: /etc/shadow");
        assert_ne!(file, inline);
        let run = inline.replace(
            "client-key-data: S0VZ",
            "exec: {command: id, apiVersion: client.authentication.k8s.io/v1}",
        );
        assert_ne!(run, inline);
        for text in [file.as_str(), run.as_str(), "", "[]", "a: [", "apiVersion: v1"] {
            let error = read(text).unwrap_err();
            assert!(error.to_string().contains("team-a/demo-kubeconfig"), "{error}");
            assert!(error.to_string().contains("SKEP-8060"), "{error}");
        }
    }
}
