//! Looking at the outbox: what is due, and what came of what was sent.

use std::collections::BTreeSet;

use holdfast_core::RecordingId;
use jiff::Timestamp;
use redb::{ReadOnlyTable, ReadTransaction, TableDefinition, TableError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::message::{DeliveryState, HookRow, Message, Try, decode};
use super::outbox::{DUE, HOOKS, LOG, MESSAGES, WAITING};
use crate::ledger::LedgerError;

/// Something that was sent to a webhook, or is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// Identifies it: the `webhook-id` of every attempt.
    pub id: String,
    /// What happened.
    pub event: String,
    /// To which recording; nothing for a ping.
    #[schema(value_type = Option<String>)]
    pub recording_id: Option<RecordingId>,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// What the receiver answered with the last time, if it did.
    pub status: Option<u16>,
    /// How long that took, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Why it did not count; nothing where it did.
    pub error: Option<String>,
    /// The beginning of that answer's body, at most 1,024 bytes, without control characters.
    pub response_head: Option<String>,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it is tried next; nothing where it has ended, or another one of its recording is before it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_at: Option<Timestamp>,
    /// When it was delivered or given up.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// The last attempts, oldest first; at most 16.
    pub tries: Vec<Try>,
}

impl Delivery {
    pub(super) fn new(message: Message) -> Self {
        let last = message.tries.last();
        Self {
            status: last.and_then(|attempt| attempt.status),
            duration_ms: last.map(|attempt| attempt.duration_ms),
            error: last.and_then(|attempt| attempt.error.clone()),
            id: message.id,
            event: message.event,
            recording_id: message.recording_id,
            state: message.state,
            attempts: message.attempts,
            response_head: message.response_head,
            created_at: message.created_at,
            next_at: message.next_at,
            ended_at: message.ended_at,
            tries: message.tries,
        }
    }
}

/// What is known of a webhook, if anything is.
pub(super) fn hook(read: &ReadTransaction, id: &str) -> Result<Option<HookRow>, LedgerError> {
    let Some(hooks) = table(read, HOOKS)? else { return Ok(None) };
    Ok(hooks.get(id)?.and_then(|row| decode("webhook", row.value())))
}

/// A message.
pub(super) fn message(
    read: &ReadTransaction,
    hook: u64,
    number: u64,
) -> Result<Option<Message>, LedgerError> {
    let Some(messages) = table(read, MESSAGES)? else { return Ok(None) };
    Ok(messages.get((hook, number))?.and_then(|row| decode("message", row.value())))
}

/// What is due by now and later, soonest first: when, and which message.
pub(super) fn due(
    read: &ReadTransaction,
    hook: u64,
    most: usize,
) -> Result<Vec<(Timestamp, u64)>, LedgerError> {
    let Some(due) = table(read, DUE)? else { return Ok(Vec::new()) };
    let rows = due.range((hook, i64::MIN, 0)..=(hook, i64::MAX, u64::MAX))?.take(most);
    let rows = rows.map(|row| {
        let (_, at_ms, number) = row?.0.value();
        Ok((timestamp(at_ms), number))
    });
    rows.collect()
}

/// The messages that have waited longest: since when, and which.
pub(super) fn oldest(
    read: &ReadTransaction,
    hook: u64,
    most: usize,
) -> Result<Vec<(Timestamp, u64)>, LedgerError> {
    let Some(waiting) = table(read, WAITING)? else { return Ok(Vec::new()) };
    let rows = waiting.range((hook, 0)..=(hook, u64::MAX))?.take(most);
    let rows = rows.map(|row| {
        let (key, created_ms) = row?;
        Ok((timestamp(created_ms.value()), key.value().1))
    });
    rows.collect()
}

/// When the message that ended first did so.
pub(super) fn first_ended(
    read: &ReadTransaction,
    hook: u64,
) -> Result<Option<Timestamp>, LedgerError> {
    let Some(log) = table(read, LOG)? else { return Ok(None) };
    let first = log.range((hook, i64::MIN, 0)..=(hook, i64::MAX, u64::MAX))?.next().transpose()?;
    Ok(first.map(|(key, _)| timestamp(key.value().1)))
}

/// Ids of all webhooks of which something is known.
pub(super) fn ids(read: &ReadTransaction) -> Result<Vec<String>, LedgerError> {
    let Some(hooks) = table(read, HOOKS)? else { return Ok(Vec::new()) };
    let rows = hooks.range::<&str>(..)?.map(|row| Ok(row?.0.value().to_owned()));
    rows.collect::<Result<Vec<_>, LedgerError>>()
        .map(|ids| ids.into_iter().filter(|id| !id.is_empty()).collect())
}

/// Whether something belongs to a webhook that is gone.
pub(super) fn has_orphans(read: &ReadTransaction) -> Result<bool, LedgerError> {
    let Some(messages) = table(read, MESSAGES)? else { return Ok(false) };
    let mut alive = BTreeSet::new();
    for id in ids(read)? {
        alive.extend(hook(read, &id)?.map(|row| row.number));
    }
    let mut from = Some(0);
    while let Some(number) = from {
        let Some(row) = messages.range((number, 0)..)?.next() else { break };
        let hook = row?.0.value().0;
        if !alive.contains(&hook) {
            return Ok(true);
        }
        from = hook.checked_add(1);
    }
    Ok(false)
}

/// A page of what was sent to a webhook, newest first, below a message's number; and that of the last.
pub(super) fn page(
    read: &ReadTransaction,
    hook: u64,
    below: u64,
    limit: usize,
) -> Result<(Vec<Delivery>, Option<u64>), LedgerError> {
    let Some(messages) = table(read, MESSAGES)? else { return Ok((Vec::new(), None)) };
    let mut rows = messages.range((hook, 0)..(hook, below))?.rev();
    let mut page = Vec::new();
    let mut last = None;
    for row in rows.by_ref().take(limit) {
        let (key, row) = row?;
        last = Some(key.value().1);
        page.extend(decode("message", row.value()).map(Delivery::new));
    }
    let is_more = rows.next().transpose()?.is_some();
    Ok((page, last.filter(|_| is_more)))
}

fn table<K: redb::Key + 'static, V: redb::Value + 'static>(
    read: &ReadTransaction,
    definition: TableDefinition<'_, K, V>,
) -> Result<Option<ReadOnlyTable<K, V>>, LedgerError> {
    match read.open_table(definition) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}
