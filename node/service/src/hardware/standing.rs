//! How a device has done lately, and whether it is set aside. Pure: told the time since boot.
//!
//! A device that fails twice in a row, or three times in its last ten jobs, is set aside for 30
//! minutes, then for twice as long each time, up to a day. What ends that time is a new proof; ten jobs
//! without a failure make it forget how often it was.

use std::collections::VecDeque;
use std::time::Duration;

/// Jobs that are remembered.
const JOBS_MAX: usize = 10;
/// Failures among them that set a device aside.
const FAILURES_MAX: usize = 3;
/// The first time aside, and the longest.
const ASIDE_FIRST: Duration = Duration::from_secs(30 * 60);
const ASIDE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Largest part of a failure that is kept, in bytes.
const WHY_BYTES_MAX: usize = 500;

/// A device's last jobs.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    failed: VecDeque<bool>,
    times: u32,
    aside: Option<Aside>,
}

/// A device that is set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// Until when, since boot.
    pub until: Duration,
    /// Its last failure.
    pub why: String,
}

impl Standing {
    /// A job ended well on it.
    pub fn worked(&mut self) {
        self.note(false);
        if self.failed.len() == JOBS_MAX && self.failures() == 0 {
            self.times = 0;
        }
    }

    /// A job failed on it that software then did. Answers for how long it is set aside, if it is.
    pub fn failed(&mut self, now: Duration, why: &str) -> Option<Duration> {
        let twice = self.failed.back() == Some(&true);
        self.note(true);
        if self.aside.is_some() || !(twice || self.failures() >= FAILURES_MAX) {
            return None;
        }
        Some(self.set_aside(now, why))
    }

    /// Sets it aside, whatever it did before: a new proof failed.
    pub fn set_aside(&mut self, now: Duration, why: &str) -> Duration {
        let span = ASIDE_FIRST.saturating_mul(2u32.saturating_pow(self.times)).min(ASIDE_MAX);
        self.times = self.times.saturating_add(1);
        self.failed.clear();
        let end = why.floor_char_boundary(WHY_BYTES_MAX);
        self.aside = Some(Aside { until: now + span, why: why[..end].to_owned() });
        span
    }

    /// A new proof went well.
    pub fn readmit(&mut self) {
        self.aside = None;
        // What ended meanwhile had begun before.
        self.failed.clear();
    }

    /// Why it gets no jobs, if it gets none. It stays so after its time until a proof readmits it.
    #[must_use]
    pub fn aside(&self) -> Option<&Aside> {
        self.aside.as_ref()
    }

    /// Whether its time aside is over and it is to be proven anew.
    #[must_use]
    pub fn is_due(&self, now: Duration) -> bool {
        self.aside.as_ref().is_some_and(|aside| aside.until <= now)
    }

    /// Failures among its last ten jobs.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.failed.iter().filter(|failed| **failed).count()
    }

    fn note(&mut self, failed: bool) {
        if self.failed.len() == JOBS_MAX {
            self.failed.pop_front();
        }
        self.failed.push_back(failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn one_failure_now_and_then_is_no_reason() {
        let mut standing = Standing::default();
        for _ in 0..5 {
            assert_eq!(standing.failed(MINUTE, "x"), None);
            for _ in 0..9 {
                standing.worked();
            }
        }
        assert_eq!(standing.aside(), None);
    }

    #[test]
    fn twice_in_a_row_sets_it_aside() {
        let mut standing = Standing::default();
        standing.worked();
        assert_eq!(standing.failed(MINUTE, "first"), None);
        assert_eq!(standing.failed(MINUTE, "second"), Some(MINUTE * 30));
        let aside = standing.aside().unwrap();
        assert_eq!((aside.until, aside.why.as_str()), (MINUTE * 31, "second"));
        assert!(!standing.is_due(MINUTE * 30) && standing.is_due(MINUTE * 31));
    }

    #[test]
    fn three_of_ten_set_it_aside() {
        let mut standing = Standing::default();
        for _ in 0..2 {
            assert_eq!(standing.failed(MINUTE, "x"), None);
            standing.worked();
            standing.worked();
        }
        assert!(standing.failed(MINUTE, "x").is_some());
    }

    #[test]
    fn each_time_is_twice_as_long_up_to_a_day_until_it_has_done_well() {
        let mut standing = Standing::default();
        let aside = |standing: &mut Standing| {
            standing.readmit();
            let _ = standing.failed(MINUTE, "x");
            standing.failed(MINUTE, "x").unwrap().as_secs() / 60
        };
        let spans: Vec<u64> = (0..8).map(|_| aside(&mut standing)).collect();
        assert_eq!(spans, [30, 60, 120, 240, 480, 960, 1440, 1440]);
        standing.readmit();
        for _ in 0..10 {
            standing.worked();
        }
        assert_eq!(aside(&mut standing), 30);
    }

    #[test]
    fn what_fails_while_it_is_aside_was_begun_before() {
        let mut standing = Standing::default();
        let _ = standing.set_aside(MINUTE, "x");
        assert_eq!(standing.failed(MINUTE, "y"), None);
        assert_eq!(standing.failed(MINUTE, "y"), None);
        assert_eq!(standing.aside().unwrap().why, "x");
    }
}
