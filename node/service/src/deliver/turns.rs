//! One push of a name at a time.
//!
//! A thread that pushes outlives a dropped push by a moment; until it has ended, a second push of the
//! same name must not touch the same temporary file.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::progress::Stalled;

/// Which names are being pushed.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns {
    taken: Arc<Mutex<HashSet<String>>>,
    given_back: Arc<Notify>,
}

/// A name that nobody else pushes until this is dropped.
pub(super) struct Turn {
    turns: Turns,
    name: String,
}

impl Turns {
    /// Waits until nobody pushes this name.
    pub(super) async fn take(&self, name: &str, stall_ms_max: u64) -> Result<Turn, Stalled> {
        let taking = async {
            loop {
                let given_back = self.given_back.notified();
                if self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(name.into()) {
                    return Turn { turns: self.clone(), name: name.into() };
                }
                given_back.await;
            }
        };
        let limit = Duration::from_millis(stall_ms_max);
        tokio::time::timeout(limit, taking).await.map_err(|_| Stalled)
    }
}

impl Turn {
    /// One that is nobody's, for what needs none.
    pub(super) fn of_nobody() -> Self {
        Self { turns: Turns::default(), name: String::new() }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
        self.turns.given_back.notify_waiters();
    }
}
