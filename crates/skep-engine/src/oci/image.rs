//! An image that is to be written: layers and how a container of it starts.

use std::collections::BTreeMap;

use serde::Serialize;

use super::layer::Layer;

/// Layers, lowest first, and how a container of them starts.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// The layers.
    pub layers: Vec<Layer>,
    /// How a container starts.
    pub config: Config,
}

/// The part `config` of an image's configuration.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Config {
    /// Command, unless the container names one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Arguments, unless the container names some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Environment, `NAME=value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Who it runs as, `uid:gid`; root when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Where it starts.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}
