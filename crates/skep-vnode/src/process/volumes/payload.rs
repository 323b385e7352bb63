//! What is in the files of a secret, configMap, projected or downward API volume.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, ServiceAccountTokenProjection, Volume,
    VolumeProjection,
};

use crate::backend::{PodContext, TokenRequest};
use crate::process::fields;

/// Mode of files when nothing says otherwise (`defaultMode` of the API).
const DEFAULT_MODE: i32 = 0o644;
/// Lifetime of a token when the pod does not say (`ServiceAccountTokenProjection.expirationSeconds`).
const TOKEN_LIFETIME: i64 = 3600;
/// Tokens are replaced after four fifths of their life, and never later than this after they were made, like the
/// kubelet does (`pkg/kubelet/token`).
const TOKEN_LONGEST: SignedDuration = SignedDuration::from_hours(24);

/// One file of a volume.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Below the volume.
    pub path: PathBuf,
    /// Contents.
    pub data: Vec<u8>,
    /// Mode bits.
    pub mode: u32,
}

/// The contents of such an object: key → bytes.
type Data = BTreeMap<String, Vec<u8>>;

/// Files by path; a later source of a projected volume wins.
#[derive(Default)]
struct Files(BTreeMap<PathBuf, File>);

impl Files {
    fn add(&mut self, path: &str, data: Vec<u8>, mode: i32) -> Result<(), String> {
        let clean = super::relative(path).map_err(|why| format!("path {path:?}: {why}"))?;
        // Names that start with two dots are the volume's own (`..data`).
        if clean.components().next().is_some_and(|c| c.as_os_str().to_string_lossy().starts_with("..")) {
            return Err(format!("path {path:?}: it starts with \"..\""));
        }
        let mode = u32::try_from(mode).unwrap_or_default() & 0o777;
        self.0.insert(clean.clone(), File { path: clean, data, mode });
        Ok(())
    }

    /// All keys, or those that are listed under the paths that are listed.
    fn add_keys(
        &mut self,
        what: &str,
        data: &Data,
        items: Option<&Vec<KeyToPath>>,
        mode: i32,
        optional: bool,
    ) -> Result<(), String> {
        let Some(items) = items.filter(|i| !i.is_empty()) else {
            return data.iter().try_for_each(|(key, value)| self.add(key, value.clone(), mode));
        };
        for item in items {
            match data.get(&item.key) {
                Some(value) => self.add(&item.path, value.clone(), item.mode.unwrap_or(mode))?,
                None if optional => {}
                None => return Err(format!("references non-existent {what} key: {}", item.key)),
            }
        }
        Ok(())
    }

    fn add_downward(
        &mut self,
        items: &[DownwardAPIVolumeFile],
        pod: &Pod,
        context: &PodContext,
        mode: i32,
    ) -> Result<(), String> {
        for item in items {
            let value = match (&item.field_ref, &item.resource_field_ref) {
                (Some(source), _) => fields::field(pod, context, &source.field_path)?,
                (None, Some(source)) => fields::resource(pod, context, None, source)?,
                (None, None) => return Err(format!("path {:?} has no source", item.path)),
            };
            self.add(&item.path, value.into_bytes(), item.mode.unwrap_or(mode))?;
        }
        Ok(())
    }
}

