//! Volumes on the disk of a node: provisioner `skep.dev/local`, StorageClass `skep-local`.
//!
//! A claim gets a directory of the node its first pod was scheduled to, and a PersistentVolume that says so. Guarantees:
//! every step can be repeated from any point of failure and nothing is made twice, because names follow from the
//! claim's uid; a directory is deleted only when it lies where this provisioner puts it, belongs to this cluster, and
//! its volume is released or gone. Refuses: block volumes, volumes for several nodes, claims without a node.

mod claim;
mod controller;
mod directory;
mod sweep;
mod volume;

pub use controller::{Provisioner, ProvisionerConfig};
pub use directory::{Directories, DirectoryError, Marker};

/// Name under which storage classes ask for this provisioner.
pub const PROVISIONER: &str = "skep.dev/local";
/// Name of the class that exists from the start.
pub const STORAGE_CLASS: &str = "skep-local";
