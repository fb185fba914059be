//! What came of checking an export.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::super::line::Hash;
use super::keys::ErasedKeys;
use crate::digest::hex;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether nothing is wrong with it.
    pub is_sound: bool,
    /// Entries that passed.
    pub entries: u64,
    /// The first of them.
    pub first: Option<Entry>,
    /// The last of them.
    pub last: Option<Entry>,
    /// The newest entry that the node had when it wrote the export.
    pub newest: Option<u64>,
    /// What entries call the keys that signed them.
    pub keys: Vec<String>,
    /// No key was given; the one in the export was believed.
    pub key_was_believed: bool,
    /// What became of keys of recordings that were deleted; nothing where none had one.
    pub erased_keys: Option<ErasedKeys>,
    /// What is wrong, some 1,000 things at most.
    pub faults: Vec<Fault>,
    /// Too much was wrong; the rest was not looked at.
    pub gave_up: bool,
}

/// An entry that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its place in the log.
    pub seq: u64,
    /// When it was made.
    pub at: Timestamp,
    /// Its digest.
    #[serde(serialize_with = "in_hex")]
    pub hash: Hash,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What, for programs.
    pub kind: FaultKind,
    /// In which line of the export.
    pub line: Option<u64>,
    /// With which entry.
    pub entry: Option<u64>,
    /// What, for people.
    pub sentence: String,
}

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The export has no head.
    NoHead,
    /// Its head does not pass.
    HeadChanged,
    /// Another export begins in the middle.
    OtherHead,
    /// A line is no entry.
    NotAnEntry,
    /// An entry does not have the digest that it says.
    Changed,
    /// An entry is signed with a key that was not given.
    ForeignKey,
    /// An entry's key did not sign it.
    NotSigned,
    /// Entries are missing between others.
    Missing,
    /// An entry stands behind one that came after it.
    Reordered,
    /// An entry is there twice.
    Duplicated,
    /// An entry follows another one than the one before it.
    OtherHistory,
    /// The end is missing.
    Truncated,
    /// There is more than the head says.
    Surplus,
    /// The entry that is known is not there.
    KnownNotFound,
}

fn in_hex<S: Serializer>(hash: &Hash, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(hash))
}
