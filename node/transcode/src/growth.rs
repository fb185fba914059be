//! A recording that is still coming in: how much of it may be read, as the service tells.
//!
//! Nothing here reads the file. Whoever does asks first, and waits for bytes to become durable: what
//! lies behind them in the file may still change, or go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_core::job::Fed;

/// What was told so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Bytes that may be read.
    pub(crate) durable: u64,
    /// There are no more.
    pub(crate) ended: bool,
}

#[derive(Debug, Default)]
struct State {
    told: Told,
    released: bool,
}

/// How far a recording has come.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    state: Mutex<State>,
    changed: Condvar,
    waits: AtomicBool,
}

impl Growth {
    /// One of which nothing is known yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the service says. It never takes back what was durable.
    pub(crate) fn hear(&self, fed: Fed) {
        let mut state = self.lock();
        let told = &mut state.told;
        match fed {
            _ if told.ended => {}
            Fed::Durable { bytes } => told.durable = told.durable.max(bytes),
            Fed::Ended { bytes } => *told = Told { durable: told.durable.max(bytes), ended: true },
        }
        drop(state);
        self.changed.notify_all();
    }

    /// What was told so far.
    pub(crate) fn told(&self) -> Told {
        self.lock().told
    }

    /// Waits until more than `at` bytes may be read, and says how many; `None` at the recording's end, or
    /// where waiting was given up.
    pub(crate) fn beyond(&self, at: u64) -> Option<u64> {
        let mut state = self.lock();
        loop {
            if state.told.durable > at {
                return Some(state.told.durable);
            }
            if state.told.ended || state.released {
                return None;
            }
            self.waits.store(true, Ordering::Relaxed);
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            self.waits.store(false, Ordering::Relaxed);
        }
    }

    /// Waits a while for so many bytes or the end, and says what there is.
    pub(crate) fn wait(&self, bytes: u64, most: Duration) -> Told {
        let state = self.lock();
        let wanting = |s: &mut State| s.told.durable < bytes && !s.told.ended;
        let waited = self.changed.wait_timeout_while(state, most, wanting);
        waited.unwrap_or_else(PoisonError::into_inner).0.told
    }

    /// Whether a reader waits for more: then nothing that stands still is at fault.
    pub(crate) fn is_awaited(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    /// Has readers give up waiting, or wait again.
    pub(crate) fn release(&self, released: bool) {
        self.lock().released = released;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_durable_stays_so_and_the_end_is_the_end() {
        let growth = Growth::default();
        growth.hear(Fed::Durable { bytes: 10 });
        growth.hear(Fed::Durable { bytes: 5 });
        assert_eq!(growth.told(), Told { durable: 10, ended: false });
        assert_eq!(growth.beyond(9), Some(10));
        growth.hear(Fed::Ended { bytes: 12 });
        growth.hear(Fed::Durable { bytes: 20 });
        assert_eq!((growth.beyond(11), growth.beyond(12)), (Some(12), None));
    }

    #[test]
    fn a_reader_waits_until_there_is_more() {
        let growth = Growth::new();
        let reader = {
            let growth = Arc::clone(&growth);
            std::thread::spawn(move || growth.beyond(0))
        };
        while !growth.is_awaited() {
            std::thread::yield_now();
        }
        growth.hear(Fed::Durable { bytes: 1 });
        assert_eq!(reader.join().unwrap(), Some(1));
        assert!(!growth.is_awaited());
    }
}
