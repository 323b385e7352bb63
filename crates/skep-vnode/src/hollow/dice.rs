//! Chance that can be repeated: every draw follows from a key and what is drawn. Pure.

use super::config::Spread;

/// Quantile of the standard normal distribution at 0.95.
const Z95: f64 = 1.644_853_626_951_472_2;
/// No case takes longer than this many times the 95th percentile.
const TAIL: u64 = 8;

/// Mixes a number thoroughly (`splitmix64`, Steele, Lea and Flood 2014).
const fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The key of a name under a seed. The standard library's hashes may change between versions, this one does not.
pub fn key(seed: u64, parts: &[&str]) -> u64 {
    let mut state = mix(seed);
    for part in parts {
        for byte in part.bytes() {
            state = mix(state ^ u64::from(byte));
        }
        // Where a part ends counts.
        state = mix(state ^ 0x100);
    }
    state
}

/// A number for one case.
pub fn draw(key: u64, what: u8, index: usize, attempt: u64) -> u64 {
    let index = u64::try_from(index).unwrap_or(u64::MAX);
    mix(mix(key ^ u64::from(what)) ^ mix(index) ^ mix(mix(attempt)))
}

/// Below `per_mille` of 1,000 cases.
pub fn chance(drawn: u64, per_mille: u16) -> bool {
    drawn % 1000 < u64::from(per_mille)
}

/// From 0 to below 1.
pub fn share(drawn: u64) -> f64 {
    // 53 bits, as many as an f64 has.
    (drawn >> 11) as f64 / (1_u64 << 53) as f64
}

/// How long this case takes, in milliseconds.
pub fn sample(spread: Spread, drawn: u64) -> i64 {
    let Spread { median_ms, p95_ms } = spread;
    let ms = if p95_ms <= median_ms || median_ms == 0 {
        median_ms
    } else {
        let sigma = (p95_ms as f64 / median_ms as f64).ln() / Z95;
        // Box and Muller: two even numbers give a normal one.
        let radius = (-2.0 * (1.0 - share(drawn)).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * share(mix(drawn))).cos();
        let ms = median_ms as f64 * (sigma * normal).exp();
        (ms as u64).min(p95_ms.saturating_mul(TAIL))
    };
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_case_always_ends_the_same() {
        // Written down: a new version of the program must not change old runs.
        assert_eq!(key(1, &["default", "web-0"]), key(1, &["default", "web-0"]));
        assert_ne!(key(1, &["default", "web-0"]), key(2, &["default", "web-0"]));
        assert_ne!(key(1, &["ab", "c"]), key(1, &["a", "bc"]));
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn times_are_spread_as_told() {
        let spread = Spread::of(2_000, 8_000);
        let mut times: Vec<i64> =
            (0..20_000).map(|n| sample(spread, draw(key(7, &["x"]), 1, 0, n))).collect();
        times.sort_unstable();
        let at = |share: f64| times[(times.len() as f64 * share) as usize] as f64;
        assert!((at(0.5) / 2_000.0 - 1.0).abs() < 0.05, "{}", at(0.5));
        assert!((at(0.95) / 8_000.0 - 1.0).abs() < 0.08, "{}", at(0.95));
        assert_eq!(sample(Spread::fixed(300), 12345), 300);
        assert_eq!(sample(Spread::default(), 12345), 0);
    }

    #[test]
    fn shares_are_as_told() {
        let hits = (0..100_000).filter(|n| chance(draw(1, 2, 3, *n), 50)).count();
        assert!((4_700..5_300).contains(&hits), "{hits}");
        assert!(!chance(0, 0) && chance(999, 1000));
    }
}
