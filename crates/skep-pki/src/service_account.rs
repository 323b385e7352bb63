//! The key that signs service account tokens.

use rcgen::KeyPair as Key;

use crate::authority::new_key;
use crate::{Error, Pem, Result};

/// A P-256 key pair for `--service-account-signing-key-file` (ES256) and `--service-account-key-file`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccountKey {
    /// PKCS#8 private key.
    pub private_pem: Pem,
    /// The public key that verifies tokens.
    pub public_pem: String,
}

impl ServiceAccountKey {
    /// Makes a new key.
    pub fn generate() -> Result<Self> {
        Ok(Self::from_key(&new_key()?))
    }

    /// Reads the private key and derives the public one.
    pub fn from_pem(private_pem: &str) -> Result<Self> {
        let key = Key::from_pem(private_pem).map_err(|e| Error::read("service account key", e))?;
        if key.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(Error::read("service account key", "it is not an ECDSA P-256 key"));
        }
        Ok(Self::from_key(&key))
    }

    fn from_key(key: &Key) -> Self {
        ServiceAccountKey { private_pem: Pem::new(key.serialize_pem()), public_pem: key.public_key_pem() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_key_follows_from_the_private_key() {
        let key = ServiceAccountKey::generate().unwrap();
        let again = ServiceAccountKey::from_pem(key.private_pem.as_str()).unwrap();
        assert_eq!(key, again);
        assert!(key.public_pem.starts_with("-----BEGIN PUBLIC KEY-----"));
        assert!(ServiceAccountKey::from_pem("nothing").is_err());
    }
}
