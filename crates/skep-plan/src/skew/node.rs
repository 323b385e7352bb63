//! Which version a node may have beside a control plane.

use skep_api::KubeVersion;

/// Minors that kubelet and kube-proxy may be behind kube-apiserver; from 1.28 on, before it was two.
pub const NODE_MINORS_BEHIND: u64 = 3;

/// Why a node of some version does not fit a control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeSkew {
    /// Its minor is above that of an API server.
    Ahead,
    /// Its minor is too far below that of an API server.
    Behind,
}

/// Whether a node may be used with API servers between `lowest` (the oldest that serves) and `highest` (the newest that
/// serves or is on its way). Patches do not count, as everywhere in upstream's policy.
///
/// # Errors
/// The side on which it is outside.
pub fn node_fits(node: &KubeVersion, lowest: &KubeVersion, highest: &KubeVersion) -> Result<(), NodeSkew> {
    if node.minor() > lowest.minor() {
        Err(NodeSkew::Ahead)
    } else if node.minor() < oldest_node(highest) {
        Err(NodeSkew::Behind)
    } else {
        Ok(())
    }
}

/// The lowest minor a node may have beside an API server of this version.
pub fn oldest_node(api_server: &KubeVersion) -> u64 {
    api_server.minor().saturating_sub(NODE_MINORS_BEHIND)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v(text: &str) -> KubeVersion {
        text.parse().unwrap()
    }

    #[test]
    fn a_node_is_never_ahead_and_at_most_three_minors_behind() {
        let fits = |node: &str| node_fits(&v(node), &v("v1.36.3"), &v("v1.36.3"));
        for node in ["v1.36.3", "v1.36.9", "v1.35.4", "v1.33.0"] {
            assert_eq!(fits(node), Ok(()), "{node}");
        }
        assert_eq!(fits("v1.37.0"), Err(NodeSkew::Ahead));
        assert_eq!(fits("v1.32.9"), Err(NodeSkew::Behind));
    }

    #[test]
    fn while_a_control_plane_is_upgraded_both_of_its_versions_count() {
        let (old, new) = (v("v1.35.4"), v("v1.36.3"));
        assert_eq!(node_fits(&v("v1.36.3"), &old, &new), Err(NodeSkew::Ahead));
        assert_eq!(node_fits(&v("v1.32.0"), &old, &new), Err(NodeSkew::Behind));
        assert_eq!(node_fits(&v("v1.33.0"), &old, &new), Ok(()));
    }

    proptest! {
        /// What fits both ends fits every API server in between.
        #[test]
        fn the_ends_are_enough(node in 30u64..45, lowest in 30u64..45, more in 0u64..3, between in 0u64..3) {
            let minor = |m: u64| v(&format!("v1.{m}.0"));
            let (highest, between) = (lowest + more, lowest + between.min(more));
            if node_fits(&minor(node), &minor(lowest), &minor(highest)).is_ok() {
                prop_assert_eq!(node_fits(&minor(node), &minor(between), &minor(between)), Ok(()));
                prop_assert!(node <= lowest && node + NODE_MINORS_BEHIND >= highest);
            }
        }
    }
}
