//! What the tests of the other crates stand on.
//!
//! * [`FakeApiServer`]: a Kubernetes API in memory, for reconcilers and fault injection.
//! * [`ApiServer`]: a real etcd and kube-apiserver per test binary, gone for certain at its end.
//! * [`objects`]: objects of ours that many tests need.
//! * [`FaultLayer`] and [`scenario`]: every API call fails once, in every way a call can fail.

pub mod apiserver;
pub mod fake;
pub mod fault;
pub mod objects;
pub mod scenario;

use std::time::Duration;

pub use apiserver::{ApiServer, Options};
pub use fake::{FakeApiServer, FakeService};
pub use fault::{Fault, FaultLayer};
pub use scenario::{Backend, Scenario, World};

/// How long a test waits for real programs. Reaching it is a failure, never the expected way: it only has to be longer
/// than anything takes on two cores where several test binaries start their API servers at once.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Body of an answer, as the fake and the layers of this crate make it.
pub type ResponseBody = http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, tower::BoxError>;
