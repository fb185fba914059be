//! A message to a webhook, and what is remembered of how it went.

use holdfast_core::RecordingId;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ledger::LedgerError;

/// Attempts of one message that are kept for looking at.
const TRIES_MAX: usize = 16;

/// What the outbox knows of a webhook.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HookRow {
    /// Stands for it in the other tables.
    pub(super) number: u64,
    /// Messages made so far.
    pub(super) made: u64,
    /// Messages that wait.
    pub(super) waiting: u64,
    /// Messages that ended and are still there.
    pub(super) logged: u64,
    /// When its receiver said that it is gone for good (410). Nothing is sent until someone mends it.
    #[serde(default)]
    pub(super) gone_at: Option<Timestamp>,
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It is still to be delivered.
    Waiting,
    /// The receiver took it.
    Delivered,
    /// It was given up.
    Failed,
}

/// An attempt to deliver a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Try {
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// What the receiver answered with, if it did.
    pub status: Option<u16>,
    /// Why it does not count; nothing where it does.
    pub error: Option<String>,
}

/// Something that a webhook is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Message {
    /// The `webhook-id`, the same in every attempt: `msg_`, its number and randomness, in hex.
    pub(super) id: String,
    pub(super) event: String,
    pub(super) recording_id: Option<RecordingId>,
    pub(super) created_at: Timestamp,
    /// Without personal data.
    pub(super) payload: Value,
    pub(super) state: DeliveryState,
    /// Someone asked for it: it is tried once, and is in nobody's way.
    #[serde(default)]
    pub(super) by_hand: bool,
    /// When it is due; nothing while another one of its recording is before it.
    pub(super) next_at: Option<Timestamp>,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) attempts: u32,
    /// The last of them, oldest first.
    pub(super) tries: Vec<Try>,
    /// The beginning of the last answer, as text.
    pub(super) response_head: Option<String>,
}

impl Message {
    /// A message that nobody has tried to deliver yet.
    pub(super) fn new(
        event: &str,
        recording_id: Option<RecordingId>,
        payload: Value,
        now: Timestamp,
    ) -> Self {
        Self {
            id: String::new(),
            event: event.to_owned(),
            recording_id,
            created_at: now,
            payload,
            state: DeliveryState::Waiting,
            by_hand: recording_id.is_none(),
            next_at: None,
            ended_at: None,
            attempts: 0,
            tries: Vec::new(),
            response_head: None,
        }
    }

    /// The queue in which it waits.
    pub(super) fn queue(&self, number: u64) -> [u8; 16] {
        match self.recording_id.filter(|_| !self.by_hand) {
            Some(id) => id.to_bytes(),
            None => {
                // No recording's id begins like this before the year 10889.
                let mut queue = [0xff; 16];
                queue[8..].copy_from_slice(&number.to_be_bytes());
                queue
            }
        }
    }

    /// Notes an attempt.
    pub(super) fn tried(&mut self, attempt: Try, response_head: Option<String>) {
        self.attempts = self.attempts.saturating_add(1);
        if self.tries.len() == TRIES_MAX {
            self.tries.remove(0);
        }
        self.tries.push(attempt);
        self.response_head = response_head;
    }
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) attempt: Try,
    pub(super) response_head: Option<String>,
    /// How long the receiver asked to be left alone, from the attempt's end on.
    pub(super) asked_wait: Option<SignedDuration>,
}

impl Outcome {
    pub(super) fn is_success(&self) -> bool {
        self.attempt.error.is_none()
    }

    pub(super) fn is_gone(&self) -> bool {
        self.attempt.status == Some(410)
    }
}

/// Reads a row. One that is damaged counts as missing: it must not hold up what happens to recordings.
pub(super) fn decode<T: serde::de::DeserializeOwned>(what: &str, bytes: &[u8]) -> Option<T> {
    let decoded = serde_json::from_slice(bytes);
    decoded.inspect_err(|error| tracing::error!(%error, "outbox: a {what} is damaged")).ok()
}

pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, LedgerError> {
    serde_json::to_vec(value).map_err(|error| LedgerError::Write(error.to_string()))
}
