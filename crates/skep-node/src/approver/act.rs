//! Carries verdicts out.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use skep_kubeops::Key;
use skep_kubeops::error::{is_conflict, is_not_found};

use super::{Applicant, Verdict, judge};
use crate::tenants::{Request, Tenant};
use crate::{Error, NAME};

/// Decides about every open request of a machine; gives what was decided, as events tell it.
///
/// # Errors
/// The tenant's API server refused or could not be reached.
pub async fn decide_all(
    tenant: &Tenant,
    cluster: &Key,
    machine: &Applicant,
) -> Result<Vec<(String, Verdict)>, Error> {
    let mut decided = Vec::new();
    for request in tenant.requests.select(|request| judge(request, machine) != Verdict::Leave) {
        let verdict = judge(&request, machine);
        let (type_, reason, message) = match &verdict {
            Verdict::Approve(message) => ("Approved", "Machine", message.clone()),
            Verdict::Deny(reason, message) => ("Denied", *reason, format!("{message} (SKEP-8062)")),
            Verdict::Wait(_) | Verdict::Leave => continue,
        };
        if write(tenant, cluster, &request, type_, reason, &message).await? {
            decided.push((request.name_any(), verdict));
        }
    }
    Ok(decided)
}

/// Writes one verdict; says whether it was ours to write. The version makes sure that it is about what was looked at, and
/// that a person who decided meanwhile is not overruled.
async fn write(
    tenant: &Tenant,
    cluster: &Key,
    request: &Request,
    type_: &str,
    reason: &str,
    message: &str,
) -> Result<bool, Error> {
    let name = request.name_any();
    let condition = json!({
        "type": type_, "status": "True", "reason": reason, "message": message,
        "lastUpdateTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    let patch = json!({
        "metadata": {"resourceVersion": request.metadata.resource_version, "uid": request.metadata.uid},
        "status": {"conditions": [condition]},
    });
    let api: Api<CertificateSigningRequest> = Api::all(tenant.applier.client().clone());
    let params = PatchParams { field_manager: Some(NAME.to_owned()), ..PatchParams::default() };
    match api.patch_approval(&name, &params, &Patch::Merge(&patch)).await {
        Ok(_) => Ok(true),
        // Decided or deleted meanwhile; if not, the watch shows the newer version and it is looked at again.
        Err(error) if is_not_found(&error) || is_conflict(&error) => Ok(false),
        Err(error) => Err(Error::tenant(cluster)(skep_kubeops::Error::api::<CertificateSigningRequest>(
            "decide about",
            name,
            error,
        ))),
    }
}
