//! A recording as the ledger and its folder keep it: as JSON.
//!
//! Written out here and nowhere else, so that it is compiled once, with this crate: in a test build,
//! where this crate is optimised, most of what a node would do is reading and writing recordings.

use serde::{Deserialize, Serialize};

use crate::recording::{Lane, Recording};

/// A recording as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The recording.
    pub recording: Recording,
    /// For each lane, by the number that the ledger gives it, when its work comes due and whether it
    /// is claimed.
    pub slots: [Slot; Lane::ALL.len()],
}

/// The work of one recording in one lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// When it comes due, in milliseconds since 1970. For claimed work, when the lease ends.
    pub at_ms: Option<i64>,
    /// Whether a worker has it.
    pub claimed: bool,
}

impl Entry {
    /// The entry of a recording for which no work is claimed.
    #[must_use]
    pub fn new(recording: Recording) -> Self {
        Self { recording, slots: Default::default() }
    }

    /// It as JSON.
    ///
    /// # Errors
    /// None in practice: everything in it can be put into JSON.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Reads one.
    ///
    /// # Errors
    /// Where this is no JSON, or not of an entry.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }
}

impl Recording {
    /// It as JSON.
    ///
    /// # Errors
    /// None in practice: everything in it can be put into JSON.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Reads one.
    ///
    /// # Errors
    /// Where this is no JSON, or not of a recording.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }
}
