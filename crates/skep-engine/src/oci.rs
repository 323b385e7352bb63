//! Container images without container tools: made from files, kept as an OCI image layout, given to container runtimes by
//! a registry that can only be read.
//!
//! Formats: OCI image-spec 1.1 (layout, index, manifest, config) and the pull half of distribution-spec 1.1.

mod archive;
mod image;
mod layer;
mod layout;
mod linked;
mod name;
mod own;
mod registry;

pub use image::{Config, Image};
pub use layer::{Content, Layer};
pub use layout::{Descriptor, Layout, Listed};
pub use name::Name;
pub use registry::Registry;
