//! Kubernetes quantities (`250m`, `1.5Gi`, `2e3`) as numbers that can be added and compared.
//!
//! Exact to a billionth; what is finer is rounded up, as upstream does. Text that is not a quantity is `None`: the API
//! server has validated every quantity that reaches a node, so callers treat it as absent.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

const NANO: i128 = 1_000_000_000;
/// 10^18 and 2^60 are the largest suffixes; more digits than this cannot be a resource of one machine.
const MAX_DIGITS: usize = 27;

/// Thousandths, rounded up: CPU as the scheduler counts it.
#[must_use]
pub fn milli(quantity: &Quantity) -> Option<i64> {
    scaled(&quantity.0, NANO / 1000)
}

/// Whole units, rounded up: bytes, pods.
#[must_use]
pub fn units(quantity: &Quantity) -> Option<i64> {
    scaled(&quantity.0, NANO)
}

fn scaled(text: &str, unit: i128) -> Option<i64> {
    let amount = nano(text)?;
    let rounded_up = amount.div_euclid(unit) + i128::from(amount.rem_euclid(unit) != 0);
    i64::try_from(rounded_up).ok()
}

/// The amount in billionths.
fn nano(text: &str) -> Option<i128> {
    let end =
        text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (negative, digits) = match number.as_bytes().first()? {
        b'-' => (true, &number[1..]),
        b'+' => (false, &number[1..]),
        _ => (false, number),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || whole.len() + fraction.len() > MAX_DIGITS {
        return None;
    }
    let all = [whole, fraction].concat();
    if !all.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (multiplier, divisor) = scale(suffix)?;
    let divisor = divisor.checked_mul(10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    let numerator = all.parse::<i128>().ok()?.checked_mul(multiplier)?.checked_mul(NANO)?;
    let amount = numerator / divisor + i128::from(numerator % divisor != 0);
    Some(if negative { -amount } else { amount })
}

/// Multiplier and divisor of a suffix.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let binary = |power: u32| Some((1_i128 << (10 * power), 1));
    let decimal = |power: u32| Some((10_i128.pow(power), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, NANO)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1_000)),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs().min(MAX_DIGITS as u32))?;
            Some(if exponent < 0 { (1, power) } else { (power, 1) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quantity(text: &str) -> Quantity {
        Quantity(text.to_owned())
    }

    #[test]
    fn reads_what_people_write() {
        for (text, expected) in [
            ("250m", 250),
            ("1", 1000),
            ("1.5", 1500),
            ("0.1", 100),
            (".5", 500),
            ("100u", 1),
            ("1n", 1),
            ("2k", 2_000_000),
            ("1e3", 1_000_000),
            ("5E-1", 500),
            ("-3", -3000),
        ] {
            assert_eq!(milli(&quantity(text)), Some(expected), "{text}");
        }
        for (text, expected) in [
            ("1Ki", 1024),
            ("1.5Gi", 1_610_612_736),
            ("128974848", 128_974_848),
            ("129e6", 129_000_000),
            ("7Ei", 7 << 60),
        ] {
            assert_eq!(units(&quantity(text)), Some(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_quantity() {
        for text in ["", "m", "1.2.3", "1-2", "x", "1 Gi", "1kb", "9999999999999999999999999999", "1e", "8Ei"]
        {
            assert_eq!(units(&quantity(text)), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn milli_and_units_agree(n in 0_i64..1_000_000_000) {
            prop_assert_eq!(milli(&quantity(&format!("{n}m"))), Some(n));
            prop_assert_eq!(units(&quantity(&n.to_string())), Some(n));
            prop_assert_eq!(units(&quantity(&format!("{n}m"))), Some(n.div_euclid(1000) + i64::from(n % 1000 != 0)));
        }

        #[test]
        fn noise_never_panics(text in "\\PC{0,20}") {
            let _ = milli(&quantity(&text));
        }
    }
}
