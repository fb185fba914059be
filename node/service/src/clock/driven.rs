//! Time as a test has it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

/// What moves a driven clock. Cheap to clone; all clones move the same clock.
#[derive(Debug, Clone)]
pub struct Hands(Arc<Case>);

#[derive(Debug)]
struct Case {
    face: Mutex<Face>,
    /// Wakes whoever sleeps by this clock. Counts how often it was set.
    moved: watch::Sender<u64>,
    /// For when those who sleep until an instant have set it, and how many of them.
    alarms: Mutex<BTreeMap<Timestamp, usize>>,
}

/// Someone sleeps until an instant, for as long as this lives.
#[derive(Debug)]
pub(super) struct Alarm<'a> {
    case: &'a Case,
    at: Timestamp,
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        let mut alarms = self.case.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sleepers) = alarms.get_mut(&self.at) {
            *sleepers -= 1;
            if *sleepers == 0 {
                alarms.remove(&self.at);
            }
        }
    }
}

/// What a driven clock shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Face {
    pub(super) wall: Timestamp,
    pub(super) boot: Duration,
    pub(super) boot_id: u64,
    pub(super) is_synchronised: bool,
}

impl Hands {
    /// A clock that stands at an instant, on a machine that has just started. A time service keeps it.
    #[must_use]
    pub fn at(wall: Timestamp) -> Self {
        Self::showing(Face { wall, boot: Duration::ZERO, boot_id: 1, is_synchronised: true })
    }

    pub(super) fn showing(face: Face) -> Self {
        Self(Arc::new(Case {
            face: Mutex::new(face),
            moved: watch::Sender::new(0),
            alarms: Mutex::default(),
        }))
    }

    /// Time passes: both clocks go on.
    pub fn pass(&self, time: Duration) {
        {
            let mut face = self.lock();
            let moved = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
            face.wall = face.wall.checked_add(moved).unwrap_or(Timestamp::MAX);
            face.boot = face.boot.saturating_add(time);
        }
        self.0.moved.send_modify(|_| {});
    }

    /// Someone sets the wall clock, forward or back.
    pub fn set(&self, wall: Timestamp) {
        self.turn(|face| face.wall = wall);
    }

    /// A time service begins or ceases to keep the wall clock.
    pub fn synchronise(&self, is_synchronised: bool) {
        self.turn(|face| face.is_synchronised = is_synchronised);
    }

    /// The machine was off, and starts again with its wall clock at an instant.
    pub fn reboot(&self, wall: Timestamp) {
        self.turn(|face| {
            face.wall = wall;
            face.boot = Duration::ZERO;
            face.boot_id += 1;
        });
    }

    /// Shows what another clock shows.
    #[cfg(feature = "test-clock")]
    pub(super) fn show(&self, new: Face) {
        if self.face() != new {
            self.turn(|face| *face = new);
        }
    }

    pub(super) fn face(&self) -> Face {
        *self.lock()
    }

    /// The next instant until which someone sleeps.
    #[cfg(test)]
    pub(crate) fn next_alarm(&self) -> Option<Timestamp> {
        let alarms = self.0.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        alarms.first_key_value().map(|(at, _)| *at)
    }

    /// Someone sleeps until then.
    pub(super) fn alarm(&self, at: Timestamp) -> Alarm<'_> {
        let mut alarms = self.0.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        *alarms.entry(at).or_default() += 1;
        Alarm { case: &self.0, at }
    }

    /// Wakes when the clock has moved since this was called; says how often it was set.
    pub(super) fn moves(&self) -> watch::Receiver<u64> {
        self.0.moved.subscribe()
    }

    fn turn(&self, how: impl FnOnce(&mut Face)) {
        how(&mut self.lock());
        self.0.moved.send_modify(|set| *set = set.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, Face> {
        self.0.face.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
