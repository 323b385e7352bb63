//! Whether a certificate request of a tenant cluster is what one of its machines may ask for.
//!
//! Upstream's own approver signs for whoever a role lets ask in the name of any node. Here the machine decides: its own
//! token gets it the client certificate of its own name, that certificate its renewal and a serving certificate for its
//! own name and address. What one of our machines asks for beyond that is denied; what anybody else asks for is left for
//! a person to decide, as upstream leaves what it does not recognise.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::bootstrap::{GROUP, NODES};
use crate::tenants::{Asked, CLIENT_SIGNER, Request, SERVING_SIGNER};

mod act;
#[cfg(test)]
mod tests;

pub use act::decide_all;

/// What stands before the name in a node's user name (`k8s.io/apiserver`, `NodeUserNamePrefix`).
const NODE_PREFIX: &str = "system:node:";
/// What stands before the id in a token's user name (`k8s.io/cluster-bootstrap/token/api`, `BootstrapUserPrefix`).
const TOKEN_PREFIX: &str = "system:bootstrap:";

/// A machine, as far as its certificates are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applicant {
    /// Its name, which is its node's.
    pub name: String,
    /// Id of its bootstrap token.
    pub token: String,
    /// Its address, once it is known.
    pub address: Option<IpAddr>,
}

/// What to do about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may have it; the sentence says why.
    Approve(String),
    /// It may not: one word and a sentence.
    Deny(&'static str, String),
    /// Not known yet; the sentence says what is missing.
    Wait(String),
    /// Not this machine's request.
    Leave,
}

/// The node behind a user name, or behind the common name of a node's certificate.
pub fn node_of(user: &str) -> Option<&str> {
    user.strip_prefix(NODE_PREFIX).filter(|name| !name.is_empty())
}

/// The token behind a user name.
pub fn token_of(user: &str) -> Option<&str> {
    user.strip_prefix(TOKEN_PREFIX).filter(|id| !id.is_empty())
}

/// Decides about a request on behalf of one machine.
pub fn judge(request: &Request, machine: &Applicant) -> Verdict {
    let in_group = |group: &str| request.groups.iter().any(|one| one == group);
    let as_node = node_of(&request.username) == Some(machine.name.as_str()) && in_group(NODES);
    let by_token = token_of(&request.username) == Some(machine.token.as_str()) && in_group(GROUP);
    if !request.is_open() || !(as_node || by_token) {
        return Verdict::Leave;
    }
    let asked = match &request.asked {
        Ok(asked) => asked,
        Err(why) => return Verdict::Deny("Unreadable", format!("the request cannot be used: {why}")),
    };
    if let Err(verdict) = subject(asked, machine) {
        return verdict;
    }
    match request.signer.as_str() {
        CLIENT_SIGNER => client(request, asked, machine, as_node),
        SERVING_SIGNER if as_node => serving(request, asked, machine),
        // A token proves that it is to become this node, not that it is.
        SERVING_SIGNER => Verdict::Deny(
            "NotANode",
            "a serving certificate is given to the node itself, not to its token".into(),
        ),
        _ => Verdict::Leave,
    }
}

fn subject(asked: &Asked, machine: &Applicant) -> Result<(), Verdict> {
    let wanted = format!("{NODE_PREFIX}{}", machine.name);
    if asked.common_names != [wanted.as_str()] {
        let names = asked.common_names.join(", ");
        let message = format!("machine {} may be {wanted} and nobody else, not {names:?}", machine.name);
        return Err(Verdict::Deny("OtherName", message));
    }
    if asked.organizations != [NODES] || asked.others {
        let message = format!("the subject must have the organisation {NODES} and nothing else");
        return Err(Verdict::Deny("OtherGroup", message));
    }
    if let Some(foreign) = asked.foreign.first() {
        return Err(Verdict::Deny("OtherNames", format!("{foreign} has no place in a node's certificate")));
    }
    Ok(())
}

fn client(request: &Request, asked: &Asked, machine: &Applicant, renewal: bool) -> Verdict {
    if !asked.dns_names.is_empty() || !asked.addresses.is_empty() {
        return Verdict::Deny("OtherNames", "a client certificate has no DNS names or addresses".into());
    }
    if let Err(verdict) = usages(request, "client auth") {
        return verdict;
    }
    Verdict::Approve(match renewal {
        true => format!("node {} renews its client certificate", machine.name),
        false => format!("machine {} joins with its own token", machine.name),
    })
}

fn serving(request: &Request, asked: &Asked, machine: &Applicant) -> Verdict {
    if asked.dns_names.is_empty() && asked.addresses.is_empty() {
        return Verdict::Deny("NoNames", "a serving certificate needs a DNS name or an address".into());
    }
    if let Some(other) = asked.dns_names.iter().find(|name| **name != machine.name) {
        return Verdict::Deny("OtherNames", format!("{other:?} is not the name of machine {}", machine.name));
    }
    if let Err(verdict) = usages(request, "server auth") {
        return verdict;
    }
    let Some(address) = machine.address else {
        if asked.addresses.is_empty() {
            return Verdict::Approve(format!("node {} serves under its own name", machine.name));
        }
        return Verdict::Wait(format!("the address of machine {}", machine.name));
    };
    if let Some(other) = asked.addresses.iter().find(|one| **one != address) {
        return Verdict::Deny(
            "OtherNames",
            format!("{other} is not the address of machine {}", machine.name),
        );
    }
    Verdict::Approve(format!("node {} serves under its own name and address", machine.name))
}

/// Exactly what upstream's signers take (`pkg/apis/certificates/helpers.go`): the one for the kind of certificate and
/// digital signature, and key encipherment for RSA keys.
fn usages(request: &Request, kind: &str) -> Result<(), Verdict> {
    let has: BTreeSet<&str> = request.usages.iter().map(String::as_str).collect();
    let least = BTreeSet::from([kind, "digital signature"]);
    let most = BTreeSet::from([kind, "digital signature", "key encipherment"]);
    if has == least || has == most {
        return Ok(());
    }
    let list = request.usages.join(", ");
    Err(Verdict::Deny(
        "OtherUsages",
        format!(
            "its usages must be {kind} and digital signature, with or without key encipherment, not {list}"
        ),
    ))
}
