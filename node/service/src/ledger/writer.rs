//! The one thread that writes: gathers what waits into a transaction, commits, then answers.

use std::sync::{Arc, PoisonError};

use holdfast_core::recording::{Event, Recording, State};
use holdfast_core::{Lane, RecordingId};
use jiff::Timestamp;
use redb::WriteTransaction;
use tokio::sync::{mpsc, oneshot};

use super::schema::{Entry, OFFSETS};
use super::{Change, LedgerError, Shared, Stepped, store, turns};

/// Most operations in one transaction.
const BATCH_MAX: usize = 512;
/// How often a ledger that had an I/O error is opened anew before its callers are told.
const REOPENS_MAX: u32 = 1;

pub(super) type Reply<T> = oneshot::Sender<Result<T, LedgerError>>;

/// Another room's writing, which answers whoever asked for it once the commit is done.
pub(super) type Act = Box<dyn FnOnce(&WriteTransaction, &mut Batch) + Send>;

/// What the writer can be asked for.
pub(super) enum Op {
    Insert {
        recording: Box<Recording>,
        reply: Reply<()>,
    },
    Apply {
        id: RecordingId,
        events: Vec<Event>,
        now: Timestamp,
        release: Option<Lane>,
        reply: Reply<Stepped>,
    },
    Offsets {
        offsets: Vec<(RecordingId, u64)>,
        now: Timestamp,
        reply: Reply<()>,
    },
    Claim {
        lane: Lane,
        now: Timestamp,
        lease_until: Timestamp,
        reply: Reply<Option<Stepped>>,
    },
    Extend {
        id: RecordingId,
        lane: Lane,
        until: Timestamp,
        reply: Reply<()>,
    },
    Forget {
        id: RecordingId,
        reply: Reply<()>,
    },
    Write(Act),
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Op")
    }
}

/// Told how the commit went, tells whoever asked.
type Answer = Box<dyn FnOnce(Result<(), String>) + Send>;

/// Answers that wait for the commit, and what the commit changes in the counts.
#[derive(Default)]
pub(super) struct Batch {
    answers: Vec<Answer>,
    moves: Vec<(Option<State>, Option<State>)>,
    /// Whether anything is to be written at all.
    is_dirty: bool,
    /// Why nothing of it may be committed: something failed half-way.
    broken: Option<String>,
}

impl Batch {
    pub(super) fn answer<T: Send + 'static>(
        &mut self,
        reply: Reply<T>,
        result: Result<T, LedgerError>,
    ) {
        if let Err(LedgerError::Read(reason) | LedgerError::Write(reason)) = &result {
            self.broken.get_or_insert_with(|| reason.clone());
        }
        self.answers.push(Box::new(move |committed| {
            let result =
                result.and_then(|value| committed.map_err(LedgerError::Write).map(|()| value));
            // Whoever asked may have gone; what was done stays done.
            drop(reply.send(result));
        }));
    }

    fn moved(&mut self, before: Option<State>, after: Option<State>) {
        if before != after {
            self.moves.push((before, after));
        }
    }
}

/// Runs until every handle to the ledger is gone.
pub(super) fn run(shared: &Arc<Shared>, mut ops: mpsc::Receiver<Op>) {
    while let Some(first) = ops.blocking_recv() {
        write(shared, first, &mut ops);
    }
}

/// The same, as a task among others of the only thread there is.
#[cfg(test)]
pub(super) async fn run_in_between(shared: Arc<Shared>, mut ops: mpsc::Receiver<Op>) {
    while let Some(first) = ops.recv().await {
        write(&shared, first, &mut ops);
    }
}

/// One transaction: the first operation, and what waits behind it.
fn write(shared: &Arc<Shared>, first: Op, ops: &mut mpsc::Receiver<Op>) {
    let mut waiting = vec![first];
    while waiting.len() < BATCH_MAX {
        match ops.try_recv() {
            Ok(op) => waiting.push(op),
            Err(_) => break,
        }
    }
    let mut batch = Batch::default();
    let committed = commit(shared, waiting, &mut batch);
    if committed.is_ok() {
        let mut counts = shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for (before, after) in &batch.moves {
            if let Some(before) = before {
                counts[store::place(*before)] = counts[store::place(*before)].saturating_sub(1);
            }
            if let Some(after) = after {
                counts[store::place(*after)] += 1;
            }
        }
    }
    for answer in std::mem::take(&mut batch.answers) {
        answer(committed.clone());
    }
    if batch.is_dirty {
        shared.changed.send_modify(|commits| *commits = commits.wrapping_add(1));
    }
}

fn commit(shared: &Arc<Shared>, waiting: Vec<Op>, batch: &mut Batch) -> Result<(), String> {
    let write = begin(shared, REOPENS_MAX).inspect_err(|error| {
        tracing::error!(%error, "the ledger cannot be opened anew; nothing of this batch was done");
    })?;
    for op in waiting {
        perform(shared, &write, op, batch);
    }
    if let Some(reason) = batch.broken.take() {
        tracing::error!(%reason, "the ledger could not be written; nothing of this batch was done");
        drop(write.abort());
        return Err(reason);
    }
    if !batch.is_dirty {
        return write.abort().map_err(|error| error.to_string());
    }
    let result = write.commit().map_err(|error| error.to_string());
    if let Err(error) = &result {
        tracing::error!(%error, "the ledger could not commit; nothing of this batch was done");
    }
    result
}

