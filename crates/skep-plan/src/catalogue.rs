//! What the platform offers: size classes, profiles, releases.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use skep_api::cluster::Channel;
use skep_api::release::ReleaseState;
use skep_api::{
    ClusterProfile, ClusterProfileSpec, KubeVersion, Release, ReleaseSpec, SizeClass, SizeClassSpec,
};

use crate::Refusal;

/// Profile of clusters that name none.
pub const DEFAULT_PROFILE: &str = "standard";

/// A snapshot of the catalogue. Releases whose version cannot be read are left out: the schema refuses them anyway.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalogue {
    size_classes: BTreeMap<String, SizeClassSpec>,
    profiles: BTreeMap<String, ClusterProfileSpec>,
    releases: BTreeMap<KubeVersion, ReleaseSpec>,
}

impl Catalogue {
    /// A catalogue of these objects. Of two releases of one version the later in the list counts.
    pub fn new<'a>(
        size_classes: impl IntoIterator<Item = &'a SizeClass>,
        profiles: impl IntoIterator<Item = &'a ClusterProfile>,
        releases: impl IntoIterator<Item = &'a Release>,
    ) -> Self {
        Self {
            size_classes: size_classes.into_iter().map(|o| (name(&o.metadata), o.spec.clone())).collect(),
            profiles: profiles.into_iter().map(|o| (name(&o.metadata), o.spec.clone())).collect(),
            releases: releases
                .into_iter()
                .filter_map(|o| Some((o.spec.kubernetes_version.parse().ok()?, o.spec.clone())))
                .collect(),
        }
    }

    /// The size class `asked`, on behalf of profile `by` or of the cluster itself.
    pub(crate) fn size_class(&self, asked: &str, by: Option<&str>) -> Result<&SizeClassSpec, Refusal> {
        self.size_classes.get(asked).ok_or_else(|| {
            let mut known: Vec<_> = self.size_classes.iter().map(|(name, spec)| (spec.rank, name)).collect();
            known.sort();
            Refusal::UnknownSizeClass {
                asked: asked.to_owned(),
                by: by.map(str::to_owned),
                known: known.into_iter().map(|(_, name)| name.clone()).collect(),
            }
        })
    }

    /// The profile `asked`.
    pub(crate) fn profile(&self, asked: &str) -> Result<&ClusterProfileSpec, Refusal> {
        self.profiles.get(asked).ok_or_else(|| Refusal::UnknownProfile {
            asked: asked.to_owned(),
            known: self.profiles.keys().cloned().collect(),
        })
    }

    /// The release of exactly this version, in whatever state it is.
    pub(crate) fn release(&self, version: &KubeVersion) -> Option<&ReleaseSpec> {
        self.releases.get(version)
    }

    /// The newest release that the channel offers.
    pub(crate) fn newest(&self, channel: Channel) -> Result<(&KubeVersion, &ReleaseSpec), Refusal> {
        let offered = |state| match channel {
            Channel::Stable => state == ReleaseState::Stable,
            Channel::Preview => matches!(state, ReleaseState::Stable | ReleaseState::Preview),
        };
        self.releases.iter().rev().find(|(_, release)| offered(release.state)).ok_or_else(|| {
            Refusal::EmptyChannel {
                channel: match channel {
                    Channel::Stable => "Stable",
                    Channel::Preview => "Preview",
                },
                known: self.versions(|_, _| true),
            }
        })
    }

    /// Versions with their states, oldest first, as messages list them.
    pub(crate) fn versions(&self, keep: impl Fn(&KubeVersion, ReleaseState) -> bool) -> Vec<String> {
        self.releases
            .iter()
            .filter(|(version, release)| keep(version, release.state))
            .map(|(version, release)| format!("{version} ({:?})", release.state))
            .collect()
    }
}

fn name(meta: &ObjectMeta) -> String {
    meta.name.clone().unwrap_or_default()
}
