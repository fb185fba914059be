//! Work that is due, and the workers that do it.
//!
//! Invariants: work is due at a time; a worker claims it under a lease and extends the lease while
//! it works; if the worker dies, the lease ends and the work is due again. On one node the queue is
//! the ledger's; whatever else keeps these promises can take its place.
//!
//! What is to be transcoded has an order of its own: [`fair`].

pub(crate) mod fair;
mod worker;

use std::future::Future;
use std::time::Duration;

use holdfast_core::recording::Event;
use holdfast_core::{Lane, RecordingId};
use jiff::Timestamp;

use crate::ledger::{Ledger, LedgerError, Stepped};

#[cfg(test)]
pub(crate) use worker::once;
pub use worker::{Work, run};

/// How long a claim holds unless it is extended.
pub const LEASE: Duration = Duration::from_secs(60);

/// A queue of work.
pub trait Queue: Clone + Send + Sync + 'static {
    /// Claims what has been due longest in a lane, or to transcode, whose turn it is; if anything is due.
    ///
    /// # Errors
    /// [`LedgerError`] when nothing was claimed.
    fn claim(
        &self,
        lane: Lane,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> impl Future<Output = Result<Option<Stepped>, LedgerError>> + Send;

    /// Extends a claim.
    ///
    /// # Errors
    /// [`LedgerError`] when it was not extended.
    fn extend(
        &self,
        id: RecordingId,
        lane: Lane,
        until: Timestamp,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Ends a claim with what came of it.
    ///
    /// # Errors
    /// [`LedgerError`] when nothing was done.
    fn settle(
        &self,
        id: RecordingId,
        lane: Lane,
        events: Vec<Event>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Stepped, LedgerError>> + Send;

    /// When something is due next in a lane.
    ///
    /// # Errors
    /// [`LedgerError::Read`].
    fn next_due(&self, lane: Lane) -> Result<Option<Timestamp>, LedgerError>;
}

impl Queue for Ledger {
    fn claim(
        &self,
        lane: Lane,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> impl Future<Output = Result<Option<Stepped>, LedgerError>> + Send {
        Self::claim(self, lane, now, lease_until)
    }

    fn extend(
        &self,
        id: RecordingId,
        lane: Lane,
        until: Timestamp,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send {
        Self::extend(self, id, lane, until)
    }

    fn settle(
        &self,
        id: RecordingId,
        lane: Lane,
        events: Vec<Event>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Stepped, LedgerError>> + Send {
        Self::settle(self, id, lane, events, now)
    }

    fn next_due(&self, lane: Lane) -> Result<Option<Timestamp>, LedgerError> {
        Self::next_due(self, lane)
    }
}
