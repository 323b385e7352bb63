//! Who may use the endpoint: by the subject of the client's certificate, which the handshake has verified.

use std::collections::BTreeSet;

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Names and organisations that are let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    names: BTreeSet<String>,
    organizations: BTreeSet<String>,
}

impl Default for Access {
    /// The name an API server usually has towards kubelets, and administrators of the cluster.
    fn default() -> Self {
        Self::new(["kube-apiserver-kubelet-client"], ["system:masters"])
    }
}

impl Access {
    /// Exactly these.
    pub fn new<N: Into<String>, O: Into<String>>(
        names: impl IntoIterator<Item = N>,
        organizations: impl IntoIterator<Item = O>,
    ) -> Self {
        Self {
            names: names.into_iter().map(Into::into).collect(),
            organizations: organizations.into_iter().map(Into::into).collect(),
        }
    }

    /// Whether the caller is let in.
    #[must_use]
    pub fn allows(&self, caller: &Caller) -> bool {
        caller.name.as_ref().is_some_and(|name| self.names.contains(name))
            || caller.organizations.iter().any(|organization| self.organizations.contains(organization))
    }
}

/// The subject of a client certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// Common name; none when there are several, as such a subject is ambiguous.
    pub name: Option<String>,
    /// Organisations.
    pub organizations: Vec<String>,
}

impl Caller {
    /// Reads the subject; what cannot be read is nobody.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return Self::default() };
        let subject = parsed.subject();
        let mut names = subject.iter_common_name().filter_map(|name| name.as_str().ok());
        let name = names.next().filter(|_| names.next().is_none()).map(str::to_owned);
        let organizations =
            subject.iter_organization().filter_map(|name| name.as_str().ok()).map(str::to_owned).collect();
        Self { name, organizations }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str, organizations: &[&str]) -> Caller {
        Caller { name: Some(name.into()), organizations: organizations.iter().map(|&o| o.into()).collect() }
    }

    #[test]
    fn only_listed_names_and_organizations_get_in() {
        let access = Access::default();
        assert!(access.allows(&caller("kube-apiserver-kubelet-client", &[])));
        assert!(access.allows(&caller("anna", &["dev", "system:masters"])));
        assert!(!access.allows(&caller("anna", &["system:nodes"])));
        assert!(!access.allows(&caller("system:masters", &["kube-apiserver-kubelet-client"])));
        assert!(!access.allows(&Caller::default()));
    }

    #[test]
    fn garbage_is_nobody() {
        assert_eq!(Caller::of(&CertificateDer::from(vec![1, 2, 3])), Caller::default());
    }
}
