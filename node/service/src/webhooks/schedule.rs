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
#[must_use]
pub fn next_at(
    failed: u32,
    created_at: Timestamp,
    now: Timestamp,
    random: u8,
) -> Option<Timestamp> {
    let wait_s = WAITS_S.get(usize::try_from(failed).ok()?.checked_sub(1)?)?;
    let wait_ms = wait_s * (1_000 - 200 * i64::from(random) / 255);
    let at = now + SignedDuration::from_millis(wait_ms);
    (at <= created_at + WINDOW).then_some(at)
}

/// A random byte; without randomness the waits are the longest, which is good enough.
pub(super) fn random() -> u8 {
    let mut byte = [0];
    let _ = aws_lc_rs::rand::fill(&mut byte);
    byte[0]
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
            let Some(next) = next_at(failed, created_at, now + each_takes, random) else { break };
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
        assert_eq!(next_at(1, created_at, created_at + WINDOW, 0), None);
        let just = created_at + WINDOW - SignedDuration::from_secs(5);
        assert_eq!(next_at(1, created_at, just, 0), Some(created_at + WINDOW));
        assert_eq!(next_at(0, created_at, created_at, 0), None);
    }
}
