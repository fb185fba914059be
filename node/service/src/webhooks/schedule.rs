//! When something is tried again, and when it is given up.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Waits between attempts, in seconds: those that Standard Webhooks suggests, fitted into 72 hours.
/// They sum up to 71 h 35 min 5 s, so that ten attempts have their turn.
const WAITS_S: [i64; 9] =
    [5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 20 * 3600];

/// Nothing is tried later than this after it happened.
pub const WINDOW: SignedDuration = SignedDuration::from_hours(72);

/// When the next attempt is due after so many that failed; `None` when it is given up.
///
/// `random` makes the wait up to a fifth shorter, so that what failed together is not repeated
/// together. Time from the last failure on counts; nothing starts more than 72 hours after `created_at`.
///
/// A receiver that `asked` for a longer wait gets it, but at most the next one of [`WAITS_S`]; an
/// attempt that would fall out of the 72 hours by it goes at its own time.
#[must_use]
pub fn next_at(
    failed: u32,
    created_at: Timestamp,
    now: Timestamp,
    random: u8,
    asked: Option<SignedDuration>,
) -> Option<Timestamp> {
    let which = usize::try_from(failed).ok()?.checked_sub(1)?;
    let wait_s = WAITS_S.get(which)?;
    let wait_ms = wait_s * (1_000 - 200 * i64::from(random) / 255);
    let own = now + SignedDuration::from_millis(wait_ms);
    let longest = SignedDuration::from_secs(*WAITS_S.get(which + 1).unwrap_or(wait_s));
    let later = asked.map(|asked| now + asked.clamp(SignedDuration::ZERO, longest));
    let is_in_time = |at: &Timestamp| *at <= created_at + WINDOW;
    let later = later.filter(|later| *later > own).filter(is_in_time);
    later.or(Some(own).filter(is_in_time))
}

/// How long a receiver asks for patience: `Retry-After` in seconds, or as a date by our clock. Only
/// with a status by which it says that it has too much to do (429, 503).
pub(super) fn asked(status: u16, retry_after: &str, now: Timestamp) -> Option<SignedDuration> {
    if !matches!(status, 429 | 503) {
        return None;
    }
    let retry_after = retry_after.trim();
    if let Ok(seconds) = retry_after.parse::<u32>() {
        return Some(SignedDuration::from_secs(seconds.into()));
    }
    let at = jiff::fmt::rfc2822::parse(retry_after).ok()?;
    Some(at.timestamp().duration_since(now))
}

/// Random bytes; without randomness zeroes, which is good enough: waits are the longest then, and a
/// message's number tells it apart from others.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[cfg(test)]
    if crate::simulation::fill(&mut bytes) {
        return bytes;
    }
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes
}

/// An interval in whole milliseconds.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(random: u8, each_takes: SignedDuration) -> Vec<SignedDuration> {
        let created_at = Timestamp::from_second(1_764_000_000).unwrap();
        let (mut now, mut at) = (created_at, vec![SignedDuration::ZERO]);
        for failed in 1.. {
            let Some(next) = next_at(failed, created_at, now + each_takes, random, None) else {
                break;
            };
            now = next;
            at.push(now.duration_since(created_at));
        }
        at
    }

    #[test]
    fn ten_attempts_fit_into_72_hours_however_the_jitter_falls() {
        for (random, last) in [(0, "PT71H35M5S"), (255, "PT57H16M4S")] {
            let at = attempts(random, SignedDuration::ZERO);
            assert_eq!(at.len(), 10, "{at:?}");
            assert_eq!(at[9], last.parse().unwrap(), "{random}");
            let slow = attempts(random, SignedDuration::from_secs(15));
            assert_eq!(slow.len(), 10);
            assert!(slow[9] <= WINDOW, "{:?}", slow[9]);
        }
    }

    #[test]
    fn the_first_retry_comes_soon_and_the_waits_grow() {
        let at = attempts(0, SignedDuration::ZERO);
        assert_eq!(at[1], SignedDuration::from_secs(5));
        assert_eq!(at[2], SignedDuration::from_secs(305));
        assert!(at.windows(3).all(|three| three[2] - three[1] >= three[1] - three[0]));
    }

    #[test]
    fn what_came_late_is_given_up_with_its_window() {
        let created_at = Timestamp::from_second(1_764_000_000).unwrap();
        assert_eq!(next_at(1, created_at, created_at + WINDOW, 0, None), None);
        let just = created_at + WINDOW - SignedDuration::from_secs(5);
        assert_eq!(next_at(1, created_at, just, 0, None), Some(created_at + WINDOW));
        assert_eq!(next_at(0, created_at, created_at, 0, None), None);
    }

    #[test]
    fn who_asks_for_patience_gets_some() {
        let created_at = Timestamp::from_second(1_764_000_000).unwrap();
        let after = |failed, asked_s| {
            let asked = Some(SignedDuration::from_secs(asked_s));
            let at = next_at(failed, created_at, created_at, 0, asked).unwrap();
            at.duration_since(created_at).as_secs()
        };
        assert_eq!((after(1, 0), after(1, -60), after(1, 3)), (5, 5, 5), "never sooner");
        assert_eq!((after(1, 120), after(1, 1_000_000)), (120, 300), "at most the next wait");
        assert_eq!((after(9, 1_000_000), after(2, i64::MAX)), (20 * 3600, 1_800));
        let late = created_at + WINDOW - SignedDuration::from_secs(10);
        let asked = Some(SignedDuration::from_secs(60));
        let at = next_at(1, created_at, late, 0, asked);
        assert_eq!(at, Some(late + SignedDuration::from_secs(5)), "it would have been given up");
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_only_where_it_means_patience() {
        let now = "2026-03-01T08:00:00Z".parse().unwrap();
        let seconds = |status, text| asked(status, text, now).map(|asked| asked.as_secs());
        assert_eq!(seconds(429, " 120 "), Some(120));
        assert_eq!(seconds(503, "Sun, 01 Mar 2026 08:01:30 GMT"), Some(90));
        assert_eq!(seconds(503, "Sun, 01 Mar 2026 07:00:00 GMT"), Some(-3_600));
        for text in ["", "soon", "-5", "1.5", "99999999999999999999", "Sun, 99 Mar 2026"] {
            assert_eq!(seconds(429, text), None, "{text}");
        }
        assert_eq!(seconds(500, "120"), None);
        assert_eq!(seconds(302, "120"), None);
    }
}
