//! What the wall clock is worth (rule 10), and putting right what a wrong one stamped.
//!
//! The wall clock is trusted while the kernel says that a time service keeps it (not asked with
//! `clock = "as_is"`), and while it does not stand before the latest instant that was recorded with
//! a clock that was trusted. Otherwise it is in doubt, and then:
//!
//! - nothing is deleted by a rule of time, and the node says so;
//! - node time counts on by `CLOCK_BOOTTIME` from the latest recorded instant. It follows no clock
//!   that nobody vouches for: one that says 2035 would use up every recording's 75 h, one that says
//!   1970 would stamp recordings that are exhausted, and 28 days old, once it is right.
//!
//! When the wall clock is trusted again, every stamp made in doubt moves by what separates node time
//! from it, in one transaction, and node time becomes wall time. A machine that was off while in
//! doubt goes on where its ledger ends; the time that it was off is then missing from those stamps,
//! so that they end up later than they were, never earlier: what is kept too long is no loss.
//!
//! A wall clock that steps while it is trusted, and is trusted still, is believed. With a time service
//! the stamps of before were right as well (the machine was paused), and stay. With `as_is` nobody
//! vouched for the stamps of this boot, and those move along with a step forward: they grow no older
//! by it. A step back moves none.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::Clock;
use super::steer::{Steering, TOLERANCE, is_close};
use crate::config::ClockSource;
use crate::ledger::LedgerError;
use crate::node::Node;

/// Why the wall clock is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// No time service keeps it.
    NotSynchronised,
    /// It stands before the latest instant that was recorded.
    Behind {
        /// What it shows.
        wall: Timestamp,
        /// The latest recorded instant.
        latest: Timestamp,
    },
    /// It was set, and stamps have yet to be put right.
    JustSet,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSynchronised => f.write_str(
                "the kernel says that no time service keeps the clock right: see that one runs and \
                 reaches its servers, or set clock = \"as_is\" where something else keeps it",
            ),
            Self::Behind { wall, latest } => write!(
                f,
                "the clock shows {wall:.0}, but this node has recorded something at {latest:.0}: \
                 set it right; if it is right now and ran ahead before, run `holdfast clock accept`",
            ),
            Self::JustSet => f.write_str("the clock was set; times are being put right"),
        }
    }
}

/// Both clocks at one instant, and what is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) wall: Timestamp,
    pub(super) is_synchronised: bool,
    pub(super) steering: Steering,
}

impl Seen {
    /// Nothing, for a clock that is not steered.
    pub(super) fn by(clock: &Clock) -> Option<Self> {
        let is_synchronised = clock.is_synchronised();
        let (wall, steering) = clock.steer(|steering, wall| (wall, *steering))?;
        Some(Self { wall, is_synchronised, steering })
    }
}

/// What is to be done about the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Same,
    /// It is in doubt from now on.
    Doubt(Doubt),
    /// It is right from now on.
    Believe(Belief),
}

/// Believing the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Belief {
    /// By how much node time moves.
    pub(super) by: SignedDuration,
    /// Stamps from this instant on move along; none where nothing is said.
    pub(super) since: Option<Timestamp>,
}

/// Why the wall clock cannot be trusted, if it cannot; `latest` is what it must not stand before.
pub(super) fn doubt(
    source: ClockSource,
    is_synchronised: bool,
    wall: Timestamp,
    latest: Timestamp,
) -> Option<Doubt> {
    if source == ClockSource::Synchronised && !is_synchronised {
        return Some(Doubt::NotSynchronised);
    }
    let is_behind = wall < latest && !is_close(wall, latest);
    is_behind.then_some(Doubt::Behind { wall, latest })
}

pub(super) fn judge(source: ClockSource, seen: &Seen, latest: Timestamp) -> Verdict {
    let Steering { at: told, vouched, stretch, .. } = seen.steering;
    let doubts = doubt(source, seen.is_synchronised, seen.wall, vouched.unwrap_or(latest));
    match (doubts, vouched) {
        (Some(_), Some(_)) => return Verdict::Same,
        (Some(why), None) => return Verdict::Doubt(why),
        (None, _) => {}
    }
    let by = seen.wall.duration_since(told);
    let is_step = by.abs() > TOLERANCE;
    let in_doubt = vouched.map(just_after);
    let since = match source {
        ClockSource::AsIs if by.is_positive() => {
            Some(in_doubt.map_or(stretch, |since| since.min(stretch)))
        }
        _ => in_doubt,
    };
    match (is_step, vouched) {
        (false, None) => Verdict::Same,
        (false, Some(_)) => Verdict::Believe(Belief { by: SignedDuration::ZERO, since: None }),
        (true, _) => Verdict::Believe(Belief { by, since }),
    }
}

pub(super) fn just_after(at: Timestamp) -> Timestamp {
    at.checked_add(SignedDuration::from_millis(1)).unwrap_or(at)
}

impl Node {
    /// Why the wall clock is not to be trusted now; nothing where it is. The one place that decides
    /// it: as long as this answers a doubt, nothing goes by a rule of time.
    ///
    /// # Errors
    /// [`LedgerError::Read`].
    pub fn clock_doubt(&self) -> Result<Option<Doubt>, LedgerError> {
        let latest = self.ledger.latest_instant()?;
        let (source, wall) = (self.config.node.clock, self.clock.wall());
        let is_synchronised = self.clock.is_synchronised();
        let steering = self.clock.steer(|steering, _| *steering);
        let vouched = steering.and_then(|steering| steering.vouched);
        let found = doubt(source, is_synchronised, wall, vouched.unwrap_or(latest));
        let unsettled = steering.filter(|s| s.vouched.is_some() || !is_close(wall, s.at));
        Ok(found.or(unsettled.map(|_| Doubt::JustSet)))
    }

    /// Whether the clock may be trusted for deleting (rule 10).
    ///
    /// # Errors
    /// [`LedgerError::Read`].
    pub fn clock_is_trusted(&self) -> Result<bool, LedgerError> {
        Ok(self.clock_doubt()?.is_none())
    }
}
