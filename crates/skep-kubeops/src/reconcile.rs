//! What a reconciler is, and what it may answer.
//!
//! An activation takes no input beyond the object: a full pass must reach the
//! goal from any state, events only make it sooner.

use std::{fmt::Display, sync::Arc, time::Duration};

use crate::{Key, Object};

/// What should happen after a failed reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// May pass by itself: try again with the object's backoff.
    Transient,
    /// Known to need this long (a quota window, a `Retry-After`): try again then, without counting a failure.
    Waiting(Duration),
    /// Cannot succeed as things are (a bad spec): wait for a change or the slow resync.
    Permanent,
}

/// How an error wants to be treated and named.
pub trait Classify {
    /// What to do after it.
    fn class(&self) -> ErrorClass;

    /// A closed, low-cardinality name in PascalCase: event reason and metric label.
    fn reason(&self) -> &'static str;
}

/// What should happen after a good reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing to wait for: look again on a change, or at the slow resync.
    Done,
    /// Look again after this long even if nothing changes (certificates, windows).
    After(Duration),
}

/// Brings one kind of object to its goal.
pub trait Reconciler: Send + Sync + 'static {
    /// The kind this reconciler owns.
    type Object: Object;
    /// Why a pass failed.
    type Error: Classify + Display + Send + 'static;

    /// Name of the controller: metric label, event reporter, log field. Kebab-case.
    fn name() -> &'static str;

    /// One full pass over the object as last seen (`managedFields` are stripped).
    ///
    /// The same object is never reconciled twice at once. The future is dropped
    /// when the deadline of the controller passes: every `.await` may be the last.
    fn reconcile(&self, object: Arc<Self::Object>) -> impl Future<Output = Result<Next, Self::Error>> + Send;

    /// Whether this is the object as it was before this reconciler's last write of it. A pass then waits for the watch to
    /// show that write, for seconds at most. The answer of most: [`crate::Applier::is_ahead_of`].
    fn is_behind(&self, object: &Self::Object) -> bool {
        let _ = object;
        false
    }

    /// The object has left the API server (its finalizers, if any, are done).
    ///
    /// For dropping what is held in memory only. It may be missed when the
    /// process restarts; use a finalizer for anything outside.
    fn deleted(&self, object: &Key) {
        let _ = object;
    }
}
