//! A push may take as long as its bytes need; what it may not do is stand still.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts what has moved. Clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<AtomicU64>);

/// Nothing moved for too long.
#[derive(Debug)]
pub(super) struct Stalled;

impl Progress {
    /// Something moved.
    pub(super) fn advance(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
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
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let wait = Duration::from_millis(stall_ms_max);
            if let Ok(output) = tokio::time::timeout(wait, &mut future).await {
                return Ok(output);
            }
            let now = self.0.load(Ordering::Relaxed);
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
}
