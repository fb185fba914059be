//! The chain of entries in the ledger.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `audit` | sequence number, from 1, without gaps | latest instant so far (ms since 1970), the entry's digest, its line |
//!
//! Invariants: entries are only ever added, each behind the last; what is needed to add one is read
//! in the same transaction, so that one that was undone leaves no trace.

use jiff::Timestamp;
use redb::{
    ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction,
};
use serde_json::{Map, Value};

use super::key::Signer;
use super::line::{Hash, Sealed, seal};
use crate::digest::hex;
use crate::ledger::LedgerError;

type Kept = (i64, Hash, &'static [u8]);
type Table = ReadOnlyTable<u64, Kept>;

const AUDIT: TableDefinition<'_, u64, Kept> = TableDefinition::new("audit");

/// Entries that are read in one go.
const PAGE_ENTRIES_MAX: usize = 512;
/// Bytes after which a page of entries ends.
const PAGE_BYTES_MAX: usize = 256 << 10;
/// Longest name of whoever did something, in characters.
const BY_CHARS_MAX: usize = 200;

/// What stands before the first entry.
pub(super) const BEGINNING: Hash = [0; 32];

/// An entry's place and digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its sequence number.
    pub seq: u64,
    /// Its digest.
    pub hash: Hash,
}

/// A stretch of the log, as it is exported.
#[derive(Debug, Clone)]
pub struct Stretch {
    /// Its first and its last entry; nothing where it has none.
    pub(super) ends: Option<(u64, Head)>,
    /// The newest entry of all.
    pub(super) head: Option<Head>,
}

/// An entry as it is kept.
pub(super) struct Row {
    pub(super) seq: u64,
    pub(super) latest_ms: i64,
    pub(super) hash: Hash,
    pub(super) line: Vec<u8>,
}

/// Adds an entry behind the last.
pub(super) fn append(
    write: &WriteTransaction,
    signer: &Signer,
    now: Timestamp,
    by: &str,
    what: Value,
) -> Result<Head, LedgerError> {
    let mut table = write.open_table(AUDIT)?;
    let last = table.last()?.map(|(seq, row)| (seq.value(), row.value().0, row.value().1));
    let (seq, latest_ms, prev) = last.unwrap_or((0, i64::MIN, BEGINNING));
    let seq = seq + 1;
    let by: String = by.chars().take(BY_CHARS_MAX).collect();
    let members = Map::from_iter([
        ("seq".into(), seq.into()),
        ("at".into(), now.to_string().into()),
        ("by".into(), by.into()),
        ("what".into(), what),
        ("prev".into(), hex(&prev).into()),
    ]);
    let no_form = || LedgerError::Write(format!("audit entry {seq} cannot be put into its form"));
    let Sealed { hash, line } = seal(signer, members).ok_or_else(no_form)?;
    table.insert(seq, (latest_ms.max(now.as_millisecond()), hash, line.as_slice()))?;
    Ok(Head { seq, hash })
}

/// Adds an entry that was signed before, with the number it had.
pub(super) fn carry(write: &WriteTransaction, row: &Row) -> Result<(), LedgerError> {
    let mut table = write.open_table(AUDIT)?;
    table.insert(row.seq, (row.latest_ms, row.hash, row.line.as_slice()))?;
    Ok(())
}

/// The newest entry's line, within a write transaction.
pub(super) fn newest(write: &WriteTransaction) -> Result<Option<Vec<u8>>, LedgerError> {
    let table = write.open_table(AUDIT)?;
    Ok(table.last()?.map(|(_, row)| row.value().2.to_vec()))
}

fn table(read: &ReadTransaction) -> Result<Option<Table>, LedgerError> {
    match read.open_table(AUDIT) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The newest entry.
pub(super) fn head(read: &ReadTransaction) -> Result<Option<Head>, LedgerError> {
    let Some(table) = table(read)? else { return Ok(None) };
    Ok(table.last()?.map(|(seq, row)| Head { seq: seq.value(), hash: row.value().1 }))
}

/// From the first entry that was made at `from` or later, until before the first that was made at
/// `to` or later. Where the clock was set back in between, what was made then comes along: a stretch
/// has no gaps.
pub(super) fn stretch(
    read: &ReadTransaction,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> Result<Stretch, LedgerError> {
    let head = head(read)?;
    let (Some(table), Some(newest)) = (table(read)?, head) else {
        return Ok(Stretch { ends: None, head: None });
    };
    let from = from.map_or(Ok(1), |at| reached(&table, newest.seq, at))?;
    let to = to.map_or(Ok(newest.seq + 1), |at| reached(&table, newest.seq, at))?;
    if from >= to {
        return Ok(Stretch { ends: None, head });
    }
    let seq = to - 1;
    let row = table.get(seq)?.ok_or_else(|| gap(seq))?;
    let last = Head { seq, hash: row.value().1 };
    Ok(Stretch { ends: Some((from, last)), head })
}

/// The first entry by which this instant was reached; one behind the newest where it was not.
fn reached(table: &Table, newest: u64, at: Timestamp) -> Result<u64, LedgerError> {
    let (mut low, mut high) = (1, newest + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let row = table.get(middle)?.ok_or_else(|| gap(middle))?;
        // Instants have nothing below the millisecond in the log, but may have it in a question.
        let latest = Timestamp::from_millisecond(row.value().0).unwrap_or(Timestamp::MAX);
        if latest >= at { high = middle } else { low = middle + 1 }
    }
    Ok(low)
}

fn gap(seq: u64) -> LedgerError {
    LedgerError::Read(format!("entry {seq} of the audit log is missing"))
}

/// Some entries from this one on, as far as one page goes, and none behind `last`. Without any, there
/// are no more.
pub(super) fn page(read: &ReadTransaction, from: u64, last: u64) -> Result<Vec<Row>, LedgerError> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    let Some(table) = table(read)?.filter(|_| from <= last) else { return Ok(rows) };
    for row in table.range(from..=last)? {
        let (seq, row) = row?;
        let (latest_ms, hash, line) = row.value();
        bytes += line.len();
        rows.push(Row { seq: seq.value(), latest_ms, hash, line: line.to_vec() });
        if rows.len() == PAGE_ENTRIES_MAX || bytes >= PAGE_BYTES_MAX {
            break;
        }
    }
    Ok(rows)
}

/// The line with which an export begins.
pub(super) fn head_line(signer: &Signer, stretch: &Stretch, now: Timestamp) -> Option<Vec<u8>> {
    let (first, last) = stretch.ends.unzip();
    let seq = |head: Option<Head>| Value::from(head.map(|head| head.seq));
    let hash = |head: Option<Head>| Value::from(head.map(|head| hex(&head.hash)));
    let export = Map::from_iter([
        ("first".into(), first.into()),
        ("last".into(), seq(last)),
        ("last_hash".into(), hash(last)),
        ("newest".into(), seq(stretch.head)),
        ("newest_hash".into(), hash(stretch.head)),
    ]);
    let members = Map::from_iter([
        ("at".into(), now.to_string().into()),
        ("export".into(), Value::Object(export)),
        ("public_key".into(), signer.public().to_base64().into()),
    ]);
    Some(seal(signer, members)?.line)
}
