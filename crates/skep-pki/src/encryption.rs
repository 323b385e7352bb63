//! Encryption at rest of a tenant's Secrets: the file for `--encryption-provider-config`.

use base64::Engine;
use rand::Rng;

/// An `EncryptionConfiguration` (apiserver.config.k8s.io/v1) that writes Secrets with secretbox
/// (XSalsa20-Poly1305) and still reads what was written in clear before. The text holds the key: it belongs in a
/// Secret and nowhere else.
pub fn encryption_config(key: [u8; 32]) -> String {
    let secret = base64::engine::general_purpose::STANDARD.encode(key);
    format!(
        "apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources:
  - secrets
  providers:
  - secretbox:
      keys:
      - name: key1
        secret: {secret}
  - identity: {{}}
"
    )
}

/// A random key for [`encryption_config`].
pub fn random_key() -> [u8; 32] {
    let mut key = [0u8; 32];
    rand::rng().fill(&mut key);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secretbox_first_identity_last() {
        let config: serde_json::Value = serde_saphyr::from_str(&encryption_config([7; 32])).unwrap();
        let providers = &config["resources"][0]["providers"];
        assert_eq!(
            providers[0]["secretbox"]["keys"][0]["secret"],
            "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="
        );
        assert_eq!(providers[1]["identity"], serde_json::json!({}));
        assert_ne!(random_key(), random_key());
    }
}
