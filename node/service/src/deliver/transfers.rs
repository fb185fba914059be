//! Which files are being pushed at this moment, and how far they are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_core::recording::FileKind;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::memo::Of;
use super::progress::Progress;

/// The files that are being pushed.
#[derive(Debug, Clone, Default)]
pub struct Transfers(Arc<Mutex<HashMap<Of, Running>>>);

#[derive(Debug)]
struct Running {
    since: Timestamp,
    bytes: u64,
    progress: Progress,
}

/// A file that is being pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TransferView {
    /// Where to.
    pub destination: String,
    /// Which file.
    pub kind: FileKind,
    /// Since when.
    pub since: Timestamp,
    /// Its size in bytes.
    pub bytes: u64,
    /// Bytes of it that are there or on their way.
    pub sent_bytes: u64,
}

/// Takes a transfer off the list when it is dropped.
#[derive(Debug)]
pub struct Listed {
    transfers: Transfers,
    of: Of,
}

impl Transfers {
    /// Lists a file until the answer is dropped.
    #[must_use]
    pub fn begin(&self, of: Of, bytes: u64, progress: Progress, since: Timestamp) -> Listed {
        self.running().insert(of.clone(), Running { since, bytes, progress });
        Listed { transfers: self.clone(), of }
    }

    /// How many files are being pushed.
    #[must_use]
    pub fn count(&self) -> usize {
        self.running().len()
    }

    /// The files of a recording that are being pushed, by destination and kind.
    #[must_use]
    pub fn of(&self, recording: holdfast_core::RecordingId) -> Vec<TransferView> {
        let running = self.running();
        let of_it = running.iter().filter(|(of, _)| of.recording == recording);
        let mut all: Vec<_> = of_it
            .map(|(of, running)| TransferView {
                destination: of.destination.clone(),
                kind: of.kind,
                since: running.since,
                bytes: running.bytes,
                sent_bytes: running.progress.bytes().min(running.bytes),
            })
            .collect();
        all.sort_by(|a, b| (&a.destination, a.kind).cmp(&(&b.destination, b.kind)));
        all
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<Of, Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.transfers.running().remove(&self.of);
    }
}
