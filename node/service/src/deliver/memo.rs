//! What a push leaves behind for the next one: where it stopped, in the words of its destination.
//!
//! Table `memos`: recording's id, destination, kind of file → the destination's own JSON, at most
//! [`BYTES_MAX`]. It goes in the transaction that notes the file as pushed; one that no push will come
//! back for is handed to [`Destination::abandon`](super::Destination::abandon) and then goes.

use std::sync::{Arc, Mutex, PoisonError};

use holdfast_core::RecordingId;
use holdfast_core::attempts::Fault;
use holdfast_core::recording::{Event, FileKind};
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::PushError;
use crate::ledger::{Change, Ledger, LedgerError, Observer};

type Key = ([u8; 16], &'static str, &'static str);
const MEMOS: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("memos");
/// Longest memo, in bytes.
pub const BYTES_MAX: usize = 64 << 10;

/// The memo of one file at one destination. Clones are the same memo.
#[derive(Debug, Clone)]
pub struct Memo(Kept);

#[derive(Debug, Clone)]
enum Kept {
    Ledger { ledger: Ledger, of: Of },
    Memory(Arc<Mutex<Option<Vec<u8>>>>),
}

/// Which file where a memo is of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Of {
    /// The recording.
    pub recording: RecordingId,
    /// The destination.
    pub destination: String,
    /// The file.
    pub kind: FileKind,
}

impl Memo {
    /// The memo that the ledger has of a file.
    #[must_use]
    pub fn of(ledger: &Ledger, of: Of) -> Self {
        Self(Kept::Ledger { ledger: ledger.clone(), of })
    }

    /// One that ends with the process, for a push that nobody will repeat.
    #[must_use]
    pub fn in_memory() -> Self {
        Self(Kept::Memory(Arc::default()))
    }

    /// What the last push left; nothing where there is none, or where it is not understood any more.
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        let bytes = match &self.0 {
            Kept::Memory(bytes) => bytes.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            Kept::Ledger { ledger, of } => ledger
                .read(|read| match read.open_table(MEMOS) {
                    Ok(table) => Ok(table.get(of.key())?.map(|found| found.value().to_vec())),
                    Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
                    Err(error) => Err(error.into()),
                })
                .unwrap_or_else(|error| {
                    tracing::warn!(recording = %of.recording, %error, "where the push stopped cannot be read");
                    None
                }),
        }?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Leaves something for the next push. It is durable when this returns.
    ///
    /// # Errors
    /// [`PushError`] of ours where it was not written.
    pub async fn write<T: Serialize + Sync>(&self, what: &T) -> Result<(), PushError> {
        let failed = |reason: String| PushError {
            fault: Fault::Ours,
            sentence: format!("where the push is cannot be noted: {reason}"),
        };
        let bytes = serde_json::to_vec(what).map_err(|error| failed(error.to_string()))?;
        if bytes.len() > BYTES_MAX {
            return Err(failed(format!("more than {BYTES_MAX} bytes")));
        }
        self.replace(Some(bytes)).await.map_err(|error| failed(error.to_string()))
    }

    /// The next push starts over.
    ///
    /// # Errors
    /// [`LedgerError`] where the memo is still there.
    pub async fn clear(&self) -> Result<(), LedgerError> {
        self.replace(None).await
    }

    /// The same, unless it has become another since it was read: a push by hand may have begun meanwhile.
    ///
    /// # Errors
    /// [`LedgerError`] where the memo is still there.
    pub(super) async fn clear_if_still(&self, read: Vec<u8>) -> Result<(), LedgerError> {
        match &self.0 {
            Kept::Memory(kept) => {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.as_ref() == Some(&read) {
                    *kept = None;
                }
                Ok(())
            }
            Kept::Ledger { ledger, of } => {
                let of = of.clone();
                let clearing = ledger.write(move |write| {
                    let mut table = write.open_table(MEMOS)?;
                    let is_same = table.get(of.key())?.is_some_and(|kept| kept.value() == read);
                    if is_same {
                        table.remove(of.key())?;
                    }
                    Ok(())
                });
                clearing.await
            }
        }
    }

    async fn replace(&self, bytes: Option<Vec<u8>>) -> Result<(), LedgerError> {
        match &self.0 {
            Kept::Memory(kept) => {
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
                Ok(())
            }
            Kept::Ledger { ledger, of } => {
                let of = of.clone();
                ledger
                    .write(move |write| {
                        let mut table = write.open_table(MEMOS)?;
                        match bytes {
                            Some(bytes) => table.insert(of.key(), &bytes[..])?,
                            None => table.remove(of.key())?,
                        };
                        Ok(())
                    })
                    .await
            }
        }
    }
}

impl Of {
    fn key(&self) -> ([u8; 16], &str, &str) {
        (self.recording.to_bytes(), &self.destination, self.kind.as_str())
    }
}

/// Every memo there is, with what it says; at most `limit`.
///
/// # Errors
/// [`LedgerError::Read`].
pub(super) fn all(ledger: &Ledger, limit: usize) -> Result<Vec<(Of, Vec<u8>)>, LedgerError> {
    ledger.read(|read| {
        let table = match read.open_table(MEMOS) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut found = Vec::new();
        for row in table.iter()? {
            let (key, memo) = row?;
            let (id, destination, kind) = key.value();
            let Some(kind) = FileKind::from_word(kind) else { continue };
            let of = Of {
                recording: RecordingId::from_bytes(id),
                destination: destination.to_owned(),
                kind,
            };
            found.push((of, memo.value().to_vec()));
            if found.len() == limit {
                break;
            }
        }
        Ok(found)
    })
}

/// Forgets the memo of a file that is pushed.
#[derive(Debug)]
pub struct Forgetter;

impl Observer for Forgetter {
    fn changed(&self, write: &WriteTransaction, change: &Change<'_>) -> Result<(), LedgerError> {
        for event in change.events {
            if let Event::FilePushed { destination, kind, .. } = event {
                let mut table = write.open_table(MEMOS)?;
                let key = (change.after.id.to_bytes(), destination.as_str(), kind.as_str());
                table.remove(key)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_memo_is_there_again_until_its_file_is_pushed_or_it_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.redb");
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let ledger = Ledger::open(&path, now, vec![Arc::new(Forgetter)]).unwrap();
        let of = |kind| Of {
            recording: RecordingId::from_bytes([7; 16]),
            destination: "archive".into(),
            kind,
        };
        let memo = Memo::of(&ledger, of(FileKind::Main));
        assert_eq!(memo.read::<String>(), None);
        memo.write(&"upload 7").await.unwrap();
        Memo::of(&ledger, of(FileKind::Raw)).write(&"upload 8").await.unwrap();
        assert_eq!(memo.read::<String>().as_deref(), Some("upload 7"));
        assert_eq!(memo.read::<u64>(), None, "what is not understood is as good as none");
        assert_eq!(all(&ledger, 10).unwrap().len(), 2);
        memo.clear_if_still(b"\"upload 6\"".to_vec()).await.unwrap();
        assert_eq!(memo.read::<String>().as_deref(), Some("upload 7"), "it is another by now");
        memo.clear_if_still(b"\"upload 7\"".to_vec()).await.unwrap();
        assert_eq!(memo.read::<String>(), None);
        memo.write(&"upload 9").await.unwrap();
        memo.clear().await.unwrap();
        let left = all(&ledger, 10).unwrap();
        assert_eq!(left, [(of(FileKind::Raw), b"\"upload 8\"".to_vec())]);
        let long = memo.write(&"x".repeat(BYTES_MAX)).await.unwrap_err();
        assert!(long.sentence.contains("more than"), "{long}");
    }
}
