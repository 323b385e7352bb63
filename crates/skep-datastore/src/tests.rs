//! Tests of the whole crate: every call that can fail does.

mod cell;
mod datastore_life;
mod etcd_calls;
mod history;
mod kubernetes_calls;
mod real;
