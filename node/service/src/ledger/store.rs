//! Reading and writing entries, within a transaction that someone else began.

use holdfast_core::recording::{Event, Recording, State, due, step};
use holdfast_core::{Lane, RecordingId};
use jiff::Timestamp;
use redb::{Database, ReadableDatabase, ReadableTable, WriteTransaction};

use super::schema::{DUE, Entry, Id, LATEST_KEY, META, OFFSETS, RECORDINGS, Slot};
use super::{Filter, LedgerError, Stepped};

/// Entries looked at for one page of a list, however many fit the filter.
const SCANNED_MAX: usize = 20_000;

impl From<redb::Error> for LedgerError {
    fn from(error: redb::Error) -> Self {
        Self::Read(error.to_string())
    }
}

macro_rules! read_errors {
    ($($kind:ty),*) => { $(
        impl From<$kind> for LedgerError {
            fn from(error: $kind) -> Self {
                redb::Error::from(error).into()
            }
        }
    )* };
}
read_errors!(redb::StorageError, redb::TableError, redb::TransactionError);

fn lane_key(lane: Lane) -> u8 {
    match lane {
        Lane::Process => 0,
        Lane::Deliver => 1,
        Lane::Retain => 2,
    }
}

fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}

fn decode(id: Id, bytes: &[u8], offset: Option<(u64, i64)>) -> Result<Entry, LedgerError> {
    let mut entry: Entry = serde_json::from_slice(bytes).map_err(|error| LedgerError::Damaged {
        id: RecordingId::from_bytes(id),
        reason: error.to_string(),
    })?;
    if let Some((bytes, at_ms)) = offset.filter(|_| entry.recording.state == State::Receiving) {
        entry.recording.bytes = bytes;
        entry.recording.last_byte_at = timestamp(at_ms);
    }
    Ok(entry)
}

/// The entry of a recording, within a write transaction.
pub(super) fn entry(write: &WriteTransaction, id: Id) -> Result<Option<Entry>, LedgerError> {
    let offset = write.open_table(OFFSETS)?.get(id)?.map(|value| value.value());
    let table = write.open_table(RECORDINGS)?;
    table.get(id)?.map(|value| decode(id, value.value(), offset)).transpose()
}

/// Writes an entry with its slots and due times. A claim in `release` ends.
pub(super) fn put(
    write: &WriteTransaction,
    mut entry: Entry,
    release: Option<Lane>,
) -> Result<(), LedgerError> {
    for lane in Lane::ALL {
        let slot = entry.slots[usize::from(lane_key(lane))];
        if slot.claimed && release != Some(lane) {
            continue;
        }
        let at_ms = due(&entry.recording, lane).map(Timestamp::as_millisecond);
        set_slot(write, &mut entry, lane, Slot { at_ms, claimed: false })?;
    }
    save(write, &entry)
}

fn set_slot(
    write: &WriteTransaction,
    entry: &mut Entry,
    lane: Lane,
    new: Slot,
) -> Result<(), LedgerError> {
    let id = entry.recording.id.to_bytes();
    let slot = &mut entry.slots[usize::from(lane_key(lane))];
    let mut due = write.open_table(DUE)?;
    if let Some(at_ms) = slot.at_ms {
        due.remove((lane_key(lane), at_ms, id))?;
    }
    if let Some(at_ms) = new.at_ms {
        due.insert((lane_key(lane), at_ms, id), ())?;
    }
    *slot = new;
    Ok(())
}

fn save(write: &WriteTransaction, entry: &Entry) -> Result<(), LedgerError> {
    let id = entry.recording.id.to_bytes();
    let bytes = serde_json::to_vec(entry).map_err(|error| {
        LedgerError::Write(format!("recording {}: {error}", entry.recording.id))
    })?;
    write.open_table(RECORDINGS)?.insert(id, bytes.as_slice())?;
    if entry.recording.state != State::Receiving {
        write.open_table(OFFSETS)?.remove(id)?;
    }
    Ok(())
}

/// Notes an instant, so that a clock that stands before it is known to be wrong.
pub(super) fn note_instant(write: &WriteTransaction, now: Timestamp) -> Result<(), LedgerError> {
    let now_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
    let mut meta = write.open_table(META)?;
    let latest = meta.get(LATEST_KEY)?.map_or(0, |value| value.value());
    if now_ms > latest {
        meta.insert(LATEST_KEY, now_ms)?;
    }
    Ok(())
}

/// Claims the work in a lane that has been due longest. Without effects, there was nothing to do for
/// it after all, and nothing is claimed.
pub(super) fn claim(
    write: &WriteTransaction,
    lane: Lane,
    now: Timestamp,
    lease_until: Timestamp,
) -> Result<Option<(State, Stepped)>, LedgerError> {
    let Some(id) = first_due(write, lane, now)? else { return Ok(None) };
    let no_such = LedgerError::NoSuchRecording(RecordingId::from_bytes(id));
    let mut entry = entry(write, id)?.ok_or(no_such)?;
    let before = entry.recording.state;
    if entry.slots[usize::from(lane_key(lane))].claimed {
        entry.recording = step(&entry.recording, Event::Interrupted(lane), now).0;
    }
    let (recording, effects) = step(&entry.recording, Event::Due(lane), now);
    entry.recording = recording.clone();
    if effects.is_empty() {
        put(write, entry, Some(lane))?;
    } else {
        let slot = Slot { at_ms: Some(lease_until.as_millisecond()), claimed: true };
        set_slot(write, &mut entry, lane, slot)?;
        put(write, entry, None)?;
    }
    Ok(Some((before, (recording, effects))))
}