/// The files of a volume and when they must be made anew, or `None` for a volume of another kind.
pub(super) async fn files(
    volume: &Volume,
    pod: &Pod,
    context: &PodContext,
) -> Result<Option<(Vec<File>, Option<Timestamp>)>, String> {
    let mut files = Files::default();
    let mut renew = None;
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let optional = source.optional == Some(true);
        let data = secret(pod, context, name, optional).await?;
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        files.add_keys("secret", &data, source.items.as_ref(), mode, optional)?;
    } else if let Some(source) = &volume.config_map {
        let optional = source.optional == Some(true);
        let data = config_map(pod, context, &source.name, optional).await?;
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        files.add_keys("config", &data, source.items.as_ref(), mode, optional)?;
    } else if let Some(source) = &volume.downward_api {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        files.add_downward(source.items.as_deref().unwrap_or_default(), pod, context, mode)?;
    } else if let Some(projected) = &volume.projected {
        let mode = projected.default_mode.unwrap_or(DEFAULT_MODE);
        for source in projected.sources.iter().flatten() {
            let at = projection(&mut files, source, pod, context, mode).await?;
            renew = [renew, at].into_iter().flatten().min();
        }
    } else {
        return Ok(None);
    }
    Ok(Some((files.0.into_values().collect(), renew)))
}

async fn projection(
    files: &mut Files,
    source: &VolumeProjection,
    pod: &Pod,
    context: &PodContext,
    mode: i32,
) -> Result<Option<Timestamp>, String> {
    if let Some(source) = &source.secret {
        let optional = source.optional == Some(true);
        let data = secret(pod, context, &source.name, optional).await?;
        files.add_keys("secret", &data, source.items.as_ref(), mode, optional)?;
    } else if let Some(source) = &source.config_map {
        let optional = source.optional == Some(true);
        let data = config_map(pod, context, &source.name, optional).await?;
        files.add_keys("config", &data, source.items.as_ref(), mode, optional)?;
    } else if let Some(source) = &source.downward_api {
        files.add_downward(source.items.as_deref().unwrap_or_default(), pod, context, mode)?;
    } else if let Some(source) = &source.service_account_token {
        let (token, renew) = token(source, pod, context).await?;
        files.add(&source.path, token.into_bytes(), mode)?;
        return Ok(Some(renew));
    } else if source.cluster_trust_bundle.as_ref().is_some_and(|b| b.optional != Some(true)) {
        return Err("SKEP-7102: clusterTrustBundle projections are not supported here".into());
    } else if source.pod_certificate.is_some() {
        return Err("SKEP-7102: podCertificate projections are not supported here".into());
    }
    Ok(None)
}

async fn token(
    source: &ServiceAccountTokenProjection,
    pod: &Pod,
    context: &PodContext,
) -> Result<(String, Timestamp), String> {
    let seconds = source.expiration_seconds.unwrap_or(TOKEN_LIFETIME).clamp(600, 1 << 32);
    let request = TokenRequest {
        audience: source.audience.clone().filter(|a| !a.is_empty()),
        lifetime: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
    };
    let asked = Timestamp::now();
    let token = context.sources.token(pod, &request).await;
    let token = token.map_err(|e| format!("failed to fetch token: {e}"))?;
    let life = token.expires.duration_since(asked).max(SignedDuration::from_secs(10));
    let renew = asked.checked_add((life / 5 * 4).min(TOKEN_LONGEST)).unwrap_or(asked);
    Ok((token.token, renew))
}

async fn secret(pod: &Pod, context: &PodContext, name: &str, optional: bool) -> Result<Data, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    match context.sources.secret(namespace, name).await.map_err(|e| e.to_string())? {
        Some(secret) => Ok(of_secret(&secret)),
        None if optional => Ok(Data::new()),
        None => Err(format!("secret {name:?} not found")),
    }
}

async fn config_map(pod: &Pod, context: &PodContext, name: &str, optional: bool) -> Result<Data, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    match context.sources.config_map(namespace, name).await.map_err(|e| e.to_string())? {
        Some(map) => Ok(of_map(&map)),
        None if optional => Ok(Data::new()),
        None => Err(format!("configmap {name:?} not found")),
    }
}

fn of_secret(secret: &Secret) -> Data {
    secret.data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone())).collect()
}

fn of_map(map: &ConfigMap) -> Data {
    let text = map.data.iter().flatten().map(|(k, v)| (k.clone(), v.clone().into_bytes()));
    text.chain(map.binary_data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone()))).collect()
}
