//! Bootstrap tokens: one for each machine, good for an hour, renewed while it has not joined, deleted once it has.
//!
//! A token's id follows from the machine's uid, so that it is found again after any crash; its secret is random and is
//! nowhere but in the tenant's Secret and on the machine.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use rand::Rng as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use skep_kubeops::error::is_already_exists;
use skep_kubeops::{Applier, Key};

use super::GROUP;
use crate::Error;

/// How long a token is good for.
pub const LIFE: Duration = Duration::from_secs(3600);
/// With less than this left it is renewed.
const RENEW: Duration = Duration::from_secs(1200);
/// Label of the Secret: the machine's uid.
const MACHINE_UID: &str = "skep.dev/machine-uid";
/// Label of the Secret: the machine's name, for people.
const MACHINE: &str = "skep.dev/machine";
/// What ids and secrets are made of (`[a-z0-9]{6}\.[a-z0-9]{16}`).
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const NAMESPACE: &str = "kube-system";
/// Attempts to create what somebody else may be creating or deleting.
const ATTEMPTS: usize = 3;

/// A token as the machine is told it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// `id.secret`.
    pub text: String,
    /// When it has to be renewed.
    pub renew: Timestamp,
    /// It was made now: a machine that was told another one before has to be told this one.
    pub fresh: bool,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("renew", &self.renew).finish_non_exhaustive()
    }
}

/// The id of a machine's token.
pub fn id(uid: &str) -> String {
    let digest = Sha256::digest(format!("bootstrap token of machine {uid}").as_bytes());
    digest.iter().take(6).map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}

/// Name of the Secret of a machine's token (`k8s.io/cluster-bootstrap/token/api`, `BootstrapTokenSecretPrefix`).
pub fn secret_name(uid: &str) -> String {
    format!("bootstrap-token-{}", id(uid))
}

/// The machine's token, made or renewed if need be.
///
/// # Errors
/// The tenant's API server refused or could not be reached, or somebody else has a token of this id.
pub async fn ensure(
    tenant: &Applier,
    cluster: &Key,
    name: &str,
    uid: &str,
    now: Timestamp,
) -> Result<Token, Error> {
    let failed = |error| Error::tenant(cluster)(error);
    let key = Key::namespaced(NAMESPACE, secret_name(uid));
    let api: Api<Secret> = Api::namespaced(tenant.client().clone(), NAMESPACE);
    let mut fresh = false;
    for _ in 0..ATTEMPTS {
        if let Some(found) = tenant.get::<Secret>(&key).await.map_err(failed)? {
            let Some((text, expires)) = read(&found, uid) else {
                return Err(Error::ForeignToken { cluster: cluster.clone(), secret: key });
            };
            if expires.duration_since(now).unsigned_abs() >= RENEW && expires > now {
                return Ok(Token { text, renew: expires - RENEW, fresh });
            }
            let expires = now + LIFE;
            let patch = json!({"data": {"expiration": ByteString(expires.to_string().into_bytes())},
                "metadata": {"uid": found.metadata.uid}});
            match api.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Ok(_) => return Ok(Token { text, renew: expires - RENEW, fresh }),
                // Cleaned up between the read and the write: made anew in the next round.
                Err(error) if skep_kubeops::error::is_not_found(&error) => continue,
                Err(error) => return Err(failed(skep_kubeops::Error::api::<Secret>("renew", &key, error))),
            }
        }
        let new = build(name, uid, &random(16), now + LIFE);
        match api.create(&PostParams::default(), &new).await {
            // What was stored is read: two creations at once must not end in two opinions.
            Ok(_) => fresh = true,
            Err(error) if is_already_exists(&error) => {}
            Err(error) => return Err(failed(skep_kubeops::Error::api::<Secret>("create", &key, error))),
        }
    }
    Err(Error::TokenRace { cluster: cluster.clone(), secret: key })
}

/// Takes the machine's token back.
///
/// # Errors
/// The tenant's API server refused or could not be reached.
pub async fn remove(tenant: &Applier, cluster: &Key, uid: &str) -> Result<(), Error> {
    let key = Key::namespaced(NAMESPACE, secret_name(uid));
    tenant.delete_if_exists::<Secret>(&key, None).await.map_err(Error::tenant(cluster))?;
    Ok(())
}

fn build(name: &str, uid: &str, secret: &str, expires: Timestamp) -> Secret {
    let labels = [(MACHINE, name), (MACHINE_UID, uid)].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut all: BTreeMap<String, String> = super::managed();
    all.extend(labels);
    let data = [
        ("token-id", id(uid)),
        ("token-secret", secret.to_owned()),
        ("expiration", expires.to_string()),
        ("usage-bootstrap-authentication", "true".to_owned()),
        ("auth-extra-groups", GROUP.to_owned()),
        ("description", format!("machine {name} joins with it")),
    ];
    Secret {
        metadata: ObjectMeta {
            name: Some(secret_name(uid)),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some(all),
            ..ObjectMeta::default()
        },
        type_: Some("bootstrap.kubernetes.io/token".to_owned()),
        data: Some(data.into_iter().map(|(k, v)| (k.to_owned(), ByteString(v.into_bytes()))).collect()),
        ..Secret::default()
    }
}

/// Token and end of a Secret that is this machine's and whole.
fn read(secret: &Secret, uid: &str) -> Option<(String, Timestamp)> {
    let owner = secret.metadata.labels.as_ref()?.get(MACHINE_UID)?;
    let text = |key: &str| {
        let bytes = &secret.data.as_ref()?.get(key)?.0;
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    };
    if owner != uid || text("token-id")? != id(uid) {
        return None;
    }
    let made = text("token-secret").filter(|secret| secret.len() == 16)?;
    let expires = text("expiration").and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH);
    Some((format!("{}.{made}", id(uid)), expires))
}

fn random(length: usize) -> String {
    let mut rng = rand::rng();
    (0..length).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_and_follows_from_the_uid() {
        let one = id("11111111-2222-3333-4444-555555555555");
        assert_eq!(one, id("11111111-2222-3333-4444-555555555555"));
        assert_ne!(one, id("11111111-2222-3333-4444-555555555556"));
        assert!(one.len() == 6 && one.bytes().all(|byte| ALPHABET.contains(&byte)));
    }

    #[test]
    fn what_is_built_is_read_again_by_its_machine_only() {
        let expires: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let secret = random(16);
        let built = build("demo-w-abcde", "u1", &secret, expires);
        assert_eq!(read(&built, "u1"), Some((format!("{}.{secret}", id("u1")), expires)));
        assert_eq!(read(&built, "u2"), None);
        let mut foreign = built.clone();
        foreign.metadata.labels = None;
        assert_eq!(read(&foreign, "u1"), None);
        let data = built.data.unwrap();
        assert_eq!(data["auth-extra-groups"].0, b"system:bootstrappers:skep");
        // The format upstream parses (`time.RFC3339`).
        assert_eq!(data["expiration"].0, b"2026-11-21T10:00:00Z");
    }

    #[test]
    fn a_token_does_not_show_itself() {
        let token =
            Token { text: "abcdef.0123456789abcdef".into(), renew: Timestamp::UNIX_EPOCH, fresh: true };
        assert!(!format!("{token:?}").contains("0123"));
    }
}
