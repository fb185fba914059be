//! What each attempt did: for every file that was tried, how long it took, how much moved, and what the
//! destination said.
//!
//! Table `push_log`: recording's id, number → JSON of [`Tried`]. It is written in the transaction that
//! notes what came of the file or of the attempt, and goes with the recording's entry. The last
//! [`KEPT_MAX`] of a recording are kept. It holds no personal data and no secret.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_core::RecordingId;
use holdfast_core::attempts::Fault;
use holdfast_core::recording::{Event, FileKind};
use jiff::Timestamp;
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ledger::{Change, Ledger, LedgerError, Observer};

const LOG: TableDefinition<'_, ([u8; 16], u32), &[u8]> = TableDefinition::new("push_log");
/// Most entries that are kept of a recording.
pub const KEPT_MAX: u32 = 200;

/// One file that was tried at one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tried {
    /// When it began.
    pub at: Timestamp,
    /// In which attempt, from 1; 0 for one that was asked for by hand before the first.
    pub attempt: u8,
    /// Whether a person asked for the attempt.
    pub by_hand: bool,
    /// The destination.
    pub destination: String,
    /// Which file.
    pub kind: FileKind,
    /// Its size in bytes.
    pub bytes: u64,
    /// Bytes of it that the destination had at the end, as far as is known.
    pub sent_bytes: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Where it is there; nothing where it was not pushed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Whose fault it was that it was not pushed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// What went wrong, in a sentence with what the destination said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What was tried and waits to be written with what came of it.
#[derive(Debug, Clone, Default)]
pub struct Journal(Arc<Mutex<HashMap<RecordingId, Vec<Tried>>>>);

impl Journal {
    /// Notes what was tried; it is written with the recording's next push event.
    pub fn note(&self, id: RecordingId, tried: Tried) {
        self.waiting().entry(id).or_default().push(tried);
    }

    /// What writes it.
    #[must_use]
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(Writer(self.clone()))
    }

    /// Everything that was tried for a recording, oldest first.
    ///
    /// # Errors
    /// [`LedgerError::Read`].
    pub fn of(ledger: &Ledger, id: RecordingId) -> Result<Vec<Tried>, LedgerError> {
        ledger.read(|read| {
            let table = match read.open_table(LOG) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            let mut all = Vec::new();
            for row in table.range(range(id))? {
                let tried = serde_json::from_slice(row?.1.value());
                all.push(tried.map_err(|error| LedgerError::Read(error.to_string()))?);
            }
            Ok(all)
        })
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<RecordingId, Vec<Tried>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn range(id: RecordingId) -> std::ops::RangeInclusive<([u8; 16], u32)> {
    (id.to_bytes(), 0)..=(id.to_bytes(), u32::MAX)
}

#[derive(Debug)]
struct Writer(Journal);

impl Observer for Writer {
    fn changed(&self, write: &WriteTransaction, change: &Change<'_>) -> Result<(), LedgerError> {
        let is_of_a_push = change.events.iter().any(|event| {
            matches!(
                event,
                Event::FilePushed { .. } | Event::PushEnded { .. } | Event::PushPutOff { .. }
            )
        });
        if !is_of_a_push {
            return Ok(());
        }
        let id = change.after.id;
        let Some(new) = self.0.waiting().remove(&id) else { return Ok(()) };
        let mut table = write.open_table(LOG)?;
        let last = table.range(range(id))?.next_back().transpose()?;
        let mut next = last.map_or(0, |(key, _)| key.value().1 + 1);
        for tried in new {
            let json = serde_json::to_vec(&tried);
            let json = json.map_err(|error| LedgerError::Write(error.to_string()))?;
            table.insert((id.to_bytes(), next), &json[..])?;
            next += 1;
        }
        let old = (id.to_bytes(), 0)..(id.to_bytes(), next.saturating_sub(KEPT_MAX));
        table.retain_in(old, |_, _| false)?;
        Ok(())
    }

    fn forgotten(&self, write: &WriteTransaction, id: RecordingId) -> Result<(), LedgerError> {
        self.0.waiting().remove(&id);
        write.open_table(LOG)?.retain_in(range(id), |_, _| false)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::tests::recording;

    #[tokio::test]
    async fn what_was_tried_is_written_with_what_came_of_it_and_goes_with_the_entry() {
        let folder = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let journal = Journal::default();
        let path = folder.path().join("ledger.redb");
        let ledger = Ledger::open(&path, now, vec![journal.observer()]).unwrap();
        let tried = |attempt| Tried {
            at: now,
            attempt,
            by_hand: false,
            destination: "archive".into(),
            kind: FileKind::Main,
            bytes: 10,
            sent_bytes: 3,
            duration_ms: 1,
            location: None,
            fault: Some(Fault::Networks),
            error: Some("no route".into()),
        };
        let recording = recording(7, now);
        let id = recording.id;
        ledger.insert(recording).await.unwrap();
        journal.note(id, tried(1));
        journal.note(id, tried(2));
        ledger
            .apply(id, Event::Stopped { bytes: 0, sha256: String::new(), container: None }, now)
            .await
            .unwrap();
        assert_eq!(Journal::of(&ledger, id).unwrap(), [], "not with what is of no push");
        ledger.apply(id, Event::PushEnded { failure: None }, now).await.unwrap();
        assert_eq!(Journal::of(&ledger, id).unwrap(), [tried(1), tried(2)]);
        for _ in 0..KEPT_MAX {
            journal.note(id, tried(3));
        }
        ledger.apply(id, Event::PushEnded { failure: None }, now).await.unwrap();
        assert_eq!(Journal::of(&ledger, id).unwrap(), vec![tried(3); KEPT_MAX as usize]);
        ledger.forget(id).await.unwrap();
        assert_eq!(Journal::of(&ledger, id).unwrap(), []);
    }
}
