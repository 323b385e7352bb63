//! Reading the current context of a kubeconfig.

use serde_json::Value;

use super::document::{entries, name};
use super::{CaData, Credentials, Kubeconfig, Names, decode};
use crate::{Error, Pem, Result};

/// The cluster and user of the current context.
pub(super) fn current(tree: &Value) -> Result<Kubeconfig> {
    let context_name = text(tree, "current-context").ok_or_else(|| missing("a current-context"))?;
    let context = find(tree, "contexts", "context", context_name)?;
    let field = |key: &str| {
        text(context, key).ok_or_else(|| missing(&format!("a {key} in context {context_name:?}")))
    };
    let (cluster_name, user_name) = (field("cluster")?, field("user")?);
    let cluster = find(tree, "clusters", "cluster", cluster_name)?;
    let user = find(tree, "users", "user", user_name)?;
    let server =
        text(cluster, "server").ok_or_else(|| missing(&format!("a server in cluster {cluster_name:?}")))?;
    Ok(Kubeconfig {
        names: Names {
            cluster: cluster_name.to_owned(),
            user: user_name.to_owned(),
            context: context_name.to_owned(),
        },
        server: server.to_owned(),
        tls_server_name: text(cluster, "tls-server-name").map(str::to_owned),
        ca: ca(cluster, cluster_name)?,
        credentials: credentials(user, user_name)?,
        namespace: text(context, "namespace").map(str::to_owned),
    })
}

fn ca(cluster: &Value, name: &str) -> Result<CaData> {
    // The inline form wins when both are present, as in client-go.
    match (text(cluster, "certificate-authority-data"), text(cluster, "certificate-authority")) {
        (Some(data), _) => Ok(CaData::Inline(decode(data, "certificate-authority-data")?)),
        (None, Some(path)) => Ok(CaData::File(path.to_owned())),
        (None, None) => Err(missing(&format!("a certificate authority in cluster {name:?}"))),
    }
}

fn credentials(user: &Value, name: &str) -> Result<Credentials> {
    if let (Some(cert), Some(key)) = (text(user, "client-certificate-data"), text(user, "client-key-data")) {
        return Ok(Credentials::Inline {
            cert_pem: decode(cert, "client-certificate-data")?,
            key_pem: Pem::new(decode(key, "client-key-data")?),
        });
    }
    match (text(user, "client-certificate"), text(user, "client-key")) {
        (Some(cert), Some(key)) => Ok(Credentials::Files { cert: cert.to_owned(), key: key.to_owned() }),
        _ => Err(missing(&format!("a client certificate and key of user {name:?}"))),
    }
}

fn find<'a>(tree: &'a Value, section: &str, inner: &str, wanted: &str) -> Result<&'a Value> {
    entries(tree, section)
        .iter()
        .find(|e| name(e) == Some(wanted))
        .and_then(|e| e.get(inner))
        .ok_or_else(|| missing(&format!("entry {wanted:?} in {section}")))
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str).filter(|s| !s.is_empty())
}

fn missing(what: &str) -> Error {
    Error::Kubeconfig(format!("it has no {}; write it again", what.trim_start_matches("a ")))
}