fn first_due(
    write: &WriteTransaction,
    lane: Lane,
    now: Timestamp,
) -> Result<Option<Id>, LedgerError> {
    let due = write.open_table(DUE)?;
    let key = lane_key(lane);
    let first =
        due.range((key, i64::MIN, [0; 16])..=(key, now.as_millisecond(), [0xff; 16]))?.next();
    Ok(first.transpose()?.map(|(key, _)| key.value().2))
}

/// Moves the end of a claim's lease.
pub(super) fn extend(
    write: &WriteTransaction,
    id: RecordingId,
    lane: Lane,
    until: Timestamp,
) -> Result<(), LedgerError> {
    let Some(mut entry) = entry(write, id.to_bytes())? else { return Ok(()) };
    if entry.slots[usize::from(lane_key(lane))].claimed {
        let slot = Slot { at_ms: Some(until.as_millisecond()), claimed: true };
        set_slot(write, &mut entry, lane, slot)?;
        save(write, &entry)?;
    }
    Ok(())
}

/// After the node's end: no client is connected, and every lease has ended.
pub(super) fn restart(database: &Database, now: Timestamp) -> Result<(), LedgerError> {
    let mut write = database.begin_write()?;
    write.set_two_phase_commit(true);
    let mut ids = Vec::new();
    for row in write.open_table(RECORDINGS)?.iter()? {
        let (key, value) = row?;
        let entry = decode(key.value(), value.value(), None)?;
        let arriving = entry.recording.attached
            && matches!(entry.recording.state, State::Receiving | State::Stopped);
        if arriving || entry.slots.iter().any(|slot| slot.claimed) {
            ids.push(key.value());
        }
    }
    for id in ids {
        let Some(mut entry) = entry(&write, id)? else { continue };
        entry.recording = step(&entry.recording, Event::Detached, now).0;
        for lane in Lane::ALL {
            let slot = entry.slots[usize::from(lane_key(lane))];
            if slot.claimed {
                let ended = Slot { at_ms: Some(0), claimed: true };
                set_slot(&write, &mut entry, lane, ended)?;
            }
        }
        put(&write, entry, None)?;
    }
    write.commit().map_err(|error| LedgerError::Write(error.to_string()))
}

pub(super) fn get(database: &Database, id: RecordingId) -> Result<Option<Recording>, LedgerError> {
    let read = database.begin_read()?;
    let id = id.to_bytes();
    let offset = read.open_table(OFFSETS)?.get(id)?.map(|value| value.value());
    let table = read.open_table(RECORDINGS)?;
    let entry = table.get(id)?.map(|value| decode(id, value.value(), offset)).transpose()?;
    Ok(entry.map(|entry| entry.recording))
}

pub(super) fn list(
    database: &Database,
    filter: &Filter,
    before: Option<RecordingId>,
    limit: usize,
) -> Result<(Vec<Recording>, Option<RecordingId>), LedgerError> {
    let read = database.begin_read()?;
    let offsets = read.open_table(OFFSETS)?;
    let table = read.open_table(RECORDINGS)?;
    let end = before.map_or([0xff; 16], RecordingId::to_bytes);
    let mut found = Vec::new();
    let mut last = None;
    for (scanned, row) in table.range([0; 16]..end)?.rev().enumerate() {
        if found.len() == limit || scanned == SCANNED_MAX {
            return Ok((found, last));
        }
        let (key, value) = row?;
        let id = key.value();
        let offset = offsets.get(id)?.map(|value| value.value());
        let recording = decode(id, value.value(), offset)?.recording;
        last = Some(recording.id);
        let fits = filter.state.is_none_or(|state| state == recording.state)
            && filter.env_id.as_ref().is_none_or(|env_id| *env_id == recording.env_id);
        if fits {
            found.push(recording);
        }
    }
    Ok((found, None))
}

pub(super) fn counts(database: &Database) -> Result<[u64; State::ALL.len()], LedgerError> {
    let read = database.begin_read()?;
    let mut counts = [0; State::ALL.len()];
    for row in read.open_table(RECORDINGS)?.iter()? {
        let (key, value) = row?;
        let entry = decode(key.value(), value.value(), None)?;
        counts[index(entry.recording.state)] += 1;
    }
    Ok(counts)
}

/// A state's place in [`State::ALL`].
pub(super) fn index(state: State) -> usize {
    State::ALL.iter().position(|each| *each == state).unwrap_or(0)
}

pub(super) fn next_due(database: &Database, lane: Lane) -> Result<Option<Timestamp>, LedgerError> {
    let read = database.begin_read()?;
    let due = read.open_table(DUE)?;
    let key = lane_key(lane);
    let first = due.range((key, i64::MIN, [0; 16])..=(key, i64::MAX, [0xff; 16]))?.next();
    Ok(first.transpose()?.map(|(key, _)| timestamp(key.value().1)))
}

pub(super) fn latest_instant(database: &Database) -> Result<Timestamp, LedgerError> {
    let read = database.begin_read()?;
    let latest = read.open_table(META)?.get(LATEST_KEY)?.map_or(0, |value| value.value());
    Ok(timestamp(i64::try_from(latest).unwrap_or(i64::MAX)))
}
