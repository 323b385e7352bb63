//! Service account tokens: asked for once, handed out until four fifths of their life are over.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest as Request, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};

use super::bounded;
use crate::backend::{PodUid, ServiceAccountToken, SourceError, TokenRequest};

/// Shortest life the API server grants (`pkg/apis/authentication/validation`).
const SHORTEST: Duration = Duration::from_secs(600);
/// Tokens kept per pod; a pod that projects more has its oldest asked for anew.
const PER_POD: usize = 8;

/// Tokens by pod.
#[derive(Default)]
pub struct TokenCache(Mutex<HashMap<PodUid, Vec<Kept>>>);

struct Kept {
    request: TokenRequest,
    token: ServiceAccountToken,
    renew_at: Timestamp,
}

impl TokenCache {
    /// A token for `pod` that has at least a fifth of its life before it.
    pub async fn get(
        &self,
        client: &Client,
        pod: &Pod,
        request: &TokenRequest,
    ) -> Result<ServiceAccountToken, SourceError> {
        let uid = PodUid::of(pod).map_err(|error| SourceError::Refused(error.to_string()))?;
        let now = Timestamp::now();
        if let Some(token) = self.find(&uid, request, now) {
            return Ok(token);
        }
        let token = fetch(client, pod, request).await?;
        let renew_at = renew_at(now, token.expires);
        let kept = Kept { request: request.clone(), token: token.clone(), renew_at };
        self.with(|tokens| {
            let of_pod = tokens.entry(uid).or_default();
            of_pod.retain(|known| known.request != *request);
            if of_pod.len() >= PER_POD {
                of_pod.remove(0);
            }
            of_pod.push(kept);
        });
        Ok(token)
    }

    /// Drops the tokens of a pod.
    pub fn forget(&self, uid: &PodUid) {
        self.with(|tokens| tokens.remove(uid));
    }

    fn find(&self, uid: &PodUid, request: &TokenRequest, now: Timestamp) -> Option<ServiceAccountToken> {
        self.with(|tokens| {
            let of_pod = tokens.get(uid)?;
            let kept = of_pod.iter().find(|kept| kept.request == *request && now < kept.renew_at)?;
            Some(kept.token.clone())
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut HashMap<PodUid, Vec<Kept>>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Four fifths of the way from `now` to `expires`.
fn renew_at(now: Timestamp, expires: Timestamp) -> Timestamp {
    let life = expires.duration_since(now);
    if life.is_positive() { now.saturating_add(life * 4 / 5).unwrap_or(now) } else { now }
}

async fn fetch(
    client: &Client,
    pod: &Pod,
    request: &TokenRequest,
) -> Result<ServiceAccountToken, SourceError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let account =
        pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
    let what = format!("token of ServiceAccount {namespace}/{account}");
    let lifetime = request.lifetime.max(SHORTEST);
    let body = Request {
        spec: TokenRequestSpec {
            audiences: request.audience.iter().cloned().collect(),
            expiration_seconds: i64::try_from(lifetime.as_secs()).ok(),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
        },
        ..Request::default()
    };
    let api = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    let parameters = PostParams::default();
    let answer = bounded(&what, api.create_token_request(account, &parameters, &body)).await?;
    let status = answer.status.ok_or_else(|| SourceError::Unavailable(format!("{what}: empty answer")))?;
    Ok(ServiceAccountToken { token: status.token, expires: status.expiration_timestamp.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn kept(cache: &TokenCache, uid: &PodUid, request: &TokenRequest, now: Timestamp, expires: Timestamp) {
        let token = ServiceAccountToken { token: "t".into(), expires };
        let kept = Kept { request: request.clone(), token, renew_at: renew_at(now, expires) };
        cache.with(|tokens| tokens.entry(uid.clone()).or_default().push(kept));
    }

    #[test]
    fn a_token_is_used_for_four_fifths_of_its_life() {
        let (cache, uid) = (TokenCache::default(), PodUid::parse("u").unwrap());
        let request = TokenRequest { audience: None, lifetime: Duration::from_secs(3600) };
        kept(&cache, &uid, &request, at("2026-01-01T00:00:00Z"), at("2026-01-01T01:00:00Z"));
        assert!(cache.find(&uid, &request, at("2026-01-01T00:47:59Z")).is_some());
        assert!(cache.find(&uid, &request, at("2026-01-01T00:48:00Z")).is_none());
        let other = TokenRequest { audience: Some("vault".into()), ..request.clone() };
        assert!(cache.find(&uid, &other, at("2026-01-01T00:01:00Z")).is_none());
        cache.forget(&uid);
        assert!(cache.find(&uid, &request, at("2026-01-01T00:01:00Z")).is_none());
    }

    #[test]
    fn a_token_that_has_expired_is_renewed_at_once() {
        let now = at("2026-01-01T01:00:00Z");
        assert_eq!(renew_at(now, at("2026-01-01T00:00:00Z")), now);
    }
}
