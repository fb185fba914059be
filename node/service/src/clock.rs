//! Where time comes in; nothing else in the service reads a clock (contract 5).
//!
//! Wall time is for deadlines that outlive the process; `CLOCK_BOOTTIME`, which counts suspended
//! time too and cannot be set, is for intervals.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nix::time::{ClockId, clock_gettime};

/// The node's clock. Cheap to clone; all clones agree.
#[derive(Debug, Clone)]
pub struct Clock {
    start_wall: Timestamp,
    start_boot: Duration,
    rate: u32,
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn new() -> Self {
        Self { start_wall: wall(), start_boot: boot(), rate: rate() }
    }

    /// Wall time, in whole milliseconds.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let now = if self.rate == 1 {
            wall()
        } else {
            let elapsed = boot().saturating_sub(self.start_boot) * self.rate;
            self.start_wall + SignedDuration::try_from(elapsed).unwrap_or(SignedDuration::MAX)
        };
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }

    /// How long a sleeper has to sleep until an instant; zero if it has passed.
    #[must_use]
    pub fn until(&self, at: Timestamp) -> Duration {
        let wait = at.duration_since(self.now());
        Duration::try_from(wait).unwrap_or(Duration::ZERO) / self.rate
    }

    /// Time since the machine started, suspended time included. For intervals.
    #[must_use]
    pub fn boottime(&self) -> Duration {
        boot()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
fn wall() -> Timestamp {
    Timestamp::now()
}

fn boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

#[cfg(feature = "test-clock")]
fn rate() -> u32 {
    let rate = std::env::var("HOLDFAST_TEST_CLOCK_RATE").ok().and_then(|text| text.parse().ok());
    rate.unwrap_or(1).max(1)
}

#[cfg(not(feature = "test-clock"))]
fn rate() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_the_time_and_how_long_to_wait() {
        let clock = Clock::new();
        let now = clock.now();
        assert!(now.as_second() > 1_700_000_000);
        assert_eq!(now.as_nanosecond() % 1_000_000, 0);
        assert_eq!(clock.until(Timestamp::UNIX_EPOCH), Duration::ZERO);
        assert!(clock.until(now + SignedDuration::from_hours(1)) > Duration::from_secs(3_000));
    }
}
