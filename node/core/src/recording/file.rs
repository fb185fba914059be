//! A file of a recording: where it was pushed to, and how it goes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::FileKind;
use crate::retention::Rule;

/// A file of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Which one.
    pub kind: FileKind,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: Option<String>,
    /// When processing made it; for the raw file, when processing was done with it.
    pub made_at: Timestamp,
    /// Where it was pushed to.
    pub pushed: Vec<Pushed>,
    /// The committed intent to delete it here.
    pub doomed: Option<Doom>,
    /// When it was deleted here.
    pub deleted_at: Option<Timestamp>,
}

impl File {
    /// Whether it lies in the vault and is to stay there for now.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.doomed.is_none() && self.deleted_at.is_none()
    }

    /// Whether a destination has it.
    #[must_use]
    pub fn is_pushed_to(&self, destination: &str) -> bool {
        self.pushed.iter().any(|pushed| pushed.destination == destination)
    }
}

/// A push of one file that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Pushed {
    /// The destination's name.
    pub destination: String,
    /// When.
    pub at: Timestamp,
    /// Where there: a path or key, as the destination understands it.
    pub location: String,
    /// When it was deleted there again. Only our own storage is ever deleted from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn_at: Option<Timestamp>,
}

/// A committed intent to delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doom {
    /// By which rule.
    pub rule: Rule,
    /// When it was decided.
    pub at: Timestamp,
}

pub(super) fn new_file(
    kind: FileKind,
    bytes: u64,
    sha256: Option<String>,
    made_at: Timestamp,
) -> File {
    File { kind, bytes, sha256, made_at, pushed: Vec::new(), doomed: None, deleted_at: None }
}
