//! Restart decisions are the same for the status and for the backend that carries them out.

pub use crate::backend::restart::{is_sidecar, restarts};
