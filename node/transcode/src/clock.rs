//! The one place in this program that reads a clock: a child's own wall time and stall time.
//!
//! The service's rule (time comes in through its `clock`) does not reach into this process: a
//! child lives for one job and remembers nothing.

use std::time::{Duration, Instant};

/// A stopwatch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts one.
    #[allow(clippy::disallowed_methods)] // see the head of this module
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since its start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
