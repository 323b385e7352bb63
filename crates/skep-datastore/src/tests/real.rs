//! Against a real API server and a real etcd, started from the StatefulSet this crate builds.

mod cell;
mod ctl;
mod isolation;
mod kubernetes;
mod life;
mod script;
