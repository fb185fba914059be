//! Sparing the line: each destination's limit, and the node's over all of them.
//!
//! A limiter gives out the moment from which the line is free again. Whoever wants to send bytes books
//! as much of it as they need and waits until their turn begins, so many pushes share one line in the
//! order in which they ask, and an idle line is not made up for later.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::tz::TimeZone;
use tokio::time::{Duration, Instant};

use crate::clock::Clock;
use crate::config::Timetable;

/// A line that may be limited.
pub struct Limiter {
    rate: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    /// When what was booked has gone.
    free_at: Mutex<Option<Instant>>,
}

impl Limiter {
    /// One that follows a timetable by the node's clock and zone.
    #[must_use]
    pub fn by_timetable(timetable: Timetable, clock: Clock, zone: TimeZone) -> Self {
        let rate = move || timetable.rate_at(&clock.now().to_zoned_datetime(zone.clone()));
        Self { rate: Box::new(rate), free_at: Mutex::default() }
    }

    #[cfg(test)]
    pub(super) fn fixed(rate: Option<u64>) -> Self {
        Self { rate: Box::new(move || rate), free_at: Mutex::default() }
    }

    /// The rate now, in bytes per second.
    pub(super) fn rate(&self) -> Option<u64> {
        (self.rate)()
    }

    /// Books the line for some bytes. Answers how long they have to wait, in milliseconds.
    pub(super) fn reserve_ms(&self, bytes: u64) -> u64 {
        let Some(rate) = self.rate() else { return 0 };
        let now = Instant::now();
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = free_at.map_or(now, |at| at.max(now));
        let takes_us = bytes.saturating_mul(1_000_000) / rate.max(1);
        *free_at = Some(begins + Duration::from_micros(takes_us));
        u64::try_from(begins.duration_since(now).as_millis()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("rate", &self.rate()).finish_non_exhaustive()
    }
}

/// The node's own limiter and those of its destinations.
#[derive(Debug)]
pub struct Bandwidth {
    clock: Clock,
    zone: TimeZone,
    node: Option<Arc<Limiter>>,
    /// By destination, with the timetable that it was made from.
    destinations: Mutex<HashMap<String, (Timetable, Arc<Limiter>)>>,
}

impl Bandwidth {
    /// With the node's own timetable.
    #[must_use]
    pub fn new(node: &Timetable, clock: &Clock, zone: &TimeZone) -> Self {
        let mut bandwidth = Self {
            clock: clock.clone(),
            zone: zone.clone(),
            node: None,
            destinations: Mutex::default(),
        };
        bandwidth.node = (!node.is_empty()).then(|| bandwidth.limiter(node));
        bandwidth
    }

    fn limiter(&self, timetable: &Timetable) -> Arc<Limiter> {
        let (clock, zone) = (self.clock.clone(), self.zone.clone());
        Arc::new(Limiter::by_timetable(timetable.clone(), clock, zone))
    }

    /// What bytes to a destination wait for.
    #[must_use]
    pub fn limiters(&self, destination: &str, timetable: &Timetable) -> Vec<Arc<Limiter>> {
        let mut all = self.destinations.lock().unwrap_or_else(PoisonError::into_inner);
        if timetable.is_empty() {
            all.remove(destination);
        } else if all.get(destination).is_none_or(|(known, _)| known != timetable) {
            let made = (timetable.clone(), self.limiter(timetable));
            all.insert(destination.to_owned(), made);
        }
        let own = all.get(destination).map(|(_, limiter)| Arc::clone(limiter));
        own.into_iter().chain(self.node.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pushes_share_a_line_and_an_idle_one_is_not_made_up_for() {
        let limiter = Limiter::fixed(Some(1_000));
        assert_eq!(limiter.reserve_ms(500), 0);
        assert_eq!(limiter.reserve_ms(2_000), 500);
        assert_eq!(limiter.reserve_ms(1), 2_500);
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(limiter.reserve_ms(1_000), 0);
        assert_eq!(limiter.reserve_ms(1_000), 1_000);
        assert_eq!(Limiter::fixed(None).reserve_ms(u64::MAX), 0);
    }
}
