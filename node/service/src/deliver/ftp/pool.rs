//! Control connections that are kept for the next file.
//!
//! Logging in takes seven questions and a TLS handshake: more than a small file. A connection is
//! kept for a short while, shorter than servers and address translators forget it. Only one whose
//! last answer was read comes back in here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::client::Connection;

/// Most connections kept: as many as were in use at once, within reason. A server that allows fewer
/// has said so by then.
const IDLE_MAX: usize = 32;

struct Idle {
    number: u64,
    connection: Connection,
    end: AbortHandle,
}

#[derive(Default)]
struct Kept {
    idle: Vec<Idle>,
    given: u64,
}

/// Connections to one server, all logged in alike.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Kept>>);

impl Pool {
    /// A connection that is still good, the one used last first.
    pub(super) async fn take(&self) -> Option<Connection> {
        loop {
            let idle = self.kept().idle.pop()?;
            idle.end.abort();
            if idle.connection.is_quiet().await {
                return Some(idle.connection);
            }
        }
    }

    /// Keeps a connection for `idle_ms` milliseconds, if it may serve another file.
    pub(super) fn put(&self, connection: Connection, idle_ms: u64) {
        let mut kept = self.kept();
        if !connection.is_reusable || kept.idle.len() >= IDLE_MAX {
            drop(kept);
            tokio::spawn(connection.quit());
            return;
        }
        kept.given += 1;
        let number = kept.given;
        let pool = Arc::downgrade(&self.0);
        let end = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(idle_ms)).await;
            let Some(pool) = pool.upgrade() else { return };
            let ended = {
                let mut kept = pool.lock().unwrap_or_else(PoisonError::into_inner);
                let at = kept.idle.iter().position(|idle| idle.number == number);
                at.map(|at| kept.idle.remove(at))
            };
            if let Some(Idle { connection, .. }) = ended {
                connection.quit().await;
            }
        });
        kept.idle.push(Idle { number, connection, end: end.abort_handle() });
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
