//! The messages of `holdfast.ingest.v1`, as `docs/ingest.md` has them.

use holdfast_core::RecordingId;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// The name of the subprotocol.
pub(super) const SUBPROTOCOL: &str = "holdfast.ingest.v1";
/// Bytes before a chunk's own: its offset.
pub(super) const CHUNK_HEADER_BYTES: usize = 8;
/// Largest text message, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Longest text in the metadata, in characters; the rest is cut off.
pub(super) const METADATA_CHARS_MAX: usize = 256;

/// What a client says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromClient {
    Start(Start),
    Resume { recording_id: String, token: String },
    Stop { size: u64 },
    Save,
    Discard,
}

/// The start of a new recording.
#[derive(Debug, Deserialize)]
pub(super) struct Start {
    pub(super) env_id: String,
    pub(super) env_hash: String,
    #[serde(default)]
    pub(super) metadata: ClientMetadata,
}

/// What the client tells of itself.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ClientMetadata {
    pub(super) name: Option<String>,
    pub(super) camera: Option<String>,
    pub(super) microphone: Option<String>,
}

/// What the node says.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromNode<'a> {
    Started {
        recording_id: RecordingId,
        token: &'a str,
        #[serde(flatten)]
        terms: Terms,
    },
    Resumed {
        recording_id: RecordingId,
        state: &'a str,
        #[serde(flatten)]
        terms: Terms,
    },
    Ack {
        offset: u64,
    },
    Stopped {
        size: u64,
        sha256: &'a str,
    },
    Saved {
        recording_id: RecordingId,
    },
    Discarded {
        recording_id: RecordingId,
    },
    Error {
        problem: &'a Problem,
    },
}

/// What a client may do, and where it stands.
#[derive(Debug, Serialize)]
pub(super) struct Terms {
    pub(super) playback_url: String,
    pub(super) offset: u64,
    pub(super) chunk_bytes_max: usize,
    pub(super) window_bytes_max: u64,
    pub(super) reconnect_ms: u64,
}

/// Splits a binary message into its offset and its bytes.
pub(super) fn chunk(message: &bytes::Bytes) -> Option<(u64, bytes::Bytes)> {
    let (header, rest) = message.split_first_chunk::<CHUNK_HEADER_BYTES>()?;
    (!rest.is_empty()).then(|| (u64::from_be_bytes(*header), message.slice(CHUNK_HEADER_BYTES..)))
}

/// A text of the metadata, cut to its length.
pub(super) fn short(text: Option<String>) -> Option<String> {
    text.map(|text| text.chars().filter(|c| !c.is_control()).take(METADATA_CHARS_MAX).collect())
        .filter(|text: &String| !text.is_empty())
}
