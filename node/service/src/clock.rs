//! Where time comes in; nothing else in the service reads a clock (contract 5).
//!
//! Wall time is for deadlines that outlive the process; `CLOCK_BOOTTIME`, which counts suspended
//! time too and cannot be set, is for intervals.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nix::time::{ClockId, clock_gettime};

#[cfg(any(test, feature = "test-clock"))]
pub use driven::Hands;

/// The node's clock. Cheap to clone; all clones agree.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    /// The machine's.
    Machine { start_wall: Timestamp, start_boot: Duration, rate: u32 },
    /// A test's.
    #[cfg(any(test, feature = "test-clock"))]
    Driven(Hands),
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn new() -> Self {
        let machine = Source::Machine { start_wall: wall(), start_boot: boot(), rate: rate() };
        Self(Arc::new(machine))
    }

    /// A clock that moves only as its hands are moved.
    #[cfg(any(test, feature = "test-clock"))]
    #[must_use]
    pub fn driven(hands: &Hands) -> Self {
        Self(Arc::new(Source::Driven(hands.clone())))
    }

    /// Wall time, in whole milliseconds.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let now = match &*self.0 {
            Source::Machine { rate: 1, .. } => wall(),
            Source::Machine { start_wall, start_boot, rate } => {
                let elapsed = boot().saturating_sub(*start_boot) * *rate;
                *start_wall + SignedDuration::try_from(elapsed).unwrap_or(SignedDuration::MAX)
            }
            #[cfg(any(test, feature = "test-clock"))]
            Source::Driven(hands) => hands.wall(),
        };
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }

    /// How long a sleeper has to sleep until an instant; zero if it has passed.
    #[must_use]
    pub fn until(&self, at: Timestamp) -> Duration {
        let wait = Duration::try_from(at.duration_since(self.now())).unwrap_or(Duration::ZERO);
        match &*self.0 {
            Source::Machine { rate, .. } => wait / *rate,
            #[cfg(any(test, feature = "test-clock"))]
            Source::Driven(_) => wait,
        }
    }

    /// Time since the machine started, suspended time included. For intervals.
    #[must_use]
    pub fn boottime(&self) -> Duration {
        match &*self.0 {
            Source::Machine { .. } => boot(),
            #[cfg(any(test, feature = "test-clock"))]
            Source::Driven(hands) => hands.boot(),
        }
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

/// Time as a test has it.
#[cfg(any(test, feature = "test-clock"))]
mod driven {
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Duration;

    use jiff::{SignedDuration, Timestamp};

    /// What moves a driven clock. Cheap to clone; all clones move the same clock.
    #[derive(Debug, Clone)]
    pub struct Hands(Arc<Mutex<(Timestamp, Duration)>>);

    impl Hands {
        /// A clock that stands at an instant, on a machine that has just started.
        #[must_use]
        pub fn at(wall: Timestamp) -> Self {
            Self(Arc::new(Mutex::new((wall, Duration::ZERO))))
        }

        /// Time passes: both clocks go on.
        pub fn pass(&self, time: Duration) {
            let mut hands = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let moved = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
            hands.0 = hands.0.checked_add(moved).unwrap_or(Timestamp::MAX);
            hands.1 = hands.1.saturating_add(time);
        }

        /// Someone sets the wall clock, forward or back.
        pub fn set(&self, wall: Timestamp) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = wall;
        }

        pub(super) fn wall(&self) -> Timestamp {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).0
        }

        pub(super) fn boot(&self) -> Duration {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).1
        }
    }
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

    #[test]
    fn a_driven_clock_moves_as_its_hands_are_moved() {
        let start = Timestamp::from_second(1_764_000_000).unwrap();
        let hands = Hands::at(start);
        let clock = Clock::driven(&hands);
        hands.pass(Duration::from_secs(60));
        assert_eq!(clock.now(), start + SignedDuration::from_secs(60));
        assert_eq!(clock.boottime(), Duration::from_secs(60));
        hands.set(start);
        assert_eq!((clock.now(), clock.boottime()), (start, Duration::from_secs(60)));
        assert_eq!(clock.until(start + SignedDuration::from_secs(5)), Duration::from_secs(5));
    }
}
