//! The objects of a datastore. Nothing here can fail: everything was checked before.

mod access;
mod budget;
mod member;
mod secrets;

pub(crate) use self::member::DATA;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use skep_plan::address::PodNetwork;

use super::certificates::Certificates;
use super::validate::Wanted;

/// Everything a datastore consists of, in the order it is applied.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    /// Authorities first.
    pub secrets: [Secret; 3],
    /// Gives members their names; absent where they are reached by address.
    pub service: Option<Service>,
    pub network_policy: NetworkPolicy,
    pub disruption_budget: PodDisruptionBudget,
    pub stateful_set: StatefulSet,
}

/// Builds them.
///
/// # Errors
/// A stored certificate cannot be read back; [`super::certificates::plan`] has read it before.
pub(crate) fn objects(wanted: &Wanted, certificates: &Certificates) -> Result<Objects, skep_pki::Error> {
    let server_ca = certificates.server_ca.trusted_pem()?;
    let client_ca = certificates.client_ca.trusted_pem()?;
    Ok(Objects {
        secrets: [
            secrets::authorities(wanted, certificates, &server_ca, &client_ca),
            secrets::server(wanted, certificates, &server_ca, &client_ca),
            secrets::root(wanted, certificates, &server_ca),
        ],
        service: (wanted.network == PodNetwork::Cluster).then(|| access::service(wanted)),
        network_policy: access::network_policy(wanted),
        disruption_budget: budget::disruption_budget(wanted),
        stateful_set: member::stateful_set(wanted, &member::trust_digest(&server_ca, &client_ca)),
    })
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde_json::Value;

    use super::*;
    use crate::Config;
    use crate::reconcile::certificates::{self, Stored, tests::certificates};
    use crate::reconcile::validate::tests::{config, datastore, wanted};

    /// Without what is random: certificates, and the digest of whom they trust.
    fn shown(object: &impl Serialize) -> Value {
        let mut value = serde_json::to_value(object).unwrap();
        if let Some(data) = value.get_mut("data").and_then(Value::as_object_mut) {
            data.values_mut().for_each(|v| *v = "<pem>".into());
        }
        if let Some(digest) = value.pointer_mut("/spec/template/metadata/annotations/skep.dev~1trust-digest")
        {
            *digest = "<digest>".into();
        }
        value
    }

    #[test]
    fn objects_in_loopback_mode() {
        let objects = objects(&wanted(), &certificates()).unwrap();
        assert!(objects.service.is_none(), "nothing depends on Services");
        insta::assert_yaml_snapshot!("secrets", objects.secrets.iter().map(shown).collect::<Vec<_>>());
        insta::assert_yaml_snapshot!("stateful_set", shown(&objects.stateful_set));
        insta::assert_yaml_snapshot!("network_policy", shown(&objects.network_policy));
        insta::assert_yaml_snapshot!("disruption_budget", shown(&objects.disruption_budget));
    }

    #[test]
    fn objects_in_a_cluster() {
        let config = Config { network: PodNetwork::Cluster, storage_class: Some("fast".into()), ..config() };
        let wanted = Wanted::of(&datastore(), &config).unwrap();
        let certificates =
            certificates::plan(&Stored::default(), &wanted, &config, jiff::Timestamp::UNIX_EPOCH).unwrap();
        let objects = objects(&wanted, &certificates).unwrap();
        insta::assert_yaml_snapshot!("service", objects.service.as_ref().map(shown));
        let here = shown(&objects.stateful_set);
        let urls: Vec<&str> = here["spec"]["template"]["spec"]["containers"][0]["args"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .filter(|a| a.contains("://"))
            .collect();
        insta::assert_yaml_snapshot!("urls_in_a_cluster", urls);
    }

    #[test]
    fn a_new_authority_restarts_etcd_and_a_renewed_certificate_does_not() {
        let digest = |server: &str, client: &str| member::trust_digest(server, client);
        assert_eq!(digest("a", "b"), digest("a", "b"));
        assert_ne!(digest("a", "b"), digest("a", "c"));
        assert_ne!(digest("a", "b"), digest("ab", ""), "the border between the two counts");
    }
}
