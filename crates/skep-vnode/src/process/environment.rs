//! The environment of a container: what the image says, then service links, then `envFrom`, then `env`, later over
//! earlier, with the kubelet's texts when something is missing (they become `CreateContainerConfigError`).

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVar, EnvVarSource, Pod};

use super::expand::expand;
use super::fields;
use super::marker::{HELPER_VARIABLE, VARIABLE};
use crate::backend::{PodContext, SourceError};

/// Why a container cannot be configured now. Shown as `CreateContainerConfigError`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct ConfigError(pub String);

impl From<SourceError> for ConfigError {
    fn from(error: SourceError) -> Self {
        Self(error.to_string())
    }
}

/// Name → value.
pub(super) type Environment = BTreeMap<String, String>;

/// Everything the environment of one container is made from.
pub(super) struct Recipe<'a> {
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub context: &'a PodContext,
    /// Below everything else: what the image and the backend set.
    pub base: Environment,
    /// Where the pod's volumes are, for `fileKeyRef`.
    pub volumes: &'a Path,
}

impl Recipe<'_> {
    /// Builds it. Values still hold mount paths as the container names them.
    pub(super) async fn build(&self) -> Result<Environment, ConfigError> {
        let mut environment = self.base.clone();
        environment.extend(self.context.env.iter().cloned());
        for source in self.container.env_from.iter().flatten() {
            self.all_of(source, &mut environment).await?;
        }
        for variable in self.container.env.iter().flatten() {
            if let Some(value) = self.value(variable, &environment).await? {
                environment.insert(variable.name.clone(), value);
            }
        }
        // These two say whose process it is; nobody else may.
        environment.remove(VARIABLE);
        environment.remove(HELPER_VARIABLE);
        if let Some((name, _)) = environment.iter().find(|(_, value)| value.contains('\0')) {
            return Err(ConfigError(format!("environment variable {name} holds a NUL byte")));
        }
        environment.retain(|name, _| !name.is_empty() && !name.contains(['=', '\0']));
        Ok(environment)
    }

    fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    async fn all_of(&self, from: &EnvFromSource, environment: &mut Environment) -> Result<(), ConfigError> {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(source) = &from.config_map_ref {
            let map = self.context.sources.config_map(self.namespace(), &source.name).await?;
            let data = present(map, source.optional, || no_map(&source.name))?;
            for (key, value) in data.iter().flat_map(|m| m.data.iter().flatten()) {
                environment.insert(format!("{prefix}{key}"), value.clone());
            }
        } else if let Some(source) = &from.secret_ref {
            let secret = self.context.sources.secret(self.namespace(), &source.name).await?;
            let data = present(secret, source.optional, || no_secret(&source.name))?;
            for (key, value) in data.iter().flat_map(|s| s.data.iter().flatten()) {
                environment.insert(format!("{prefix}{key}"), String::from_utf8_lossy(&value.0).into_owned());
            }
        }
        Ok(())
    }

    /// `None`: optional and not there, so the variable is not set at all.
    async fn value(&self, variable: &EnvVar, known: &Environment) -> Result<Option<String>, ConfigError> {
        match (variable.value.as_deref().filter(|v| !v.is_empty()), &variable.value_from) {
            (Some(text), _) => Ok(Some(expand(text, |name| known.get(name).map(String::as_str)))),
            (None, Some(from)) => self.value_from(from).await,
            (None, None) => Ok(Some(String::new())),
        }
    }

    async fn value_from(&self, from: &EnvVarSource) -> Result<Option<String>, ConfigError> {
        let namespace = self.namespace();
        if let Some(source) = &from.field_ref {
            return fields::field(self.pod, self.context, &source.field_path).map(Some).map_err(ConfigError);
        }
        if let Some(source) = &from.resource_field_ref {
            let value = fields::resource(self.pod, self.context, Some(self.container), source);
            return value.map(Some).map_err(ConfigError);
        }
        if let Some(source) = &from.config_map_key_ref {
            let map = self.context.sources.config_map(namespace, &source.name).await?;
            let Some(map) = present(map, source.optional, || no_map(&source.name))? else { return Ok(None) };
            let value = map.data.as_ref().and_then(|d| d.get(&source.key)).cloned();
            return present(value, source.optional, || {
                ConfigError(format!(
                    "couldn't find key {} in ConfigMap {namespace}/{}",
                    source.key, source.name
                ))
            });
        }
        if let Some(source) = &from.secret_key_ref {
            let secret = self.context.sources.secret(namespace, &source.name).await?;
            let Some(secret) = present(secret, source.optional, || no_secret(&source.name))? else {
                return Ok(None);
            };
            let value = secret.data.as_ref().and_then(|d| d.get(&source.key));
            let value = value.map(|v| String::from_utf8_lossy(&v.0).into_owned());
            return present(value, source.optional, || {
                ConfigError(format!("couldn't find key {} in Secret {namespace}/{}", source.key, source.name))
            });
        }
        if let Some(source) = &from.file_key_ref {
            let file = super::volumes::relative(&source.path)
                .map(|path| self.volumes.join(&source.volume_name).join(path))
                .map_err(|why| ConfigError(format!("path {:?} of fileKeyRef: {why}", source.path)))?;
            let value = env_file_value(&file, &source.key);
            return present(value, source.optional, || {
                ConfigError(format!(
                    "environment variable key {:?} not found in file {:?}",
                    source.key, source.path
                ))
            });
        }
        Err(ConfigError("an environment variable has a source of a kind that is not known here".into()))
    }
}

