//! Threads for calls that may hang for ever, as all do on a share whose server is gone.
//!
//! A call that hangs cannot be ended, only left behind. So these are threads of their own: neither the
//! runtime's, of which there is a limited number for the whole node, nor waited for when the node
//! ends. At most as many as pushes are under way, as many as may look at what is to be read
//! ([`READINGS_MAX`](super::READINGS_MAX)), and [`Limits::left_max`](super::Limits) that were left
//! behind before anything else is begun.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::error::Error;

/// The threads of one destination.
#[derive(Debug, Default)]
pub(super) struct Threads(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    left: AtomicUsize,
    ended: Notify,
}

/// What a thread is doing; it counts as left behind if this is dropped before it has ended.
pub(super) struct Running<T> {
    answer: oneshot::Receiver<T>,
    fate: Arc<Fate>,
}

struct Fate {
    is: AtomicU8,
    shared: Arc<Shared>,
}

const RUNS: u8 = 0;
const ENDED: u8 = 1;
const LEFT: u8 = 2;

impl Threads {
    /// Waits while `left_max` still hang, at most `wait_ms_max` milliseconds: one of them may have been
    /// cut off in the middle of a step and be about to end.
    pub(super) async fn room(&self, left_max: usize, wait_ms_max: u64) -> Result<(), Error> {
        let room = async {
            loop {
                let ended = self.0.ended.notified();
                if self.left() < left_max {
                    return;
                }
                ended.await;
            }
        };
        let waiting = tokio::time::timeout(Duration::from_millis(wait_ms_max), room);
        waiting.await.map_err(|_| Error::Hangs { left: self.left() })
    }

    /// Starts one.
    pub(super) fn start<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Running<T>, Error> {
        let fate = Arc::new(Fate { is: AtomicU8::new(RUNS), shared: Arc::clone(&self.0) });
        let (tell, answer) = oneshot::channel();
        let ends = Ends(Arc::clone(&fate));
        std::thread::Builder::new()
            .name("directory".into())
            .spawn(move || {
                let done = act();
                drop(ends);
                // Nobody waits for it any more where it was left behind.
                let _ = tell.send(done);
            })
            .map_err(|source| Error::Thread { source })?;
        Ok(Running { answer, fate })
    }

    /// How many were left behind and have not ended yet.
    pub(super) fn left(&self) -> usize {
        self.0.left.load(Ordering::SeqCst)
    }
}

impl<T> Future for Running<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map_err(|_| Error::Crashed)
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        // Counted first: the thread may end at this very moment and take it off again.
        let shared = &self.fate.shared;
        shared.left.fetch_add(1, Ordering::SeqCst);
        let runs =
            self.fate.is.compare_exchange(RUNS, LEFT, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if !runs {
            shared.left.fetch_sub(1, Ordering::SeqCst);
            shared.ended.notify_waiters();
        }
    }
}

/// Notes that a thread has ended, also by a panic.
struct Ends(Arc<Fate>);

impl Drop for Ends {
    fn drop(&mut self) {
        if self.0.is.swap(ENDED, Ordering::SeqCst) == LEFT {
            self.0.shared.left.fetch_sub(1, Ordering::SeqCst);
            self.0.shared.ended.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_hangs_is_left_behind_up_to_a_number() {
        let threads = Threads::default();
        let (gate, opened) = std::sync::mpsc::channel::<()>();
        let opened = Arc::new(std::sync::Mutex::new(opened));
        for left in 1..=2 {
            threads.room(2, 10).await.unwrap();
            let opened = Arc::clone(&opened);
            let hangs = move || opened.lock().unwrap().recv().is_err();
            drop(threads.start(hangs).unwrap());
            assert_eq!(threads.left(), left);
        }
        assert!(matches!(threads.room(2, 10).await, Err(Error::Hangs { left: 2 })));
        drop(gate);
        threads.room(2, 60_000).await.unwrap();
        threads.start(|| ()).unwrap().await.unwrap();
        let crashed = threads.start(|| panic!("as it should")).unwrap().await;
        assert!(matches!(crashed, Err(Error::Crashed)));
        while threads.left() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
