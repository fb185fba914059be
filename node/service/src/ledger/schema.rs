//! The ledger's tables, and how an older ledger becomes one of today's.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `recordings` | id (16 bytes, sorts by time) | JSON of [`Entry`] |
//! | `due` | lane, due time (ms since 1970), id | nothing |
//! | `offsets` | id | durable bytes, time of the last one (ms): for recordings still arriving |
//! | `meta` | `schema`, `latest_ms` | number |
//!
//! Version 1 held bare recordings and no `due`. Version 2 is today's.

use std::path::Path;

use holdfast_core::{Lane, Recording};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::LedgerError;

/// Today's schema version.
pub const VERSION: u64 = 2;

pub(super) type Id = [u8; 16];
pub(super) const RECORDINGS: TableDefinition<'_, Id, &[u8]> = TableDefinition::new("recordings");
pub(super) const DUE: TableDefinition<'_, (u8, i64, Id), ()> = TableDefinition::new("due");
pub(super) const OFFSETS: TableDefinition<'_, Id, (u64, i64)> = TableDefinition::new("offsets");
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

const SCHEMA_KEY: &str = "schema";
pub(super) const LATEST_KEY: &str = "latest_ms";
const CACHE_BYTES: usize = 32 << 20;

/// A recording as the ledger keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) recording: Recording,
    /// For each lane, when its work comes due and whether it is claimed.
    pub(super) slots: [Slot; Lane::ALL.len()],
}

/// The work of one recording in one lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Slot {
    /// When it comes due, in milliseconds since 1970. For claimed work, when the lease ends.
    pub(super) at_ms: Option<i64>,
    /// Whether a worker has it.
    pub(super) claimed: bool,
}

/// Makes a new ledger; one that a rebuild left half-made is emptied.
pub(super) fn make(path: &Path) -> Result<Database, LedgerError> {
    let emptied = std::fs::File::create(path);
    emptied.map_err(|error| LedgerError::Open { path: path.into(), reason: error.to_string() })?;
    open(path)
}

/// Opens or makes the file and brings it up to date.
pub(super) fn open(path: &Path) -> Result<Database, LedgerError> {
    let failed = |reason: String| LedgerError::Open { path: path.into(), reason };
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create(path)
        .map_err(|error| failed(describe_open(&error)))?;
    let version = version(&database).map_err(|error| failed(error.to_string()))?;
    match version {
        Some(VERSION) => {}
        Some(newer) if newer > VERSION => {
            return Err(failed(format!(
                "its schema is version {newer} and this program knows up to {VERSION}; use a newer program"
            )));
        }
        older => migrate(&database, older).map_err(failed)?,
    }
    Ok(database)
}

fn describe_open(error: &redb::DatabaseError) -> String {
    match error {
        redb::DatabaseError::DatabaseAlreadyOpen => {
            "another process has it open; stop the running node first".into()
        }
        other => format!("{other}; `holdfast ledger rebuild` makes a new one from the vault"),
    }
}

fn version(database: &Database) -> Result<Option<u64>, redb::Error> {
    let read = database.begin_read()?;
    match read.open_table(META) {
        Ok(meta) => Ok(meta.get(SCHEMA_KEY)?.map(|value| value.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// One transaction: either the ledger is of today's version afterwards, or it is as it was.
fn migrate(database: &Database, from: Option<u64>) -> Result<(), String> {
    let mut write = database.begin_write().map_err(|e| e.to_string())?;
    write.set_two_phase_commit(true);
    if from == Some(1) {
        from_1_to_2(&write)?;
    }
    make_tables(&write).map_err(|e| e.to_string())?;
    write.commit().map_err(|e| e.to_string())
}

fn make_tables(write: &WriteTransaction) -> Result<(), redb::Error> {
    write.open_table(RECORDINGS)?;
    write.open_table(DUE)?;
    write.open_table(OFFSETS)?;
    write.open_table(META)?.insert(SCHEMA_KEY, VERSION)?;
    Ok(())
}

fn from_1_to_2(write: &WriteTransaction) -> Result<(), String> {
    let mut bare: Vec<Recording> = Vec::new();
    {
        let table = write.open_table(RECORDINGS).map_err(|e| e.to_string())?;
        for row in table.iter().map_err(|e| e.to_string())? {
            let (_, value) = row.map_err(|e| e.to_string())?;
            bare.push(serde_json::from_slice(value.value()).map_err(|e| e.to_string())?);
        }
    }
    for recording in bare {
        let entry = Entry { recording, slots: Default::default() };
        super::store::put(write, entry, None).map_err(|e| e.to_string())?;
    }
    Ok(())
}
