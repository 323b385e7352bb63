//! An authority that is rotated: its generations, as they are stored and used.

use std::time::Duration;

use jiff::Timestamp;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use crate::inspect::pem_each;
use crate::rotation::{Roles, roles};
use crate::{Authority, Error, Pem, Result, Validity, bundle};

/// How an authority is made and rotated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityPlan {
    /// Common name of every generation.
    pub common_name: String,
    /// Life of one generation.
    pub life: Duration,
    /// How long a new generation is trusted before it signs: the time verifiers take to read a new bundle.
    pub overlap: Duration,
    /// Longest life of what it signs.
    pub leaf_life: Duration,
}

/// The generations of one authority, oldest first; never empty.
#[derive(Debug, Clone)]
pub struct Generations {
    all: Vec<Authority>,
    signer: usize,
    next: Option<Timestamp>,
}

impl Generations {
    /// Reads generations back from two PEM texts with as many certificates as keys, in the same order.
    ///
    /// # Errors
    /// The texts cannot be read or do not belong together.
    pub fn read(certs_pem: &str, keys_pem: &str) -> Result<Vec<Authority>> {
        let certs = pem_each(certs_pem)?;
        let keys = PrivateKeyDer::pem_slice_iter(keys_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| Error::read("private key", e))?;
        if certs.len() != keys.len() {
            return Err(Error::read("certificate authority", "it has not as many keys as certificates"));
        }
        certs.iter().zip(&keys).map(|(cert, key)| Authority::from_der_key(cert, key)).collect()
    }

    /// Brings stored generations to `now`: makes a new one when the newest is due, drops those that nothing needs
    /// any more. With nothing stored it makes the first. The flag says whether anything changed.
    ///
    /// # Errors
    /// A new generation could not be made.
    pub fn advance(mut stored: Vec<Authority>, plan: &AuthorityPlan, now: Timestamp) -> Result<(Self, bool)> {
        let mut changed = false;
        let mut decided = decide(&stored, plan, now);
        if decided.make {
            stored.push(Authority::generate(&plan.common_name, plan.life, now)?);
            decided = decide(&stored, plan, now);
            changed = true;
        }
        let Some(signer) = decided.signer else {
            return Err(Error::make(
                plan.common_name.as_str(),
                "no generation is valid now; check the clock",
            ));
        };
        changed |= decided.trusted.len() != stored.len();
        // The signer is trusted, so it is found again among those that are kept.
        let position = decided.trusted.iter().position(|i| *i == signer).unwrap_or(0);
        let mut index = 0;
        stored.retain(|_| {
            index += 1;
            decided.trusted.contains(&(index - 1))
        });
        Ok((Self { all: stored, signer: position, next: decided.next }, changed))
    }

    /// The generation that signs now.
    pub fn signer(&self) -> &Authority {
        // `advance` is the only constructor: the index is within the list.
        &self.all[self.signer]
    }

    /// What verifiers are to trust now, in one PEM text.
    ///
    /// # Errors
    /// A certificate cannot be read.
    pub fn trusted_pem(&self) -> Result<String> {
        bundle(self.all.iter().map(Authority::cert_pem))
    }

    /// All keys in the order of [`Generations::trusted_pem`], for storage.
    pub fn keys_pem(&self) -> Pem {
        Pem::new(self.all.iter().map(|a| a.key_pem().into_string()).collect::<String>())
    }

    /// When to call [`Generations::advance`] again.
    pub fn next(&self) -> Option<Timestamp> {
        self.next
    }
}

fn decide(all: &[Authority], plan: &AuthorityPlan, now: Timestamp) -> Roles {
    let lives: Vec<Validity> = all.iter().map(Authority::validity).collect();
    roles(&lives, plan.overlap, plan.leaf_life, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validity::at;
    use crate::{Leaf, issued_by};

    const DAY: i64 = 86_400;

    fn plan() -> AuthorityPlan {
        let days = |n: u64| Duration::from_secs(n * 86_400);
        AuthorityPlan { common_name: "ca".into(), life: days(300), overlap: days(1), leaf_life: days(30) }
    }

    fn stored_and_read(g: &Generations) -> Vec<Authority> {
        Generations::read(&g.trusted_pem().unwrap(), g.keys_pem().as_str()).unwrap()
    }

    #[test]
    fn a_life_of_rotations_through_storage() {
        let (mut g, made) = Generations::advance(Vec::new(), &plan(), at(DAY)).unwrap();
        assert!(made);
        let first = g.signer().cert_pem().to_owned();
        let mut signers = vec![first];
        let mut leaf = g.signer().issue(&Leaf::client("x", plan().leaf_life), at(DAY)).unwrap();
        let mut yesterday = g.trusted_pem().unwrap();
        for day in 2..900 {
            let now = at(day * DAY);
            (g, _) = Generations::advance(stored_and_read(&g), &plan(), now).unwrap();
            leaf = g.signer().ensure(Some(&leaf), &Leaf::client("x", plan().leaf_life), now).unwrap().pair;
            assert!(
                issued_by(&leaf.cert_pem, &yesterday).unwrap(),
                "day {day}: not trusted by a late verifier"
            );
            yesterday = g.trusted_pem().unwrap();
            if signers.last().map(String::as_str) != Some(g.signer().cert_pem()) {
                signers.push(g.signer().cert_pem().to_owned());
            }
            assert!(yesterday.matches("BEGIN CERTIFICATE").count() <= 2);
        }
        assert_eq!(signers.len(), 5, "one rotation every 200 days");
    }

    #[test]
    fn nothing_changes_between_two_rotations() {
        let (g, _) = Generations::advance(Vec::new(), &plan(), at(DAY)).unwrap();
        let (same, changed) = Generations::advance(stored_and_read(&g), &plan(), at(2 * DAY + 1)).unwrap();
        assert!(!changed);
        assert_eq!(same.trusted_pem().unwrap(), g.trusted_pem().unwrap());
        assert_eq!(same.keys_pem(), g.keys_pem());
        assert!(same.next().is_some_and(|n| n > at(2 * DAY + 1)));
    }

    #[test]
    fn damaged_storage_is_refused() {
        let (g, _) = Generations::advance(Vec::new(), &plan(), at(DAY)).unwrap();
        let (other, _) = Generations::advance(Vec::new(), &plan(), at(DAY)).unwrap();
        let certs = g.trusted_pem().unwrap();
        assert!(Generations::read(&certs, "").is_err());
        assert!(Generations::read("", g.keys_pem().as_str()).is_err());
        assert!(Generations::read(&certs, other.keys_pem().as_str()).is_err(), "keys of another authority");
        assert!(Generations::read(&certs.repeat(2), g.keys_pem().as_str()).is_err());
    }
}
