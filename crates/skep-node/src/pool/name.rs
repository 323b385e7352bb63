//! Names of machines.

use rand::Rng as _;

/// Upstream's alphabet of random names: without vowels and what looks alike (`k8s.io/apimachinery/pkg/util/rand`).
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// Random characters: eleven million names for each pool.
const RANDOM: usize = 5;
/// A machine's name is its node's, and a label value.
const LONGEST: usize = 63;

/// `<cluster>-<pool>-<5 random characters>`, cut in front of the last hyphen where that would be too long.
pub(super) fn random(cluster: &str, pool: &str) -> String {
    let mut rng = rand::rng();
    let tail: String =
        (0..RANDOM).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect();
    with(cluster, pool, &tail)
}

fn with(cluster: &str, pool: &str, tail: &str) -> String {
    let head: String = format!("{cluster}-{pool}").chars().take(LONGEST - 1 - RANDOM).collect();
    format!("{}-{tail}", head.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whose_it_is_and_is_a_label() {
        assert_eq!(with("demo", "workers", "bcdfg"), "demo-workers-bcdfg");
        let long = with(&"c".repeat(40), &"p".repeat(40), "bcdfg");
        assert!(long.len() <= LONGEST && long.ends_with("p-bcdfg"), "{long}");
        // Cut where the hyphen between the two is.
        let cut = with(&"c".repeat(56), "p", "bcdfg");
        assert_eq!(cut, format!("{}-bcdfg", "c".repeat(56)));
        assert_ne!(random("demo", "workers"), random("demo", "workers"));
    }
}
