//! A push may take as long as its bytes need; what it may not do is stand still.
//!
//! Bytes pass a push's [`Progress`] on their way: there they are counted, so that people see how far
//! it is, and there they wait while the line is to be spared.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::bandwidth::Limiter;

/// Longest that something waits for the line before it is noticed that it is alive, in milliseconds.
const WAIT_MS_MAX: u64 = 1_000;
/// How many pieces a limited line takes in a second.
const PIECES_PER_S: u64 = 4;
/// Smallest piece that is asked for, in bytes.
const PIECE_BYTES_MIN: u64 = 4 << 10;

/// Counts what has moved. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Moving>);

#[derive(Debug, Default)]
struct Moving {
    /// Signs of life.
    signs: AtomicU64,
    /// Bytes of the file that the other side has, or that are on their way.
    bytes: AtomicU64,
    limiters: Vec<Arc<Limiter>>,
}

/// Nothing moved for too long.
#[derive(Debug)]
pub(super) struct Stalled;

impl Progress {
    /// One whose bytes wait for each of these.
    #[must_use]
    pub fn limited(limiters: Vec<Arc<Limiter>>) -> Self {
        Self(Arc::new(Moving { limiters, ..Moving::default() }))
    }

    /// Bytes of the file that the other side has, or that are on their way.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Something moved, if only on this side. `bytes` may be anything but zero.
    pub(super) fn advance(&self, bytes: u64) {
        self.0.signs.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many bytes of the file are there already: the push goes on from here, or anew.
    pub(super) fn start_at(&self, bytes: u64) {
        self.0.bytes.store(bytes, Ordering::Relaxed);
        self.advance(1);
    }

    /// Bytes of the file are on their way.
    pub(super) fn moved(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.advance(1);
    }

    /// Bytes that were on their way did not arrive: they go again.
    pub(super) fn lost(&self, bytes: u64) {
        let less = |all: u64| Some(all.saturating_sub(bytes));
        let _ = self.0.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        self.advance(1);
    }

    /// Waits until so many bytes may go.
    pub(super) async fn leave(&self, bytes: u64) {
        let mut wait_ms = self.reserve(bytes);
        while wait_ms > 0 {
            let now_ms = wait_ms.min(WAIT_MS_MAX);
            tokio::time::sleep(Duration::from_millis(now_ms)).await;
            self.advance(1);
            wait_ms -= now_ms;
        }
    }

    /// Like [`leave`](Self::leave), on a thread that may block. Answers whether it waited.
    pub(super) fn leave_blocking(&self, bytes: u64) -> bool {
        let mut wait_ms = self.reserve(bytes);
        let waits = wait_ms > 0;
        while wait_ms > 0 {
            let now_ms = wait_ms.min(WAIT_MS_MAX);
            std::thread::sleep(Duration::from_millis(now_ms));
            self.advance(1);
            wait_ms -= now_ms;
        }
        waits
    }

    fn reserve(&self, bytes: u64) -> u64 {
        self.0.limiters.iter().map(|limiter| limiter.reserve_ms(bytes)).max().unwrap_or(0)
    }

    /// How many bytes to ask leave for at once, at most `bytes_max`: a slow line is not to be idle
    /// for long and then flooded.
    pub(super) fn piece_bytes(&self, bytes_max: u64) -> u64 {
        let rates = self.0.limiters.iter().filter_map(|limiter| limiter.rate());
        rates
            .min()
            .map_or(bytes_max, |rate| (rate / PIECES_PER_S).max(PIECE_BYTES_MIN).min(bytes_max))
    }

    /// Waits for a future, and gives up when nothing moves for `stall_ms_max` milliseconds.
    ///
    /// It looks once per `stall_ms_max`, so a stall is noticed before twice that time.
    pub(super) async fn watch<F: Future>(
        &self,
        stall_ms_max: u64,
        future: F,
    ) -> Result<F::Output, Stalled> {
        let mut future = std::pin::pin!(future);
        let mut seen = self.0.signs.load(Ordering::Relaxed);
        loop {
            let wait = Duration::from_millis(stall_ms_max);
            if let Ok(output) = tokio::time::timeout(wait, &mut future).await {
                return Ok(output);
            }
            let now = self.0.signs.load(Ordering::Relaxed);
            if now == seen {
                return Err(Stalled);
            }
            seen = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_moves_is_let_be_and_what_stands_still_is_not() {
        let progress = Progress::default();
        let mover = progress.clone();
        let slow = async move {
            for _ in 0..50 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                mover.advance(1);
            }
        };
        assert!(progress.watch(500, slow).await.is_ok());
        assert!(progress.watch(20, std::future::pending::<()>()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_line_does_not_stand_still() {
        let limiter = Arc::new(Limiter::fixed(Some(10_000)));
        let progress = Progress::limited(vec![limiter]);
        assert_eq!(progress.piece_bytes(1 << 20), 4_096);
        let begun = tokio::time::Instant::now();
        let sending = async {
            for _ in 0..10 {
                progress.leave(100_000).await;
                progress.moved(100_000);
            }
        };
        // Each piece waits ten seconds, and is watched for three.
        assert!(progress.watch(3_000, sending).await.is_ok());
        assert_eq!(progress.bytes(), 1_000_000);
        assert_eq!(begun.elapsed().as_secs(), 90, "the first goes at once, nine wait");
    }
}
