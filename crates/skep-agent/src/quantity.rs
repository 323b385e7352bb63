//! Quantities as Skep's own kinds take them (`skep_api::resources::QUANTITY`), as numbers.

/// Digits at most: more than any resource of a machine has.
const MAX_DIGITS: usize = 15;

/// Thousandths, rounded up: CPU. `None` for what is no such quantity.
pub fn milli(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || whole.len() + fraction.len() > MAX_DIGITS {
        return None;
    }
    let digits: u128 = [whole, fraction].concat().parse().ok()?;
    let thousandths: u128 = match unit {
        "m" => 1,
        "" => 1000,
        "k" => 1000 * 1000,
        "M" => 1000 * 1000_u128.pow(2),
        "G" => 1000 * 1000_u128.pow(3),
        "T" => 1000 * 1000_u128.pow(4),
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        "Ti" => 1000 << 40,
        _ => return None,
    };
    let divisor = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    (digits * thousandths).div_ceil(divisor).try_into().ok()
}

/// Whole units, rounded up: bytes. `None` for what is no such quantity.
pub fn units(text: &str) -> Option<u64> {
    milli(text).map(|milli| milli.div_ceil(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_numbers() {
        for (text, expected) in [
            ("1", Some(1000)),
            ("250m", Some(250)),
            ("1.5", Some(1500)),
            ("0.0001", Some(1)),
            ("1k", Some(1_000_000)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("8Ti", Some(8_796_093_022_208_000)),
            ("", None),
            (".5", None),
            ("1x", None),
            ("-1", None),
            ("1.2.3", None),
            ("1234567890123456", None),
        ] {
            assert_eq!(milli(text), expected, "{text}");
        }
        assert_eq!(units("1500m"), Some(2));
        assert_eq!(units("100Mi"), Some(104_857_600));
    }
}
