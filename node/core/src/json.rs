//! A recording as JSON, which is how ledger and manifest keep it.
//!
//! Written out here and nowhere else, so that it is compiled once, with this crate: in a test build,
//! where only this crate is optimised, most of what a node would do is reading and writing recordings.

use crate::recording::Recording;

impl Recording {
    /// It as JSON.
    ///
    /// # Errors
    /// Never in practice: everything in it can be put into JSON.
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
