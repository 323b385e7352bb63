//! `skep version`

use serde::Serialize;

use crate::{
    cli::installation::{Version, VersionFormat},
    error::Result,
    output::{
        self,
        format::{json, yaml},
    },
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    skep: &'static str,
    kubernetes: [&'static str; 2],
    etcd: &'static str,
    api: String,
    state_format: u64,
}

pub fn run(args: &Version) -> Result<()> {
    let versions = Versions {
        skep: env!("CARGO_PKG_VERSION"),
        kubernetes: skep_engine::KUBERNETES,
        etcd: skep_engine::ETCD,
        api: format!("{}/{}", skep_api::GROUP, skep_api::VERSION),
        state_format: skep_embedded::state::FORMAT,
    };
    output::print(&match args.output {
        VersionFormat::Json => json(&versions)?,
        VersionFormat::Yaml => yaml(&versions)?,
        VersionFormat::Text => format!(
            "skep {}\nkubernetes {}\netcd {}\napi {}\n",
            versions.skep,
            versions.kubernetes.join(", "),
            versions.etcd,
            versions.api
        ),
    })
}
