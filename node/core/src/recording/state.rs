//! Where a recording stands, how it came in, and which files it can have.

use serde::{Deserialize, Serialize};

use crate::push_order;

/// Where a recording stands in its life (rule 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its bytes are arriving.
    Receiving,
    /// Its last byte is durable; the person has not said yet whether to keep it.
    Stopped,
    /// Saved: from here on every attempt counts.
    Saved,
    /// Being copied to the node that processes it, or waiting for the next attempt.
    Copying,
    /// Being transcoded, or waiting for the next attempt.
    Processing,
    /// Being pushed, or waiting for the next attempt.
    Delivering,
    /// Pushed to every destination.
    Stored,
    /// Pushed to every destination, and nothing of it stays with us (store-nothing).
    Delivered,
    /// A step used up its attempts; files are kept for 28 days.
    Failed,
    /// Found in the vault, but the ledger knows nothing of it.
    Unknown,
    /// Invalid, or never completed.
    Garbage,
    /// Deleted as a whole: by hand, over the API, with its account, by a lifecycle rule.
    Deleted,
}

impl State {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 12] = [
        Self::Receiving,
        Self::Stopped,
        Self::Saved,
        Self::Copying,
        Self::Processing,
        Self::Delivering,
        Self::Stored,
        Self::Delivered,
        Self::Failed,
        Self::Unknown,
        Self::Garbage,
        Self::Deleted,
    ];

    /// The word for it in the API and on screens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Receiving => "receiving",
            Self::Stopped => "stopped",
            Self::Saved => "saved",
            Self::Copying => "copying",
            Self::Processing => "processing",
            Self::Delivering => "delivering",
            Self::Stored => "stored",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Garbage => "garbage",
            Self::Deleted => "deleted",
        }
    }
}

/// How it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Streamed over `wss` while it was recorded.
    Stream,
    /// Uploaded as a finished file.
    Upload,
}

/// The kinds of file a recording can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// The `.mp4`.
    Main,
    /// The original, untouched.
    Raw,
    /// The `.jpg` snapshot.
    Snapshot,
    /// The `.jpg` filmstrip.
    Filmstrip,
    /// The WebVTT file beside the filmstrip, where the environment wants one. It lives by the
    /// filmstrip's rules and is pushed after it.
    FilmstripVtt,
}

impl FileKind {
    /// The word for it in the API and on screens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Raw => "raw",
            Self::Snapshot => "snapshot",
            Self::Filmstrip => "filmstrip",
            Self::FilmstripVtt => "filmstrip_vtt",
        }
    }

    /// The kind that has this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        push_order::ORDER.into_iter().find(|kind| kind.as_str() == word)
    }
}
