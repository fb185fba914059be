//! The ledger's tables, and how an older ledger becomes one of today's.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `recordings` | id (16 bytes, sorts by time) | JSON of [`Entry`]; a slot is at its [`super::store::lane_key`] |
//! | `due` | lane, due time (ms since 1970), id | nothing |
//! | `turns` | customer, place, id | due time (ms): the lane `Process` in the order of [`super::turns`] |
//! | `turn_of` | id | its place in `turns` |
//! | `offsets` | id | durable bytes, time of the last one (ms): for recordings still arriving |
//! | `by_state` | state, id | nothing |
//! | `by_env` | environment, id | nothing |
//! | `by_account` | account, id | nothing |
//! | `meta` | `schema`, `latest_ms`, … | number |
//!
//! `due`, `turns` and the indexes follow from the recordings. Other rooms keep tables of their own in the same
//! file (settings, keys, audit log, outbox), each described where it is used.
//!
//! Version 1 held bare recordings and no `due`; version 2 had three lanes and no indexes; version 3 had
//! no `turns`. Version 4 is today's.

pub(super) use holdfast_core::entry::{Entry, Slot};
use holdfast_core::{Lane, Recording};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::Deserialize;

use super::LedgerError;
#[cfg(doc)]
use super::before;
use super::place::Place;

/// Today's schema version.
pub const VERSION: u64 = 4;

pub(super) type Id = [u8; 16];
pub(super) const RECORDINGS: TableDefinition<'_, Id, &[u8]> = TableDefinition::new("recordings");
pub(super) const DUE: TableDefinition<'_, (u8, i64, Id), ()> = TableDefinition::new("due");
pub(super) const TURNS: TableDefinition<'_, (&str, i64, Id), i64> = TableDefinition::new("turns");
pub(super) const TURN_OF: TableDefinition<'_, Id, i64> = TableDefinition::new("turn_of");
pub(super) const OFFSETS: TableDefinition<'_, Id, (u64, i64)> = TableDefinition::new("offsets");
pub(super) const BY_STATE: TableDefinition<'_, (&str, Id), ()> = TableDefinition::new("by_state");
pub(super) const BY_ENV: TableDefinition<'_, (&str, Id), ()> = TableDefinition::new("by_env");
pub(super) const BY_ACCOUNT: TableDefinition<'_, (&str, Id), ()> =
    TableDefinition::new("by_account");
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

const SCHEMA_KEY: &str = "schema";
pub(super) const LATEST_KEY: &str = "latest_ms";
const CACHE_BYTES: usize = 32 << 20;

/// An entry of version 2.
#[derive(Deserialize)]
struct Entry2 {
    recording: Recording,
    slots: [Slot; 3],
}

/// Opens or makes the file and brings it up to date, or back to what this program knows: see [`before`].
pub(super) fn open(place: &Place) -> Result<Database, LedgerError> {
    let failed = |reason: String| LedgerError::Open { path: place.path().into(), reason };
    let (mut database, mut version) = open_as_it_is(place)?;
    if let Some(newer) = version.filter(|version| *version > VERSION) {
        drop(database);
        let aside = place.put_back(VERSION, newer).map_err(|why| {
            failed(format!(
                "its schema is version {newer} and this program knows up to {VERSION}; use a newer program ({why})"
            ))
        })?;
        tracing::error!(
            newer,
            path = %aside.display(),
            "the ledger was a newer program's: the one from before it goes on; settings, keys and entries of the \
             audit log that were made since are in the file put aside"
        );
        (database, version) = open_as_it_is(place)?;
    }
    if version == Some(VERSION) {
        return Ok(database);
    }
    if let Some(older) = version {
        drop(database);
        place.keep(older).map_err(|error| {
            failed(format!("a copy of it cannot be kept before it is migrated: {error}"))
        })?;
        (database, version) = open_as_it_is(place)?;
    }
    migrate(&database, version).map_err(failed)?;
    Ok(database)
}

fn open_as_it_is(place: &Place) -> Result<(Database, Option<u64>), LedgerError> {
    let failed = |reason: String| LedgerError::Open { path: place.path().into(), reason };
    let database = place
        .database(Database::builder().set_cache_size(CACHE_BYTES))
        .map_err(|error| failed(describe_open(&error)))?;
    let version = version(&database).map_err(|error| failed(error.to_string()))?;
    Ok((database, version))
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
    match from {
        Some(1) => from_1(&write)?,
        Some(2) => from_2(&write)?,
        Some(3) => from_3(&write)?,
        _ => {}
    }
    make_tables(&write).map_err(|e| e.to_string())?;
    write.commit().map_err(|e| e.to_string())
}

fn make_tables(write: &WriteTransaction) -> Result<(), redb::Error> {
    write.open_table(RECORDINGS)?;
    write.open_table(DUE)?;
    write.open_table(TURNS)?;
    write.open_table(TURN_OF)?;
    write.open_table(OFFSETS)?;
    write.open_table(BY_STATE)?;
    write.open_table(BY_ENV)?;
    write.open_table(BY_ACCOUNT)?;
    write.open_table(META)?.insert(SCHEMA_KEY, VERSION)?;
    Ok(())
}

fn from_1(write: &WriteTransaction) -> Result<(), String> {
    for recording in rows::<Recording>(write)? {
        super::store::put(write, None, Entry::new(recording), None).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// The lane of rules of time is new, so every due time is worked out anew; claims stay claims.
fn from_2(write: &WriteTransaction) -> Result<(), String> {
    write.delete_table(DUE).map_err(|e| e.to_string())?;
    for old in rows::<Entry2>(write)? {
        let claimed = old.slots.map(|slot| slot.claimed);
        super::store::put_interrupted(write, old.recording, claimed).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// Whose turn it is, is new.
fn from_3(write: &WriteTransaction) -> Result<(), String> {
    let process = usize::from(super::store::lane_key(Lane::Process));
    for entry in rows::<Entry>(write)? {
        super::turns::set(write, &entry.recording, entry.slots[process])
            .map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn rows<T: serde::de::DeserializeOwned>(write: &WriteTransaction) -> Result<Vec<T>, String> {
    let table = write.open_table(RECORDINGS).map_err(|e| e.to_string())?;
    let mut rows = Vec::new();
    for row in table.iter().map_err(|e| e.to_string())? {
        let (_, value) = row.map_err(|e| e.to_string())?;
        rows.push(serde_json::from_slice(value.value()).map_err(|e| e.to_string())?);
    }
    Ok(rows)
}
