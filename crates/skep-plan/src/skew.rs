//! Which version may follow which, as upstream's version skew policy says.
//!
//! kube-apiserver may not skip minors, and two copies of it may differ by one minor only; an older minor may not read
//! what a newer one stored. Patches of one minor may be changed in both directions.
//! (Policy: <https://kubernetes.io/releases/version-skew-policy/>.)

use std::str::FromStr;

use skep_api::KubeVersion;

use crate::Refusal;

mod node;

pub use node::{NODE_MINORS_BEHIND, NodeSkew, node_fits, oldest_node};

/// What is known about the versions of a control plane that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// What its spec says now.
    pub wanted: KubeVersion,
    /// The lowest that serves, if any serves.
    pub serving: Option<KubeVersion>,
    /// The highest that ever served.
    pub highest: Option<KubeVersion>,
}

/// Checks that `to` may follow. `known` gives the releases of a minor, for the message.
///
/// # Errors
/// The rule that forbids it.
pub fn check(now: &Versions, to: &KubeVersion, known: impl Fn(u64) -> Vec<String>) -> Result<(), Refusal> {
    // A newer version that was asked for but never served has stored nothing: from there the way back is open.
    let highest = now.highest.as_ref().or(now.serving.as_ref());
    if let Some(highest) = highest
        && to.minor() < highest.minor()
    {
        return Err(Refusal::Downgrade { from: highest.to_string(), to: to.to_string() });
    }
    let Some(serving) = now.serving.as_ref().or(highest) else {
        return Ok(());
    };
    if to.minor() <= serving.minor() + 1 {
        return Ok(());
    }
    if now.wanted.minor() > serving.minor() && to.minor() == now.wanted.minor() + 1 {
        return Err(Refusal::UpgradeUnderWay {
            serving: serving.to_string(),
            wanted: now.wanted.to_string(),
            to: to.to_string(),
        });
    }
    let next = serving.minor() + 1;
    Err(Refusal::SkippedMinor {
        from: serving.to_string(),
        to: to.to_string(),
        next: format!("1.{next}"),
        known: known(next),
    })
}

/// Whether a controller of version `controller` may talk to API servers of which `lowest` is the oldest: never newer,
/// at most one minor older.
pub fn controller_fits(controller: &KubeVersion, lowest: &KubeVersion) -> bool {
    controller.minor() <= lowest.minor() && controller.minor() + 1 >= lowest.minor()
}

/// Reads a version that the schema has already checked; `None` for anything else.
pub(crate) fn read(text: &str) -> Option<KubeVersion> {
    KubeVersion::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v(text: &str) -> KubeVersion {
        text.parse().unwrap()
    }

    fn at(wanted: &str, serving: Option<&str>, highest: Option<&str>) -> Versions {
        Versions { wanted: v(wanted), serving: serving.map(v), highest: highest.map(v) }
    }

    fn reason(now: &Versions, to: &str) -> Option<&'static str> {
        check(now, &v(to), |_| Vec::new()).err().map(|refusal| refusal.reason())
    }

    #[test]
    fn patches_go_both_ways_and_minors_go_up_by_one() {
        let now = at("v1.35.4", Some("v1.35.4"), Some("v1.35.4"));
        assert_eq!(reason(&now, "v1.35.9"), None);
        assert_eq!(reason(&now, "v1.35.1"), None);
        assert_eq!(reason(&now, "v1.36.3"), None);
        assert_eq!(reason(&now, "v1.37.0"), Some("SkippedMinor"));
        assert_eq!(reason(&now, "v1.34.9"), Some("Downgrade"));
    }

    #[test]
    fn an_upgrade_that_never_served_can_be_taken_back() {
        let stuck = at("v1.36.3", Some("v1.35.4"), Some("v1.35.4"));
        assert_eq!(reason(&stuck, "v1.35.4"), None);
        assert_eq!(reason(&stuck, "v1.37.0"), Some("UpgradeUnderWay"));
        let half = at("v1.36.3", Some("v1.35.4"), Some("v1.36.3"));
        assert_eq!(reason(&half, "v1.35.4"), Some("Downgrade"));
    }

    #[test]
    fn nothing_is_forbidden_before_anything_served() {
        assert_eq!(reason(&at("v1.36.3", None, None), "v1.34.0"), None);
        // All down at the moment: what served before still counts.
        assert_eq!(reason(&at("v1.36.3", None, Some("v1.36.3")), "v1.35.4"), Some("Downgrade"));
        assert_eq!(reason(&at("v1.36.3", None, Some("v1.36.3")), "v1.38.0"), Some("SkippedMinor"));
    }

    #[test]
    fn the_message_names_the_step_in_between() {
        let now = at("v1.34.1", Some("v1.34.1"), Some("v1.34.1"));
        let refusal = check(&now, &v("v1.36.3"), |minor| vec![format!("v1.{minor}.4 (Stable)")]).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "Kubernetes cannot skip a minor version: from v1.34.1 go to 1.35 first, then to v1.36.3 (v1.35.4 (Stable))"
        );
    }

    proptest! {
        /// Whatever is accepted never makes two API servers differ by more than a minor, and never goes back behind
        /// what has stored objects.
        #[test]
        fn accepted_steps_respect_the_skew(
            wanted in 30u64..40, serving in prop::option::of(30u64..40), highest in prop::option::of(30u64..40), to in 30u64..40,
        ) {
            let minor = |m: u64| v(&format!("v1.{m}.0"));
            let highest = highest.or(serving).map(|h| h.max(serving.unwrap_or(0)));
            let now = Versions { wanted: minor(wanted), serving: serving.map(minor), highest: highest.map(minor) };
            if check(&now, &minor(to), |_| Vec::new()).is_ok() {
                if let Some(serving) = serving {
                    prop_assert!(to <= serving + 1);
                }
                if let Some(highest) = highest {
                    prop_assert!(to >= highest);
                }
            }
        }
    }
}
