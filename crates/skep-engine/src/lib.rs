//! Where the programs Skep runs come from.
//!
//! An image such as `skep.dev/kube:v1.36.3` is a *name*. [`Engine::ensure`] turns it into a directory of programs, from
//! the first of these that has it:
//!
//! 1. a directory the user named (`SKEP_ENGINE_PATH`),
//! 2. the user's cache,
//! 3. an official release, if every byte of it matches the digest that is published beside it,
//! 4. a build from the Go modules under `engine/`, whose sources are embedded here.
//!
//! Guarantees: an entry of the cache is complete or absent, whatever is killed in between; two processes (or tasks) that
//! ask at once do the work once; a damaged entry is noticed and made again; nothing that was not asked for is made.
//! Refuses: unknown images, downloads without a matching digest, caches that others can write to.

mod cache;
mod catalogue;
mod check;
mod config;
mod digest;
mod engine;
mod error;
mod gobuild;
mod image;
mod list;
mod lock;
pub mod oci;
mod progress;
mod recipe;
mod release;
mod sources;

pub use catalogue::{
    CLUSTER_AUTOSCALER, CNI, CONTAINERD, COREDNS, ETCD, KUBERNETES, METRICS_SERVER, PAUSE, REGISTRY,
    cluster_autoscaler_image, cni_image, containerd_image, coredns_image, etcd_image, kubernetes_image,
    metrics_server_image, node_image, pause_image, skep_image,
};
pub use config::{EngineConfig, Limits, Releases};
pub use engine::{Artifact, Engine, Source};
pub use error::{Error, Result};
pub use image::ImageRef;
pub use list::{EngineEntry, EntryState};
pub use progress::{Lines, Phase, Progress, Silent, Update};
pub use recipe::{GoModule, Output, Recipe, SourceFile, Verb, VersionCheck};
