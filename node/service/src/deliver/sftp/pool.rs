//! Sessions that wait for the next file: logging in takes longer than a small file does.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::client::Session;

/// Most sessions that wait: as many as were in use at once, within reason. More are ended when they
/// are done.
const WAITING_MAX: usize = 32;

/// Sessions of one destination that wait, the last used last.
#[derive(Default)]
pub(super) struct Pool(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    sessions: Vec<(u64, Session)>,
    /// Counts those that ever waited.
    count: u64,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pool")
    }
}

impl Pool {
    /// The session used last, if one waits.
    pub(super) fn take(&self) -> Option<Session> {
        self.lock().sessions.pop().map(|(_, session)| session)
    }

    /// Lets a session wait for `idle_ms_max` milliseconds. Must be called within a runtime.
    pub(super) fn put(self: &Arc<Self>, session: Session, idle_ms_max: u64) {
        let mut waiting = self.lock();
        if waiting.sessions.len() >= WAITING_MAX {
            drop(waiting);
            return end(session);
        }
        waiting.count += 1;
        let number = waiting.count;
        waiting.sessions.push((number, session));
        drop(waiting);
        let pool = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(idle_ms_max)).await;
            if let Some(session) = Weak::upgrade(&pool).and_then(|pool| pool.take_out(number)) {
                end(session);
            }
        });
    }

    fn take_out(&self, number: u64) -> Option<Session> {
        let sessions = &mut self.lock().sessions;
        let at = sessions.iter().position(|(of, _)| *of == number)?;
        Some(sessions.remove(at).1)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pool {
    /// The destination is gone; so are its connections.
    fn drop(&mut self) {
        for (_, session) in std::mem::take(&mut self.lock().sessions) {
            drop(session.line.shutdown(std::net::Shutdown::Both));
        }
    }
}

fn end(session: Session) {
    drop(tokio::task::spawn_blocking(|| session.end()));
}