/// Missing is fine for optional ones only.
fn present<T>(
    value: Option<T>,
    optional: Option<bool>,
    missing: impl FnOnce() -> ConfigError,
) -> Result<Option<T>, ConfigError> {
    match value {
        None if optional != Some(true) => Err(missing()),
        value => Ok(value),
    }
}

fn no_map(name: &str) -> ConfigError {
    ConfigError(format!("configmap {name:?} not found"))
}

fn no_secret(name: &str) -> ConfigError {
    ConfigError(format!("secret {name:?} not found"))
}

/// Longest file that is read for `fileKeyRef` (the API's own bound for one).
const ENV_FILE: u64 = 64 * 1024;

/// `KEY='value'` per line, as the API documents `fileKeyRef`.
fn env_file_value(file: &Path, key: &str) -> Option<String> {
    if std::fs::metadata(file).ok()?.len() > ENV_FILE {
        return None;
    }
    let text = std::fs::read_to_string(file).ok()?;
    let value = text.lines().map(str::trim_start).filter(|l| !l.starts_with('#')).find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name == key).then(|| value.trim_end())
    })?;
    Some(value.strip_prefix('\'').and_then(|v| v.strip_suffix('\'')).unwrap_or(value).to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::process::testing::{self, Objects};

    async fn build(container: serde_json::Value, objects: Objects) -> Result<Environment, ConfigError> {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"containers": [container]}
        }))
        .unwrap();
        let container = pod.spec.as_ref().unwrap().containers.first().unwrap();
        let mut context = testing::context_with(Arc::new(objects));
        context.env = Arc::new([("SVC".into(), "10.0.0.1".into())]);
        let base = Environment::from([("PATH".into(), "/bin".into())]);
        Recipe { pod: &pod, container, context: &context, base, volumes: Path::new("/nowhere") }.build().await
    }

    fn objects() -> Objects {
        let objects = Objects::default();
        objects.map("m", &[("A", "from map"), ("B", "map b")]);
        objects.secret("s", &[("B", "secret b"), ("K", "pw")]);
        objects
    }

    #[tokio::test]
    async fn order_prefix_expansion_and_every_source() {
        let container = serde_json::json!({"name": "c",
        "envFrom": [{"configMapRef": {"name": "m"}}, {"secretRef": {"name": "s"}}, {"prefix": "P_", "configMapRef": {"name": "m"}},
                    {"secretRef": {"name": "none", "optional": true}}],
        "env": [
            {"name": "A", "value": "own $(B)"},
            {"name": "EARLY", "value": "$(LATER) $$(A)"},
            {"name": "LATER", "value": "x"},
            {"name": "URL", "value": "https://$(SVC):$(P_A)"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "PW", "valueFrom": {"secretKeyRef": {"name": "s", "key": "K"}}},
            {"name": "OPT", "valueFrom": {"secretKeyRef": {"name": "s", "key": "none", "optional": true}}},
            {"name": "OPTMAP", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "none", "optional": true}}},
            {"name": "EMPTY"},
            {"name": "SKEP_CONTAINER", "value": "somebody else"}
        ]});
        let environment = build(container, objects()).await.unwrap();
        let text: Vec<String> = environment.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            text,
            [
                "A=own secret b",
                "B=secret b",
                "CPU=4",
                "EARLY=$(LATER) $(A)",
                "EMPTY=",
                "IP=127.64.128.5",
                "K=pw",
                "LATER=x",
                "PATH=/bin",
                "PW=pw",
                "P_A=from map",
                "P_B=map b",
                "SVC=10.0.0.1",
                "URL=https://10.0.0.1:from map"
            ]
        );
    }

    #[tokio::test]
    async fn missing_objects_are_told_as_the_kubelet_does() {
        for (env, message) in [
            (
                serde_json::json!({"name": "c", "envFrom": [{"secretRef": {"name": "x"}}]}),
                "secret \"x\" not found",
            ),
            (
                serde_json::json!({"name": "c", "envFrom": [{"configMapRef": {"name": "x"}}]}),
                "configmap \"x\" not found",
            ),
            (
                serde_json::json!({"name": "c", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "x"}}}]}),
                "couldn't find key x in Secret ns/s",
            ),
            (
                serde_json::json!({"name": "c", "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "x"}}}]}),
                "couldn't find key x in ConfigMap ns/m",
            ),
            (
                serde_json::json!({"name": "c", "env": [{"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "../x", "key": "K"}}}]}),
                "path \"../x\" of fileKeyRef: it contains \"..\"",
            ),
            (
                serde_json::json!({"name": "c", "env": [{"name": "A", "value": "a\u{0}b"}]}),
                "environment variable A holds a NUL byte",
            ),
        ] {
            assert_eq!(build(env, objects()).await.unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn env_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("env");
        std::fs::write(&file, "# c\nA='one two'\nB=plain\nAA=x\n").unwrap();
        assert_eq!(env_file_value(&file, "A").as_deref(), Some("one two"));
        assert_eq!(env_file_value(&file, "B").as_deref(), Some("plain"));
        assert_eq!(env_file_value(&file, "C"), None);
    }
}
