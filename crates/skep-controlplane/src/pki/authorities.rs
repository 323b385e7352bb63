//! The tenant's roots of trust, with the generations of a rotation side by side.
//!
//! They live in one Secret so that no crash can leave half of them. That Secret is created, never overwritten: of two
//! operators that make it at once, the second takes what the first one made.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use skep_pki::rotation::{self, Roles};
use skep_pki::{Authority, KeyPair, ServiceAccountKey, bundle, random_key};

use super::Data;
use super::leaves::LEAF_LIFE;
use crate::Error;

/// Life of an authority. A new generation is made after about seven years.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How long a new generation is trusted before it signs: the time people have to fetch a new kubeconfig, which carries
/// the authorities it trusts.
const OVERLAP: Duration = Duration::from_secs(90 * 86_400);

const CLUSTER: &str = "cluster-ca";
const FRONT_PROXY: &str = "front-proxy-ca";
const TUNNEL: &str = "tunnel-ca";
const SERVICE_ACCOUNT: &str = "service-account.key";
const ENCRYPTION: &str = "encryption.key";

/// All generations of one authority.
pub struct Generations {
    all: Vec<Authority>,
    roles: Roles,
}

impl std::fmt::Debug for Generations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generations").field("all", &self.all).field("roles", &self.roles).finish()
    }
}

impl Generations {
    fn new(all: Vec<Authority>, now: Timestamp) -> Self {
        let lives: Vec<_> = all.iter().map(Authority::validity).collect();
        let roles = rotation::roles(&lives, OVERLAP, LEAF_LIFE, now);
        Self { all, roles }
    }

    /// The one that signs now.
    ///
    /// # Errors
    /// None is valid now.
    pub fn signer(&self) -> Result<&Authority, Error> {
        self.roles.signer.and_then(|at| self.all.get(at)).ok_or(Error::AuthoritiesExpired)
    }

    /// Certificates that verifiers are to trust, in one PEM text.
    ///
    /// # Errors
    /// A stored certificate cannot be read.
    pub fn bundle(&self) -> Result<String, Error> {
        let trusted = self.roles.trusted.iter().filter_map(|at| self.all.get(*at));
        Ok(bundle(trusted.map(Authority::cert_pem))?)
    }

    /// Adds a generation if one is due; says whether it did.
    fn rotate(&mut self, name: &str, now: Timestamp) -> Result<bool, Error> {
        if !self.roles.make {
            return Ok(false);
        }
        let mut all = std::mem::take(&mut self.all);
        all.push(Authority::generate(name, AUTHORITY_LIFE, now)?);
        *self = Self::new(all, now);
        Ok(true)
    }

    fn read(data: &Data, stem: &str, now: Timestamp) -> Result<Self, Error> {
        let read = Self::read_if_there(data, stem, now)?;
        if read.all.is_empty() {
            return Err(Error::AuthoritiesDamaged { missing: format!("{stem}-1") });
        }
        Ok(read)
    }

    /// The same for an authority that may be made anew; without a generation it has no signer before
    /// [`Authorities::rotate`].
    fn read_if_there(data: &Data, stem: &str, now: Timestamp) -> Result<Self, Error> {
        let mut all = Vec::new();
        while let Some(KeyPair { cert_pem, key_pem }) = data.pair(&format!("{stem}-{}", all.len() + 1)) {
            all.push(Authority::from_pem(&cert_pem, key_pem.as_str())?);
        }
        Ok(Self::new(all, now))
    }

    fn write(&self, data: &mut Data, stem: &str) {
        for (at, authority) in self.all.iter().enumerate() {
            data.put_pair(&format!("{stem}-{}", at + 1), &authority.pair());
        }
    }
}

/// Everything else is signed by, encrypted with or verified against these.
pub struct Authorities {
    /// Signs the API server, its clients, nodes.
    pub cluster: Generations,
    /// Signs the API server towards extension API servers; apart, so that no client certificate of the cluster can
    /// claim to be the front proxy.
    pub front_proxy: Generations,
    /// Signs the API server towards the gateway's tunnels; apart, so that nothing a tenant can have signed opens them.
    pub tunnel: Generations,
    /// Signs service account tokens.
    pub service_account: ServiceAccountKey,
    /// Encrypts Secrets in the datastore.
    pub encryption: [u8; 32],
}

impl std::fmt::Debug for Authorities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cluster, front_proxy, tunnel, .. } = self;
        f.debug_struct("Authorities")
            .field("cluster", cluster)
            .field("front_proxy", front_proxy)
            .field("tunnel", tunnel)
            .finish_non_exhaustive()
    }
}

impl Authorities {
    /// Makes all of them for a new tenant.
    ///
    /// # Errors
    /// A key cannot be made.
    pub fn generate(tenant: &str, now: Timestamp) -> Result<Self, Error> {
        let one = |name: String| -> Result<Generations, Error> {
            Ok(Generations::new(vec![Authority::generate(&name, AUTHORITY_LIFE, now)?], now))
        };
        Ok(Self {
            cluster: one(format!("{tenant} {CLUSTER}"))?,
            front_proxy: one(format!("{tenant} {FRONT_PROXY}"))?,
            tunnel: one(format!("{tenant} {TUNNEL}"))?,
            service_account: ServiceAccountKey::generate()?,
            encryption: random_key(),
        })
    }

    /// Reads them back.
    ///
    /// # Errors
    /// Something is missing or cannot be read. They are then *not* made anew: that would lock everybody out and make
    /// the stored Secrets unreadable.
    pub fn read(data: &Data, now: Timestamp) -> Result<Self, Error> {
        let missing = |name: &str| Error::AuthoritiesDamaged { missing: name.to_owned() };
        let token_key = data.text(SERVICE_ACCOUNT).ok_or_else(|| missing(SERVICE_ACCOUNT))?;
        let encryption = data.text(ENCRYPTION).and_then(from_hex).ok_or_else(|| missing(ENCRYPTION))?;
        Ok(Self {
            cluster: Generations::read(data, CLUSTER, now)?,
            front_proxy: Generations::read(data, FRONT_PROXY, now)?,
            // Tenants of earlier versions have none, and nothing is lost with it.
            tunnel: Generations::read_if_there(data, TUNNEL, now)?,
            service_account: ServiceAccountKey::from_pem(token_key)?,
            encryption,
        })
    }

    /// Adds generations that are due; says whether anything has to be stored.
    ///
    /// # Errors
    /// A key cannot be made.
    pub fn rotate(&mut self, tenant: &str, now: Timestamp) -> Result<bool, Error> {
        let cluster = self.cluster.rotate(&format!("{tenant} {CLUSTER}"), now)?;
        let front_proxy = self.front_proxy.rotate(&format!("{tenant} {FRONT_PROXY}"), now)?;
        let tunnel = self.tunnel.rotate(&format!("{tenant} {TUNNEL}"), now)?;
        Ok(cluster || front_proxy || tunnel)
    }

    /// What is stored of them.
    pub fn to_data(&self) -> Data {
        let mut data = Data::default();
        self.cluster.write(&mut data, CLUSTER);
        self.front_proxy.write(&mut data, FRONT_PROXY);
        self.tunnel.write(&mut data, TUNNEL);
        data.put(SERVICE_ACCOUNT, self.service_account.private_pem.as_str());
        data.put(ENCRYPTION, to_hex(&self.encryption));
        data
    }

    /// When the role of a generation changes next.
    pub fn next(&self) -> Option<Timestamp> {
        [&self.cluster, &self.front_proxy, &self.tunnel].into_iter().filter_map(|ca| ca.roles.next).min()
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut key = [0u8; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(key)
}
