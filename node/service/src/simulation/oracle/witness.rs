//! What the node committed, as an observer of its ledger sees it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use holdfast_core::recording::{Event, Recording};
use jiff::Timestamp;
use redb::{ReadableTable, TableDefinition, TableError, WriteTransaction};

use crate::ledger::{Change, Ledger, LedgerError, Observer};

/// How many changes were committed since the ledger was made: written together with each.
const WITNESSED: TableDefinition<'_, (), u64> = TableDefinition::new("witnessed");

/// A committed change of a recording.
#[derive(Debug, Clone)]
pub(in crate::simulation) struct Note {
    pub(super) before: Option<Recording>,
    pub(super) after: Recording,
    pub(super) events: Vec<Event>,
    pub(super) now: Timestamp,
}

/// Notes every change; what was not committed in the end is left out.
#[derive(Debug, Default)]
pub(in crate::simulation) struct Witness(Mutex<Notes>);

#[derive(Debug, Default)]
pub(in crate::simulation) struct Notes {
    /// Changes that were taken already.
    taken: u64,
    notes: Vec<Note>,
}

impl Notes {
    /// Forgets what turned out not to be committed.
    fn keep(&mut self, committed: u64) {
        let kept = committed.checked_sub(self.taken).expect("what was committed is gone again");
        self.notes.truncate(usize::try_from(kept).expect("a length"));
    }
}

impl Witness {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was committed since it was last asked; `None` as long as the ledger cannot be read.
    pub(super) fn take(&self, ledger: &Ledger) -> Option<Vec<Note>> {
        let committed = ledger.read(|read| match read.open_table(WITNESSED) {
            Ok(table) => Ok(table.get(())?.map_or(0, |value| value.value())),
            Err(TableError::TableDoesNotExist(_)) => Ok(0),
            Err(error) => Err(error.into()),
        });
        let committed = committed.ok()?;
        let mut notes = self.notes();
        notes.keep(committed);
        notes.taken += notes.notes.len() as u64;
        Some(std::mem::take(&mut notes.notes))
    }

    /// The ledger is a new one.
    pub(in crate::simulation) fn begin_anew(&self) {
        *self.notes() = Notes::default();
    }
}

impl Observer for Witness {
    fn changed(&self, write: &WriteTransaction, change: &Change<'_>) -> Result<(), LedgerError> {
        let mut table = write.open_table(WITNESSED)?;
        let committed = table.get(())?.map_or(0, |value| value.value());
        table.insert((), committed + 1)?;
        let mut notes = self.notes();
        notes.keep(committed);
        notes.notes.push(Note {
            before: change.before.cloned(),
            after: change.after.clone(),
            events: change.events.to_vec(),
            now: change.now,
        });
        Ok(())
    }
}

impl Note {
    /// In words.
    pub(in crate::simulation) fn tell(&self) -> String {
        let was = self.before.as_ref().map_or("new", |before| before.state.as_str());
        let events: Vec<String> = self.events.iter().map(|event| format!("{event:?}")).collect();
        let (now, id, is) = (self.now, self.after.id, self.after.state.as_str());
        format!("{now} {id} {was} -> {is}: {}", events.join(", "))
    }
}