/// Begins a transaction; after an I/O error redb wants the file opened anew, so that is done.
fn begin(shared: &Arc<Shared>, reopens: u32) -> Result<WriteTransaction, String> {
    let current = shared.database.read().unwrap_or_else(PoisonError::into_inner).clone();
    let begun = match &current {
        Some(database) => transaction(database),
        None => Err("it is closed after an I/O error".into()),
    };
    drop(current);
    match begun {
        Ok(write) => Ok(write),
        Err(_) if reopens > 0 => {
            *shared.database.write().unwrap_or_else(PoisonError::into_inner) = None;
            shared.reopen().map_err(|error| error.to_string())?;
            begin(shared, reopens - 1)
        }
        Err(error) => Err(error),
    }
}

/// A transaction that commits in two phases, and after which a crash needs no long repair.
pub(super) fn transaction(database: &redb::Database) -> Result<WriteTransaction, String> {
    let mut write = database.begin_write().map_err(|error| error.to_string())?;
    write.set_two_phase_commit(true);
    write.set_quick_repair(repairs_quickly());
    Ok(write)
}

/// It costs more than half of a commit, so that most worlds of the simulation do without.
fn repairs_quickly() -> bool {
    #[cfg(test)]
    return crate::simulation::repairs_quickly();
    #[cfg(not(test))]
    true
}

fn perform(shared: &Shared, write: &WriteTransaction, op: Op, batch: &mut Batch) {
    batch.is_dirty |= !matches!(op, Op::Claim { .. });
    match op {
        Op::Insert { recording, reply } => {
            let correction = *shared.correction();
            let recording = match correction {
                Some(step) => Box::new(step.corrected_new(&recording)),
                None => recording,
            };
            let result = insert(shared, write, &recording);
            if result.is_ok() {
                batch.moved(None, Some(recording.state));
            }
            batch.answer(reply, result);
        }
        Op::Apply { id, events, now, release, reply } => {
            let result = apply(shared, write, id, &events, shared.corrected(now), release);
            if let Ok((before, (recording, _))) = &result {
                batch.moved(Some(*before), Some(recording.state));
            }
            batch.answer(reply, result.map(|(_, stepped)| stepped));
        }
        Op::Offsets { offsets, now, reply } => {
            let result = note_offsets(write, &offsets, shared.corrected(now));
            batch.answer(reply, result);
        }
        Op::Claim { lane, now, lease_until, reply } => {
            let lease = lease_until.duration_since(now);
            let now = shared.corrected(now);
            let mut rounds = shared.rounds.lock().unwrap_or_else(PoisonError::into_inner);
            let observers = &shared.observers;
            let result = store::claim(write, lane, now, now + lease, &mut rounds, observers);
            if let Ok(Some((before, (recording, _)))) = &result {
                batch.moved(Some(*before), Some(recording.state));
            }
            batch.is_dirty |= !matches!(result, Ok(None));
            batch.answer(reply, result.map(|found| found.map(|(_, stepped)| stepped)));
        }
        Op::Extend { id, lane, until, reply } => {
            batch.answer(reply, store::extend(write, id, lane, until));
        }
        Op::Forget { id, reply } => {
            let result = store::forget(write, id).and_then(|before| {
                let mut observers = shared.observers.iter();
                observers.try_for_each(|observer| observer.forgotten(write, id))?;
                Ok(before)
            });
            if let Ok(before) = &result {
                batch.moved(*before, None);
            }
            batch.answer(reply, result.map(|_| ()));
        }
        Op::Write(act) => act(write, batch),
    }
}

fn insert(
    shared: &Shared,
    write: &WriteTransaction,
    recording: &Recording,
) -> Result<(), LedgerError> {
    let now = recording.received_at;
    store::note_instant(write, now)?;
    let change = Change { before: None, after: recording, events: &[], now };
    store::observe(write, &shared.observers, &change)?;
    store::put(write, None, Entry::new(recording.clone()), None)
}

fn apply(
    shared: &Shared,
    write: &WriteTransaction,
    id: RecordingId,
    events: &[Event],
    now: Timestamp,
    release: Option<Lane>,
) -> Result<(State, Stepped), LedgerError> {
    let mut entry = store::entry(write, id.to_bytes())?.ok_or(LedgerError::NoSuchRecording(id))?;
    let (before, effects) = store::advance(&mut entry, events, now);
    let recording = entry.recording.clone();
    let came_to_nothing = |event: &Event| {
        matches!(event, Event::TranscodePutOff { .. } | Event::Interrupted(Lane::Process))
    };
    if release == Some(Lane::Process) && events.iter().any(came_to_nothing) {
        let mut rounds = shared.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        turns::give_back(&mut rounds, &before);
    }
    store::note_instant(write, now)?;
    let change = Change { before: Some(&before), after: &recording, events, now };
    store::observe(write, &shared.observers, &change)?;
    store::put(write, Some(before.state), entry, release)?;
    Ok((before.state, (recording, effects)))
}

fn note_offsets(
    write: &WriteTransaction,
    offsets: &[(RecordingId, u64)],
    now: Timestamp,
) -> Result<(), LedgerError> {
    store::note_instant(write, now)?;
    let mut table = write.open_table(OFFSETS)?;
    for (id, bytes) in offsets {
        table.insert(id.to_bytes(), (*bytes, now.as_millisecond()))?;
    }
    Ok(())
}
