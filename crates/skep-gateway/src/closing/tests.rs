use proptest::prelude::*;

use super::*;

const AFTER_5S: Closing = Closing { asked: 1_000_000, after: Duration::from_secs(5) };

/// A sight so many milliseconds after the second in which the deletion was asked for.
fn sight(late_ms: u64, fresh: bool) -> Sight {
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) + Duration::from_millis(late_ms);
    Sight { at: Instant::now() + Duration::from_secs(3600), date, fresh }
}

/// A window in milliseconds after the sight.
fn window(closing: Closing, sight: Sight) -> Option<(i128, i128)> {
    let ms = |at: Instant| match at.checked_duration_since(sight.at) {
        Some(after) => after.as_millis() as i128,
        None => -(sight.at.duration_since(at).as_millis() as i128),
    };
    closing.window(&sight).map(|window| (ms(window.from), ms(window.until)))
}

#[test]
fn a_deletion_seen_as_it_happens_counts_from_now() {
    assert_eq!(window(AFTER_5S, sight(700, true)), Some((4_750, 6_500)));
    // Whatever the clocks of two machines make of it.
    assert_eq!(window(AFTER_5S, sight(3_600_000, true)), Some((4_750, 6_500)));
}

#[test]
fn one_seen_late_counts_from_when_it_was_asked_for() {
    // Three seconds late: it closes between two and three seconds from now.
    assert_eq!(window(AFTER_5S, sight(3_000, false)), Some((1_750, 4_500)));
    // The server may be closing right now.
    assert_eq!(window(AFTER_5S, sight(6_000, false)), Some((-1_250, 1_500)));
    // It has closed: nothing may be held for nothing.
    assert_eq!(window(AFTER_5S, sight(7_500, false)), None);
    assert_eq!(window(AFTER_5S, sight(u64::from(u32::MAX) * 1_000, false)), None);
}

#[test]
fn a_clock_that_is_behind_counts_from_now() {
    let early = Closing { asked: 2_000_000, ..AFTER_5S };
    assert_eq!(window(early, sight(0, false)), Some((4_750, 6_500)));
}

#[test]
fn only_what_can_be_meant_is_believed() {
    let parse = |text| Closing::parse(1_000_075, 75, text);
    assert_eq!(parse("5000"), Some(AFTER_5S));
    assert_eq!(parse("0").map(|c| c.after), Some(Duration::ZERO));
    for text in ["", "-1", "5s", "600001", "99999999999999999999"] {
        assert_eq!(parse(text), None, "{text}");
    }
}

#[test]
fn holding_begins_and_ends_on_the_moment() {
    let window = AFTER_5S.window(&sight(0, true)).unwrap();
    let tick = Duration::from_nanos(1);
    assert!(!window.holds(window.from - tick) && window.holds(window.from));
    assert!(window.holds(window.until - tick) && !window.holds(window.until));
}

proptest! {
    /// Wherever in its second the deletion was asked for, and however late it is seen by clocks that agree: the moment
    /// the server closes is inside the window, if it is still to come, and the window is short.
    #[test]
    fn the_moment_is_in_the_window(into_second in 0u64..1_000, late in 0u64..10_000, after in 0u64..600_000, fresh: bool) {
        let closing = Closing { after: Duration::from_millis(after), ..AFTER_5S };
        // A fresh sight is no later than the kubelet's, up to what `BEFORE` allows for.
        let late = if fresh { late % 250 } else { late };
        let sight = sight(into_second + late, fresh);
        let closes = sight.at + closing.after;
        let closes = closes - Duration::from_millis(late);
        match closing.window(&sight) {
            Some(window) => {
                prop_assert!(window.from <= closes);
                prop_assert!(closes < window.until);
                prop_assert!(window.until - window.from <= BEFORE + SECOND + AFTER);
            }
            None => prop_assert!(closes < sight.at),
        }
    }
}
