//! The gateway's door for API servers before 1.36: they cannot be told a server name, so that it cannot show them the
//! tenant's certificate, but only one for the address they dial.
//!
//! One authority and one certificate for the cell, made when the first such tenant comes. The authority's key lies in a
//! Secret of its own, which the gateway cannot read. All of this goes when the last such minor does.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use skep_pki::{AuthorityPlan, Generations, Leaf};
use skep_plan::egress::tunnel;

use super::ControlPlaneReconciler;
use crate::cell_authority::{key, secret};
use crate::pki::Data;
use crate::{Error, cell_authority};

/// Secret with the authority.
const AUTHORITY: &str = "tunnel-door-authority";
/// Life of an authority. A new generation replaces the API servers of all tenants that come to the door.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Time for them to be replaced before the new generation signs.
const OVERLAP: Duration = Duration::from_secs(90 * 86_400);
/// Life of the certificate. The gateway reads it again by itself.
const LIFE: Duration = Duration::from_secs(365 * 86_400);
/// How long what was read is believed.
const LOOK: i64 = 3600;

/// Authorities of the door, as this process last saw them.
#[derive(Debug, Default)]
pub(super) struct Door(tokio::sync::Mutex<Option<Known>>);

#[derive(Debug)]
struct Known {
    authorities: Arc<str>,
    until: i64,
}

impl ControlPlaneReconciler {
    /// The authorities that API servers of older versions are to believe at the gateway; made if there are none.
    pub(super) async fn door(&self, now: Timestamp) -> Result<Arc<str>, Error> {
        // One pass at a time: the others wait for what it finds.
        let mut known = self.door.0.lock().await;
        if let Some(known) = known.as_ref()
            && now.as_second() < known.until
        {
            return Ok(Arc::clone(&known.authorities));
        }
        let authority = self.door_authority(now).await?;
        let stored = self.applier.get::<Secret>(&key(tunnel::DOOR_SECRET)).await?;
        let pair = stored.and_then(|secret| Data::from(secret.data.unwrap_or_default()).pair("server"));
        let leaf = leaf(&self.config.cell.gateway);
        let ensured = authority.signer().ensure(pair.as_ref(), &leaf, now)?;
        let mut data = Data::default();
        data.put_pair("server", &ensured.pair);
        self.applier.ensure(&secret(tunnel::DOOR_SECRET, data)).await?;
        let authorities: Arc<str> = authority.trusted_pem()?.into();
        let next = authority.next().map_or(i64::MAX, |next| next.as_second());
        let until = (now.as_second() + LOOK).min(ensured.renewal.as_second()).min(next);
        *known = Some(Known { authorities: Arc::clone(&authorities), until });
        Ok(authorities)
    }

    async fn door_authority(&self, now: Timestamp) -> Result<Generations, Error> {
        let plan = AuthorityPlan {
            common_name: "skep gateway door".to_owned(),
            life: AUTHORITY_LIFE,
            overlap: OVERLAP,
            leaf_life: LIFE,
        };
        // Nothing is lost with it: API servers are replaced with one that believes the new one.
        cell_authority::ensure(&self.applier, AUTHORITY, &plan, now).await
    }
}

/// A certificate for whatever stands in the gateway's URL.
fn leaf(gateway: &str) -> Leaf {
    let leaf = Leaf::server("skep-gateway", LIFE);
    match tunnel::host(gateway).parse::<IpAddr>() {
        Ok(address) => leaf.address(address),
        Err(_) => leaf.dns(tunnel::host(gateway)),
    }
}
