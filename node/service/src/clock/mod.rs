//! Where time comes in; nothing else in the service reads a clock (contract 5).
//!
//! Wall time is for deadlines that outlive the process; `CLOCK_BOOTTIME`, which counts suspended
//! time too and cannot be set, is for intervals.
//!
//! The wall clock is not to be trusted (rule 10). A running node has a *steered* clock: its
//! [`now`](Clock::now) is node time, which never jumps by itself ([`steer`]), and [`trust`] decides
//! what the wall clock is worth and corrects node time together with every stamp that it made.

#[cfg(any(test, feature = "test-clock"))]
mod driven;
#[cfg(feature = "test-clock")]
mod hand_file;
mod kept;
mod machine;
mod steer;
pub mod trust;
pub mod watch;
mod witness;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

#[cfg(any(test, feature = "test-clock"))]
pub use driven::Hands;
pub(crate) use kept::resume;
use steer::Steering;
pub use steer::TOLERANCE;
pub use witness::{WITNESS, run as witness};

/// The node's clock. Cheap to clone; all clones agree.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Case>);

#[derive(Debug)]
struct Case {
    source: Source,
    /// Nothing for a clock that tells what the wall clock shows.
    steering: Option<Mutex<Steering>>,
}

#[derive(Debug, Clone)]
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
        #[cfg(feature = "test-clock")]
        if let Some(hands) = hand_file::hands() {
            return Self::driven(&hands);
        }
        let (start_wall, start_boot) = machine::both();
        Self::of(Source::Machine { start_wall, start_boot, rate: rate() })
    }

    /// A clock that moves only as its hands are moved.
    #[cfg(any(test, feature = "test-clock"))]
    #[must_use]
    pub fn driven(hands: &Hands) -> Self {
        Self::of(Source::Driven(hands.clone()))
    }

    fn of(source: Source) -> Self {
        Self(Arc::new(Case { source, steering: None }))
    }

    /// The same clock, steered: it tells node time. Whoever takes it runs [`watch::run`].
    #[must_use]
    pub fn steered(&self) -> Self {
        let source = self.0.source.clone();
        let (wall, ticks) = source.read();
        let steering = Mutex::new(Steering::new(wall, ticks));
        Self(Arc::new(Case { source, steering: Some(steering) }))
    }

    /// The time, in whole milliseconds: node time of a steered clock, else the wall clock's.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let now = match &self.0.steering {
            None => self.0.source.read().0,
            Some(steering) => {
                let mut steering = steering.lock().unwrap_or_else(PoisonError::into_inner);
                let (wall, ticks) = self.0.source.read();
                steering.tell(wall, ticks)
            }
        };
        whole_ms(now)
    }

    /// What the machine's wall clock shows, right or wrong, in whole milliseconds.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        whole_ms(self.0.source.read().0)
    }

    /// How long a sleeper has to sleep until an instant; zero if it has passed.
    #[must_use]
    pub fn until(&self, at: Timestamp) -> Duration {
        let wait = Duration::try_from(at.duration_since(self.now())).unwrap_or(Duration::ZERO);
        match &self.0.source {
            Source::Machine { rate, .. } => wait / *rate,
            #[cfg(any(test, feature = "test-clock"))]
            Source::Driven(_) => wait,
        }
    }

    /// Sleeps until an instant, for `least` at least and `most` at most; for `most` where there is no
    /// instant. A driven clock wakes its sleepers when so much time has passed by it, and whenever it
    /// is set.
    pub async fn sleep_until(&self, at: Option<Timestamp>, least: Duration, most: Duration) {
        #[cfg(any(test, feature = "test-clock"))]
        let driven = self.hands().map(|hands| (hands.moves(), at.map(|at| hands.alarm(at))));
        let wait = at.map_or(most, |at| self.until(at).clamp(least, most));
        #[cfg(any(test, feature = "test-clock"))]
        if let Some((mut moves, _alarm)) = driven {
            let (began, set) = (self.boottime(), *moves.borrow_and_update());
            let sleeping = tokio::time::sleep(wait);
            tokio::pin!(sleeping);
            loop {
                tokio::select! {
                    () = &mut sleeping => return,
                    _ = moves.changed() => {}
                }
                let has_passed = self.boottime().saturating_sub(began) >= wait;
                if has_passed || *moves.borrow_and_update() != set {
                    return;
                }
            }
        }
        tokio::time::sleep(wait).await;
    }

    #[cfg(any(test, feature = "test-clock"))]
    fn hands(&self) -> Option<&Hands> {
        match &self.0.source {
            Source::Driven(hands) => Some(hands),
            Source::Machine { .. } => None,
        }
    }

    /// Time since the machine started, suspended time included. For intervals.
    #[must_use]
    pub fn boottime(&self) -> Duration {
        match &self.0.source {
            Source::Machine { .. } => machine::boot(),
            #[cfg(any(test, feature = "test-clock"))]
            Source::Driven(hands) => hands.face().boot,
        }
    }

    /// Whether the kernel says that a time service keeps the wall clock right.
    #[must_use]
    pub fn is_synchronised(&self) -> bool {
        match &self.0.source {
            Source::Machine { .. } => machine::is_synchronised(),
            #[cfg(any(test, feature = "test-clock"))]
            Source::Driven(hands) => hands.face().is_synchronised,
        }
    }

    /// Which boot of the machine this is, where that can be told.
    fn boot_id(&self) -> Option<u64> {
        match &self.0.source {
            Source::Machine { .. } => machine::boot_id(),
            #[cfg(any(test, feature = "test-clock"))]
            Source::Driven(hands) => Some(hands.face().boot_id),
        }
    }

    /// Does something with the steering, which has just told the time, and with what the wall clock
    /// shows at that instant. Nothing, for a clock that is not steered.
    fn steer<T>(&self, act: impl FnOnce(&mut Steering, Timestamp) -> T) -> Option<T> {
        let steering = self.0.steering.as_ref()?;
        let mut steering = steering.lock().unwrap_or_else(PoisonError::into_inner);
        let (wall, ticks) = self.0.source.read();
        steering.tell(wall, ticks);
        Some(act(&mut steering, wall))
    }
}

impl Source {
    /// The wall clock and `CLOCK_BOOTTIME` at one instant; the latter as fast as the former runs.
    fn read(&self) -> (Timestamp, Duration) {
        match self {
            Self::Machine { rate: 1, .. } => machine::both(),
            Self::Machine { start_wall, start_boot, rate } => {
                let boot = machine::boot();
                let elapsed = boot.saturating_sub(*start_boot) * *rate;
                let elapsed = SignedDuration::try_from(elapsed).unwrap_or(SignedDuration::MAX);
                (*start_wall + elapsed, boot * *rate)
            }
            #[cfg(any(test, feature = "test-clock"))]
            Self::Driven(hands) => {
                let face = hands.face();
                (face.wall, face.boot)
            }
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

fn whole_ms(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
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
mod tests;
