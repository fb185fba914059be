//! Reading and writing entries, within a transaction that someone else began.

use std::collections::BTreeSet;
use std::sync::Arc;

use holdfast_core::recording::{Event, Recording, State, due, step};
use holdfast_core::{Effect, Lane, RecordingId};
use jiff::Timestamp;
use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, WriteTransaction,
};

use super::schema::{
    BY_ACCOUNT, BY_ENV, BY_STATE, DUE, Entry, Id, LATEST_KEY, META, OFFSETS, RECORDINGS, Slot,
};
use super::{Change, Filter, LedgerError, Observer, Stepped, turns};
use crate::queue::fair::Rounds;

/// Entries looked at for one page of a list, however many fit the filter.
const SCANNED_MAX: usize = 20_000;

const FIRST: Id = [0; 16];
const LAST: Id = [0xff; 16];

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

/// A lane's number in the tables. Never changes.
pub(super) fn lane_key(lane: Lane) -> u8 {
    match lane {
        Lane::Process => 0,
        Lane::Deliver => 1,
        Lane::Retain => 2,
        Lane::Expire => 3,
        Lane::Copy => 4,
    }
}

fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}

fn decode(id: Id, bytes: &[u8], offset: Option<(u64, i64)>) -> Result<Entry, LedgerError> {
    let mut entry = Entry::from_json(bytes).map_err(|error| LedgerError::Damaged {
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

/// Writes an entry with its slots, due times and indexes. A claim in `release` ends.
pub(super) fn put(
    write: &WriteTransaction,
    before: Option<State>,
    mut entry: Entry,
    release: Option<Lane>,
) -> Result<(), LedgerError> {
    index(write, before, &entry.recording)?;
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

/// Enters a recording of an older ledger, whose claims in the first lanes ended with the node.
pub(super) fn put_interrupted(
    write: &WriteTransaction,
    recording: Recording,
    claimed: [bool; 3],
) -> Result<(), LedgerError> {
    let mut entry = Entry::new(recording);
    for lane in Lane::ALL {
        if claimed.get(usize::from(lane_key(lane))) == Some(&true) {
            set_slot(write, &mut entry, lane, Slot { at_ms: Some(0), claimed: true })?;
        }
    }
    put(write, None, entry, None)
}

fn index(
    write: &WriteTransaction,
    before: Option<State>,
    recording: &Recording,
) -> Result<(), LedgerError> {
    let id = recording.id.to_bytes();
    if before != Some(recording.state) {
        let mut by_state = write.open_table(BY_STATE)?;
        if let Some(before) = before {
            by_state.remove((before.as_str(), id))?;
        }
        by_state.insert((recording.state.as_str(), id), ())?;
    }
    if before.is_none() {
        write.open_table(BY_ENV)?.insert((recording.env_id.as_str(), id), ())?;
        if let Some(account_id) = &recording.account_id {
            write.open_table(BY_ACCOUNT)?.insert((account_id.as_str(), id), ())?;
        }
    }
    Ok(())
}

/// Removes an entry, and every row that follows from it.
pub(super) fn forget(
    write: &WriteTransaction,
    id: RecordingId,
) -> Result<Option<State>, LedgerError> {
    let Some(mut entry) = entry(write, id.to_bytes())? else { return Ok(None) };
    for lane in Lane::ALL {
        set_slot(write, &mut entry, lane, Slot::default())?;
    }
    let recording = entry.recording;
    let id = id.to_bytes();
    write.open_table(RECORDINGS)?.remove(id)?;
    write.open_table(OFFSETS)?.remove(id)?;
    write.open_table(BY_STATE)?.remove((recording.state.as_str(), id))?;
    write.open_table(BY_ENV)?.remove((recording.env_id.as_str(), id))?;
    if let Some(account_id) = &recording.account_id {
        write.open_table(BY_ACCOUNT)?.remove((account_id.as_str(), id))?;
    }
    Ok(Some(recording.state))
}

/// Tells everyone who asked to be told.
pub(super) fn observe(
    write: &WriteTransaction,
    observers: &[Arc<dyn Observer>],
    change: &Change<'_>,
) -> Result<(), LedgerError> {
    observers.iter().try_for_each(|observer| observer.changed(write, change))
}

pub(super) fn set_slot(
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
    if lane == Lane::Process { turns::set(write, &entry.recording, new) } else { Ok(()) }
}

fn save(write: &WriteTransaction, entry: &Entry) -> Result<(), LedgerError> {
    let id = entry.recording.id.to_bytes();
    let bytes = entry.to_json().map_err(|error| {
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

/// Claims the work in a lane whose turn it is: to transcode, by `rounds`; else what has been due longest.
/// Without effects, there was nothing to do for
/// it after all, and nothing is claimed.
pub(super) fn claim(
    write: &WriteTransaction,
    lane: Lane,
    now: Timestamp,
    lease_until: Timestamp,
    rounds: &mut Rounds,
    observers: &[Arc<dyn Observer>],
) -> Result<Option<(State, Stepped)>, LedgerError> {
    let turn = if lane == Lane::Process { turns::next(write, rounds, now)? } else { None };
    let id = turn.map_or_else(|| first_due(write, lane, now), |id| Ok(Some(id)))?;
    let Some(id) = id else { return Ok(None) };
    let no_such = LedgerError::NoSuchRecording(RecordingId::from_bytes(id));
    let mut entry = entry(write, id)?.ok_or(no_such)?;
    let mut events = vec![Event::Due(lane)];
    if entry.slots[usize::from(lane_key(lane))].claimed {
        events.insert(0, Event::Interrupted(lane));
        if lane == Lane::Process {
            turns::give_back(rounds, &entry.recording);
        }
    }
    let (before, effects) = advance(&mut entry, &events, now);
    note_instant(write, now)?;
    let change = Change { before: Some(&before), after: &entry.recording, events: &events, now };
    observe(write, observers, &change)?;
    let recording = entry.recording.clone();
    if effects.is_empty() {
        put(write, Some(before.state), entry, Some(lane))?;
    } else {
        let slot = Slot { at_ms: Some(lease_until.as_millisecond()), claimed: true };
        set_slot(write, &mut entry, lane, slot)?;
        put(write, Some(before.state), entry, None)?;
        if lane == Lane::Process {
            turns::serve(rounds, &recording);
        }
    }
    Ok(Some((before.state, (recording, effects))))
}

/// Steps an entry's recording through events; answers what it was before, and all effects.
pub(super) fn advance(
    entry: &mut Entry,
    events: &[Event],
    now: Timestamp,
) -> (Recording, Vec<Effect>) {
    let before = entry.recording.clone();
    let mut effects = Vec::new();
    for event in events {
        let (next, more) = step(&entry.recording, event.clone(), now);
        entry.recording = next;
        effects.extend(more);
    }
    (before, effects)
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
pub(super) fn restart(
    database: &Database,
    now: Timestamp,
    observers: &[Arc<dyn Observer>],
) -> Result<(), LedgerError> {
    let mut write = database.begin_write()?;
    write.set_two_phase_commit(true);
    for id in maybe_under_way(&write)? {
        let Some(mut entry) = entry(&write, id)? else { continue };
        let arriving = entry.recording.attached
            && matches!(entry.recording.state, State::Receiving | State::Stopped);
        if !arriving && !entry.slots.iter().any(|slot| slot.claimed) {
            continue;
        }
        let events = [Event::Detached];
        let (before, _) = advance(&mut entry, &events, now);
        let change =
            Change { before: Some(&before), after: &entry.recording, events: &events, now };
        observe(&write, observers, &change)?;
        for lane in Lane::ALL {
            let slot = entry.slots[usize::from(lane_key(lane))];
            if slot.claimed {
                let ended = Slot { at_ms: Some(0), claimed: true };
                set_slot(&write, &mut entry, lane, ended)?;
            }
        }
        put(&write, Some(before.state), entry, None)?;
    }
    write.commit().map_err(|error| LedgerError::Write(error.to_string()))
}

/// Recordings that have something due, or whose client may have been connected.
fn maybe_under_way(write: &WriteTransaction) -> Result<BTreeSet<Id>, LedgerError> {
    let mut ids = BTreeSet::new();
    for row in write.open_table(DUE)?.iter()? {
        ids.insert(row?.0.value().2);
    }
    let by_state = write.open_table(BY_STATE)?;
    for state in [State::Receiving, State::Stopped] {
        for row in by_state.range((state.as_str(), FIRST)..=(state.as_str(), LAST))? {
            ids.insert(row?.0.value().1);
        }
    }
    Ok(ids)
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
    let mut found = Vec::new();
    let mut last = None;
    for (scanned, id) in candidates(&read, filter, before)?.enumerate() {
        if found.len() == limit || scanned == SCANNED_MAX {
            return Ok((found, last));
        }
        let id = id?;
        let Some(value) = table.get(id)? else { continue };
        let offset = offsets.get(id)?.map(|value| value.value());
        let recording = decode(id, value.value(), offset)?.recording;
        last = Some(recording.id);
        if filter.fits(&recording) {
            found.push(recording);
        }
    }
    Ok((found, None))
}

type Ids = Box<dyn Iterator<Item = Result<Id, LedgerError>>>;

/// What may fit a filter, newest first: from the index that narrows most.
fn candidates(
    read: &ReadTransaction,
    filter: &Filter,
    before: Option<RecordingId>,
) -> Result<Ids, LedgerError> {
    let first = filter.from.map_or(FIRST, |at| edge(at.as_millisecond()));
    let end = filter.to.map_or(LAST, |at| edge(at.as_millisecond()));
    let end = before.map_or(end, |id| id.to_bytes().min(end));
    if end <= first {
        return Ok(Box::new(std::iter::empty()));
    }
    let by_env = |env_id: &str| -> Result<Ids, LedgerError> {
        let rows = read.open_table(BY_ENV)?.range((env_id, first)..(env_id, end))?.rev();
        Ok(Box::new(rows.map(|row| Ok(row?.0.value().1))))
    };
    if let Some(env_ids) = &filter.env_ids {
        // Nothing of any other environment is looked at, so that no cursor tells of it.
        let wanted = |id: &&String| filter.env_id.as_ref().is_none_or(|env_id| env_id == *id);
        let each = env_ids.iter().filter(wanted).map(|env_id| by_env(env_id));
        return Ok(newest_first(each.collect::<Result<_, _>>()?));
    }
    let (index, key) = match (&filter.env_id, &filter.account_id, filter.state) {
        (Some(env_id), _, _) => return by_env(env_id),
        (None, Some(account_id), _) => (BY_ACCOUNT, account_id.as_str()),
        (None, None, Some(state)) => (BY_STATE, state.as_str()),
        (None, None, None) => {
            let rows = read.open_table(RECORDINGS)?.range(first..end)?.rev();
            return Ok(Box::new(rows.map(|row| Ok(row?.0.value()))));
        }
    };
    let rows = read.open_table(index)?.range((key, first)..(key, end))?.rev();
    Ok(Box::new(rows.map(|row| Ok(row?.0.value().1))))
}

/// Several lists, each newest first, as one.
fn newest_first(lists: Vec<Ids>) -> Ids {
    let mut lists: Vec<_> = lists.into_iter().map(Iterator::peekable).collect();
    Box::new(std::iter::from_fn(move || {
        let newest = |list: &mut std::iter::Peekable<Ids>| match list.peek() {
            None => None,
            Some(Ok(id)) => Some(*id),
            // It is told at once.
            Some(Err(_)) => Some(LAST),
        };
        let (_, list) = lists
            .iter_mut()
            .filter_map(|list| newest(list).map(|id| (id, list)))
            .max_by_key(|(id, _)| *id)?;
        list.next()
    }))
}

/// The first id that an instant can have: ids begin with their time.
fn edge(at_ms: i64) -> Id {
    let ms = u64::try_from(at_ms).unwrap_or(0).min((1 << 48) - 1);
    let mut id = FIRST;
    id[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    id
}

pub(super) fn counts(database: &Database) -> Result<[u64; State::ALL.len()], LedgerError> {
    let read = database.begin_read()?;
    let by_state = read.open_table(BY_STATE)?;
    let mut counts = [0; State::ALL.len()];
    for (count, state) in counts.iter_mut().zip(State::ALL) {
        let rows = by_state.range((state.as_str(), FIRST)..=(state.as_str(), LAST))?;
        *count = u64::try_from(rows.count()).unwrap_or(u64::MAX);
    }
    Ok(counts)
}

/// A state's place in [`State::ALL`].
pub(super) fn place(state: State) -> usize {
    State::ALL.iter().position(|each| *each == state).unwrap_or(0)
}

pub(super) fn next_due(database: &Database, lane: Lane) -> Result<Option<Timestamp>, LedgerError> {
    next_in(&database.begin_read()?.open_table(DUE)?, lane)
}

#[cfg(test)]
pub(super) fn next_dues(
    database: &Database,
) -> Result<[Option<Timestamp>; Lane::ALL.len()], LedgerError> {
    let due = database.begin_read()?.open_table(DUE)?;
    let mut dues = [None; Lane::ALL.len()];
    for (slot, lane) in dues.iter_mut().zip(Lane::ALL) {
        *slot = next_in(&due, lane)?;
    }
    Ok(dues)
}

fn next_in(
    due: &ReadOnlyTable<(u8, i64, Id), ()>,
    lane: Lane,
) -> Result<Option<Timestamp>, LedgerError> {
    let key = lane_key(lane);
    let first = due.range((key, i64::MIN, [0; 16])..=(key, i64::MAX, [0xff; 16]))?.next();
    Ok(first.transpose()?.map(|(key, _)| timestamp(key.value().1)))
}

pub(super) fn latest_instant(database: &Database) -> Result<Timestamp, LedgerError> {
    let latest = meta(&database.begin_read()?, LATEST_KEY)?.unwrap_or(0);
    Ok(timestamp(i64::try_from(latest).unwrap_or(i64::MAX)))
}

/// A number that the ledger remembers.
pub(super) fn meta(read: &ReadTransaction, key: &str) -> Result<Option<u64>, LedgerError> {
    Ok(read.open_table(META)?.get(key)?.map(|value| value.value()))
}
