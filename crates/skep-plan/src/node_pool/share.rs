//! Numbers that may be a share of the pool.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Refusal;

/// As many machines as a pool can have (`maximum` of `spec.replicas`).
const MOST: i32 = 5000;

/// A number of machines, or so many per cent of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// So many.
    Number(usize),
    /// So many per cent, at most 100.
    Percent(usize),
}

impl Share {
    /// Reads a field of a spec.
    ///
    /// # Errors
    /// It is neither a number from 0 to 5000 nor a percentage from 0% to 100%.
    pub fn read(field: &'static str, value: &IntOrString) -> Result<Self, Refusal> {
        let share = match value {
            IntOrString::Int(number) if (0..=MOST).contains(number) => {
                usize::try_from(*number).ok().map(Self::Number)
            }
            IntOrString::Int(_) => None,
            IntOrString::String(text) => text
                .strip_suffix('%')
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .filter(|percent| *percent <= 100)
                .map(Self::Percent),
        };
        share.ok_or_else(|| {
            let value = match value {
                IntOrString::Int(number) => number.to_string(),
                IntOrString::String(text) => format!("{text:?}"),
            };
            Refusal::InvalidShare { field, value }
        })
    }

    /// Machines of a pool of `whole`; a part of one counts as one.
    pub fn rounded_up(self, whole: usize) -> usize {
        match self {
            Self::Number(number) => number,
            Self::Percent(percent) => (whole * percent).div_ceil(100),
        }
    }

    /// Machines of a pool of `whole`; a part of one does not count.
    pub fn rounded_down(self, whole: usize) -> usize {
        match self {
            Self::Number(number) => number,
            Self::Percent(percent) => whole * percent / 100,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(value: IntOrString) -> Option<Share> {
        Share::read("update.maxSurge", &value).ok()
    }

    #[test]
    fn numbers_and_percentages_are_read_and_nothing_else() {
        assert_eq!(read(IntOrString::Int(3)), Some(Share::Number(3)));
        assert_eq!(read(IntOrString::String("25%".into())), Some(Share::Percent(25)));
        for bad in ["25", "101%", "-1%", "+1%", "%", "a%", "", "25 %", "99999999999999999999%"] {
            assert_eq!(read(IntOrString::String(bad.into())), None, "{bad}");
        }
        for bad in [-1, 5001, i32::MIN] {
            assert_eq!(read(IntOrString::Int(bad)), None, "{bad}");
        }
        let refusal = Share::read("update.maxSurge", &IntOrString::String("many".into())).unwrap_err();
        assert!(refusal.to_string().contains("update.maxSurge") && refusal.to_string().contains("\"many\""));
    }

    #[test]
    fn surge_rounds_up_and_unavailable_rounds_down_as_deployments_do() {
        let quarter = Share::Percent(25);
        assert_eq!((quarter.rounded_up(3), quarter.rounded_down(3)), (1, 0));
        assert_eq!((quarter.rounded_up(4), quarter.rounded_down(4)), (1, 1));
        assert_eq!((quarter.rounded_up(0), quarter.rounded_down(0)), (0, 0));
    }

    proptest! {
        #[test]
        fn the_two_roundings_differ_by_one_at_most(percent in 0usize..=100, whole in 0usize..=5000) {
            let share = Share::Percent(percent);
            let (up, down) = (share.rounded_up(whole), share.rounded_down(whole));
            prop_assert!(down <= up && up - down <= 1 && up <= whole);
        }
    }
}
