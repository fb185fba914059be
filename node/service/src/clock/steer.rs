//! Node time: what a steered clock tells, whatever becomes of the wall clock.
//!
//! Node time follows the wall clock as long as both go on together. Once the wall clock was set by
//! more than [`TOLERANCE`], or is in doubt, node time counts on by `CLOCK_BOOTTIME`, which nobody can
//! set, until [`trust`](super::trust) has found out what happened. So `now` never jumps by itself.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::trust::Belief;

/// How far the wall clock may be set, as time services do, without it counting as a step.
pub const TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

/// Where node time stands, and what is known of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Steering {
    /// What was told last.
    pub(super) at: Timestamp,
    /// When that was, by `CLOCK_BOOTTIME`.
    pub(super) ticks: Duration,
    /// While the wall clock is in doubt: the latest instant that was recorded before.
    pub(super) vouched: Option<Timestamp>,
    /// The first stamp of the machine's present boot, and of boots before it that cannot be told apart
    /// from it.
    pub(super) stretch: Timestamp,
}

impl Steering {
    /// A clock that is believed.
    pub(super) fn new(wall: Timestamp, ticks: Duration) -> Self {
        Self { at: wall, ticks, vouched: None, stretch: wall }
    }

    /// Node time.
    pub(super) fn tell(&mut self, wall: Timestamp, ticks: Duration) -> Timestamp {
        let counted = self.counted(ticks);
        let follows = self.vouched.is_none() && is_close(wall, counted);
        self.at = if follows { wall.max(self.at) } else { counted };
        self.ticks = self.ticks.max(ticks);
        self.at
    }

    /// The wall clock is right from now on, and node time moves to it.
    pub(super) fn believe(&mut self, Belief { by, since }: Belief) {
        let moved = |at: Timestamp| at.checked_add(by).unwrap_or(at);
        self.vouched = None;
        self.at = moved(self.at);
        if let Some(since) = since {
            let stretch = if self.stretch >= since { moved(self.stretch) } else { self.stretch };
            self.stretch = stretch.min(moved(since));
        }
    }

    /// What node time has come to by counting.
    fn counted(&self, ticks: Duration) -> Timestamp {
        let passed = SignedDuration::try_from(ticks.saturating_sub(self.ticks));
        self.at.checked_add(passed.unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MAX)
    }
}

/// Whether two instants differ by no more than [`TOLERANCE`].
pub(super) fn is_close(one: Timestamp, other: Timestamp) -> bool {
    one.duration_since(other).abs() <= TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    fn ticks(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn node_time_follows_small_corrections_and_never_runs_backward() {
        let mut steering = Steering::new(at(0), ticks(100));
        assert_eq!(steering.tell(at(10), ticks(110)), at(10));
        assert_eq!(steering.tell(at(14), ticks(111)), at(14), "set forward by 3 s");
        assert_eq!(steering.tell(at(11), ticks(112)), at(14), "set back by 4 s: it waits");
        assert_eq!(
            steering.tell(at(15), ticks(116)),
            at(15),
            "and goes on when it has been caught up"
        );
    }

    #[test]
    fn node_time_counts_on_over_a_step_in_either_direction() {
        for step in [-3_600, 3_600, 200_000_000] {
            let mut steering = Steering::new(at(0), ticks(100));
            assert_eq!(steering.tell(at(20 + step), ticks(120)), at(20), "{step}");
            assert_eq!(steering.tell(at(90 + step), ticks(190)), at(90), "{step}");
        }
    }

    #[test]
    fn node_time_counts_on_while_the_wall_clock_is_in_doubt() {
        let mut steering = Steering::new(at(0), ticks(100));
        steering.vouched = Some(at(0));
        assert_eq!(steering.tell(at(63), ticks(160)), at(60));
    }
}
