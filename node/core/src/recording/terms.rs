//! What is known of a recording beside its state and files: what its environment wants, whom it may
//! identify, who can reach it, why it is kept and why it ended.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::FileKind;
use crate::attempts::Failure;
use crate::job::Outputs;
use crate::push_order::Success;
use crate::retention::Rule;

/// What the account and the environment say now, not as it stood when the recording began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// When the account's trial or subscription expires, or did (rule 7).
    #[serde(default)]
    pub account_expires_at: Option<Timestamp>,
    /// After how many whole days the environment's lifecycle rule deletes it (rule 8).
    #[serde(default)]
    pub lifecycle_days: Option<u32>,
}

/// While there is one, no rule and nobody deletes anything of the recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LegalHold {
    /// Since when.
    pub at: Timestamp,
    /// Who set it.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
}

/// Why a recording is garbage or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// By which rule.
    pub rule: Rule,
    /// Who asked for it; nothing where a rule alone decided.
    pub by: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// What an environment wants done with a recording, as it stood when the recording began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Which files to make.
    pub outputs: Outputs,
    /// Whether the raw file is pushed beside the `.mp4`.
    pub push_raw: bool,
    /// Names of the destinations, in order.
    pub destinations: Vec<String>,
    /// Which of them is our own storage (rule 9). What lies there goes with the recording.
    #[serde(default)]
    pub own: Option<String>,
    /// Another node processes it, and copies the raw file from this one first.
    #[serde(default)]
    pub copies: bool,
    /// Folder at the destinations.
    pub folder: String,
    /// Nothing is to stay with us once it is delivered.
    pub store_nothing: bool,
    /// When a destination's push counts as successful.
    pub success: Success,
    /// How long a client may take to come back, in milliseconds.
    pub reconnect_ms: u64,
    /// How long after SAVED the recorder can still play back the raw file, in milliseconds.
    pub playback_ms: u64,
    /// Time zone in which days are counted, such as `Europe/Bucharest`.
    pub zone: String,
}

/// What can identify a person. It goes when the last file that we hold goes (rule 8); the title stays
/// with a recording that is stored elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Metadata {
    /// Address the recording came from.
    pub ip: Option<String>,
    /// The browser's or app's name for itself.
    pub user_agent: Option<String>,
    /// Page on which it was recorded.
    pub referrer: Option<String>,
    /// Name of the camera.
    pub camera: Option<String>,
    /// Name of the microphone.
    pub microphone: Option<String>,
    /// What the person or the client calls the recording.
    pub title: Option<String>,
}

/// Who else than the node's own people can reach a recording. Only digests are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// SHA-256, in hex, of the token with which its client comes back.
    pub token_sha256: String,
    /// SHA-256, in hex, of the secret in its playback address.
    pub playback_sha256: String,
}

/// Deleting files from our own storage: repeated for as long as it takes, at the waits of rule 2.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    /// How often it failed.
    pub failed: u32,
    /// When it is tried again; at once where nothing is said.
    pub next_at: Option<Timestamp>,
    /// The last failure.
    pub error: Option<Failure>,
    /// Kinds of which no push was noted, deleted all the same: a push that was cut short may have
    /// got there.
    #[serde(default)]
    pub swept: Vec<FileKind>,
}

/// A file that our own storage has, or may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// The destination's name.
    pub destination: String,
    /// Which file.
    pub kind: FileKind,
    /// Where it is there; nothing where no push was noted, so that its place follows from its name.
    pub location: Option<String>,
}
