//! As much of a certificate request as decisions need.

use std::borrow::Cow;
use std::net::IpAddr;

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1 as certificates;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::ClusterResourceScope;
use serde::Deserialize;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

use super::node::{bare, few, short};

/// Largest request that is looked at. A kubelet's has less than one KiB, with an RSA key two.
const LARGEST: usize = 16 * 1024;
/// Names looked at in one request.
const MOST_NAMES: usize = 16;

/// Signer of kubelets' client certificates.
pub const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Signer of kubelets' serving certificates.
pub const SERVING_SIGNER: &str = "kubernetes.io/kubelet-serving";

/// A `CertificateSigningRequest` of a tenant cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Raw")]
pub struct Request {
    /// Name, uid, version and times only.
    pub metadata: ObjectMeta,
    /// Who signs.
    pub signer: String,
    /// Who asks, as the API server has authenticated it.
    pub username: String,
    /// Groups of who asks.
    pub groups: Vec<String>,
    /// What the certificate is for.
    pub usages: Vec<String>,
    /// What stands in the request, or why it cannot be read. Of other signers' requests nothing is read.
    pub asked: Result<Asked, String>,
    /// Somebody has approved or denied it, or it is signed.
    pub decided: bool,
}

/// What a request wants certified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Common names of the subject: there should be one.
    pub common_names: Vec<String>,
    /// Organisations of the subject.
    pub organizations: Vec<String>,
    /// Other parts of the subject.
    pub others: bool,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Names of any other kind, and extensions that are no names, by what they are.
    pub foreign: Vec<&'static str>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(deserialize_with = "bare")]
    metadata: ObjectMeta,
    spec: RawSpec,
    #[serde(default)]
    status: RawStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpec {
    request: ByteString,
    #[serde(deserialize_with = "short")]
    signer_name: String,
    #[serde(default, deserialize_with = "short")]
    username: String,
    #[serde(default, deserialize_with = "few")]
    groups: Vec<String>,
    #[serde(default, deserialize_with = "few")]
    usages: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawStatus {
    certificate: Option<ByteString>,
    #[serde(deserialize_with = "few")]
    conditions: Vec<RawCondition>,
}

#[derive(Deserialize)]
struct RawCondition {
    #[serde(rename = "type", deserialize_with = "short")]
    type_: String,
}

impl From<Raw> for Request {
    fn from(raw: Raw) -> Self {
        let ours = [CLIENT_SIGNER, SERVING_SIGNER].contains(&raw.spec.signer_name.as_str());
        let signed = raw.status.certificate.is_some_and(|certificate| !certificate.0.is_empty());
        let judged = |condition: &RawCondition| matches!(condition.type_.as_str(), "Approved" | "Denied");
        let asked = if ours { read(&raw.spec.request.0) } else { Err("not looked at".to_owned()) };
        Self {
            metadata: raw.metadata,
            signer: raw.spec.signer_name,
            username: raw.spec.username,
            groups: raw.spec.groups,
            usages: raw.spec.usages,
            asked,
            decided: signed || raw.status.conditions.iter().any(judged),
        }
    }
}

impl Request {
    /// Whether it waits for somebody to decide about it, and is of a kind that may be ours to decide.
    pub fn is_open(&self) -> bool {
        !self.decided && self.is_of_kubelet()
    }

    /// Whether its signer is one of the two for kubelets.
    pub fn is_of_kubelet(&self) -> bool {
        [CLIENT_SIGNER, SERVING_SIGNER].contains(&self.signer.as_str())
    }
}

impl Resource for Request {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        certificates::CertificateSigningRequest::kind(&())
    }

    fn group(_: &()) -> Cow<'_, str> {
        certificates::CertificateSigningRequest::group(&())
    }

    fn version(_: &()) -> Cow<'_, str> {
        certificates::CertificateSigningRequest::version(&())
    }

    fn plural(_: &()) -> Cow<'_, str> {
        certificates::CertificateSigningRequest::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Reads a PEM request. Stricter than the signer, so that both always see the same: one subject name of each kind as
/// text, at most one list of names, and nothing that is not understood.
fn read(pem: &[u8]) -> Result<Asked, String> {
    if pem.len() > LARGEST {
        return Err(format!("it has {} bytes, more than {LARGEST}", pem.len()));
    }
    let (rest, block) = x509_parser::pem::parse_x509_pem(pem).map_err(|_| "it is no PEM text".to_owned())?;
    if block.label != "CERTIFICATE REQUEST" {
        return Err(format!("its PEM block is {:?}", cut(&block.label)));
    }
    if !rest.trim_ascii().is_empty() {
        return Err("something follows the request".to_owned());
    }
    let (rest, request) = X509CertificationRequest::from_der(&block.contents)
        .map_err(|_| "it is no certificate request".to_owned())?;
    if !rest.is_empty() {
        return Err("something follows the request".to_owned());
    }
    let mut asked = Asked::default();
    subject(&request, &mut asked)?;
    names(&request, &mut asked)?;
    Ok(asked)
}

fn subject(request: &X509CertificationRequest<'_>, asked: &mut Asked) -> Result<(), String> {
    let subject = &request.certification_request_info.subject;
    for attribute in subject.iter_attributes() {
        let text = attribute.as_str().map_err(|_| "its subject cannot be read".to_owned())?;
        let list = match attribute.attr_type().to_id_string().as_str() {
            // id-at-commonName and id-at-organizationName (X.520).
            "2.5.4.3" => &mut asked.common_names,
            "2.5.4.10" => &mut asked.organizations,
            _ => {
                asked.others = true;
                continue;
            }
        };
        push(list, text.to_owned())?;
    }
    Ok(())
}

fn names(request: &X509CertificationRequest<'_>, asked: &mut Asked) -> Result<(), String> {
    let mut requests = 0;
    for attribute in request.certification_request_info.iter_attributes() {
        let ParsedCriAttribute::ExtensionRequest(wanted) = attribute.parsed_attribute() else {
            return Err("it has attributes that are not understood".to_owned());
        };
        requests += 1;
        if requests > 1 || wanted.extensions.len() > 1 {
            return Err("it asks for extensions more than once".to_owned());
        }
        for extension in &wanted.extensions {
            let ParsedExtension::SubjectAlternativeName(list) = extension.parsed_extension() else {
                push(&mut asked.foreign, "an extension that is no list of names")?;
                continue;
            };
            for name in &list.general_names {
                one_name(name, asked)?;
            }
        }
    }
    Ok(())
}

fn one_name(name: &GeneralName<'_>, asked: &mut Asked) -> Result<(), String> {
    match name {
        GeneralName::DNSName(name) => push(&mut asked.dns_names, (*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let address = match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes).ok().map(IpAddr::from),
                16 => <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from),
                _ => None,
            };
            push(&mut asked.addresses, address.ok_or("one of its addresses cannot be read")?)
        }
        GeneralName::RFC822Name(_) => push(&mut asked.foreign, "an e-mail address"),
        GeneralName::URI(_) => push(&mut asked.foreign, "a URI"),
        _ => push(&mut asked.foreign, "a name of another kind"),
    }
}

fn push<T>(list: &mut Vec<T>, item: T) -> Result<(), String> {
    if list.len() >= MOST_NAMES {
        return Err(format!("it has more than {MOST_NAMES} names of a kind"));
    }
    list.push(item);
    Ok(())
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}
