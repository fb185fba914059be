//! What came of requests with an `Idempotency-Key`, as the ledger keeps it.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `replays` | caller, key | when it began (ms since 1970), the sealed record |
//! | `replays_by_time` | when it began, caller, key | nothing |
//!
//! What is older than [`KEPT`] goes when the next request with a key begins: nothing is written
//! while nobody asks for anything.

use jiff::{SignedDuration, Timestamp};
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use crate::ledger::LedgerError;

/// How long the answer to a request is kept.
pub(super) const KEPT: SignedDuration = SignedDuration::from_hours(24);
/// Most requests of one caller of which the answers are kept; the oldest make way.
const OF_CALLER_MAX: usize = 500;
/// Most that is forgotten in one transaction.
const FORGOTTEN_MAX: usize = 200;

const REPLAYS: TableDefinition<'_, (&str, &str), (i64, &str)> = TableDefinition::new("replays");
const BY_TIME: TableDefinition<'_, (i64, &str, &str), ()> = TableDefinition::new("replays_by_time");

/// Whose request, and which.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// The id of the caller's key.
    pub(super) caller: String,
    /// The `Idempotency-Key`.
    pub(super) key: String,
}

impl Place {
    /// What its record is sealed for.
    pub(super) fn context(&self) -> String {
        format!("answer to {:?}: {:?}", self.caller, self.key)
    }
}

/// Notes that a request begins, unless something is kept of one: then answers with that.
pub(super) fn begin(
    write: &WriteTransaction,
    place: &Place,
    now: Timestamp,
    sealed: &str,
) -> Result<Option<String>, LedgerError> {
    forget_old(write, now)?;
    let mut table = write.open_table(REPLAYS)?;
    let (caller, key) = (place.caller.as_str(), place.key.as_str());
    if let Some(kept) = table.get((caller, key))? {
        let (at_ms, sealed) = kept.value();
        if at_ms >= oldest_ms(now) {
            return Ok(Some(sealed.to_owned()));
        }
    }
    let (mut count, mut oldest) = (0, None);
    // Keys are ASCII, so every one of the caller's is in this range.
    for row in table.range((caller, "")..(caller, "\u{80}"))? {
        let (place, value) = row?;
        let at_ms = value.value().0;
        count += 1;
        if oldest.as_ref().is_none_or(|(oldest_ms, _)| at_ms < *oldest_ms) {
            oldest = Some((at_ms, place.value().1.to_owned()));
        }
    }
    let mut by_time = write.open_table(BY_TIME)?;
    if let Some((at_ms, oldest)) = oldest.filter(|_| count >= OF_CALLER_MAX) {
        table.remove((caller, oldest.as_str()))?;
        by_time.remove((at_ms, caller, oldest.as_str()))?;
    }
    let now_ms = now.as_millisecond();
    let before = table.insert((caller, key), (now_ms, sealed))?.map(|before| before.value().0);
    if let Some(at_ms) = before {
        by_time.remove((at_ms, caller, key))?;
    }
    by_time.insert((now_ms, caller, key), ())?;
    Ok(None)
}

/// Keeps what came of a request that began.
pub(super) fn finish(
    write: &WriteTransaction,
    place: &Place,
    began: Timestamp,
    sealed: &str,
) -> Result<(), LedgerError> {
    let (caller, key, began_ms) =
        (place.caller.as_str(), place.key.as_str(), began.as_millisecond());
    write.open_table(REPLAYS)?.insert((caller, key), (began_ms, sealed))?;
    write.open_table(BY_TIME)?.insert((began_ms, caller, key), ())?;
    Ok(())
}

/// Forgets a request that did nothing.
pub(super) fn forget(
    write: &WriteTransaction,
    place: &Place,
    began: Timestamp,
) -> Result<(), LedgerError> {
    let (caller, key) = (place.caller.as_str(), place.key.as_str());
    write.open_table(REPLAYS)?.remove((caller, key))?;
    write.open_table(BY_TIME)?.remove((began.as_millisecond(), caller, key))?;
    Ok(())
}

fn oldest_ms(now: Timestamp) -> i64 {
    now.checked_sub(KEPT).unwrap_or(Timestamp::MIN).as_millisecond()
}

fn forget_old(write: &WriteTransaction, now: Timestamp) -> Result<(), LedgerError> {
    let mut by_time = write.open_table(BY_TIME)?;
    let mut old = Vec::new();
    for row in by_time.range(..(oldest_ms(now), "", ""))?.take(FORGOTTEN_MAX) {
        let (place, ()) = row.map(|(place, _)| (place, ()))?;
        let (at_ms, caller, key) = place.value();
        old.push((at_ms, caller.to_owned(), key.to_owned()));
    }
    let mut table = write.open_table(REPLAYS)?;
    for (at_ms, caller, key) in &old {
        by_time.remove((*at_ms, caller.as_str(), key.as_str()))?;
        table.remove((caller.as_str(), key.as_str()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use redb::{ReadableDatabase, ReadableTableMetadata};

    use super::*;

    fn place(caller: &str, key: &str) -> Place {
        Place { caller: caller.into(), key: key.into() }
    }

    fn counts(database: &redb::Database) -> (u64, u64) {
        let read = database.begin_read().unwrap();
        let (kept, by_time) =
            (read.open_table(REPLAYS).unwrap(), read.open_table(BY_TIME).unwrap());
        (kept.len().unwrap(), by_time.len().unwrap())
    }

    #[test]
    fn answers_are_kept_for_a_day_and_so_many_of_each_caller() {
        let folder = tempfile::tempdir().unwrap();
        let database = redb::Database::create(folder.path().join("ledger.redb")).unwrap();
        let start = Timestamp::from_second(1_764_000_000).unwrap();
        let at = |seconds: i64| start + SignedDuration::from_secs(seconds);
        let begin = |caller: &str, key: &str, now| {
            let write = database.begin_write().unwrap();
            let found = begin(&write, &place(caller, key), now, "begun").unwrap();
            write.commit().unwrap();
            found
        };
        assert_eq!(begin("a", "1", at(0)), None);
        assert_eq!(begin("b", "1", at(0)), None);
        assert_eq!(begin("a", "1", at(1)), Some("begun".into()));
        let write = database.begin_write().unwrap();
        finish(&write, &place("a", "1"), at(0), "done").unwrap();
        write.commit().unwrap();
        assert_eq!(begin("a", "1", at(86_400)), Some("done".into()));
        assert_eq!(counts(&database), (2, 2));
        // A day later it is a new request.
        assert_eq!(begin("a", "1", at(86_401)), None);
        assert_eq!(counts(&database), (1, 1));
        for n in 0..OF_CALLER_MAX + 20 {
            let seconds = 86_402 + i64::try_from(n).unwrap();
            assert_eq!(begin("c", &n.to_string(), at(seconds)), None);
        }
        let kept = OF_CALLER_MAX as u64 + 1;
        assert_eq!(counts(&database), (kept, kept));
        assert_eq!(begin("c", "19", at(90_000)), None, "it had made way");
        assert_eq!(begin("c", "519", at(90_000)), Some("begun".into()));
        let write = database.begin_write().unwrap();
        forget(&write, &place("c", "19"), at(90_000)).unwrap();
        write.commit().unwrap();
        assert_eq!(counts(&database), (kept - 1, kept - 1));
    }
}
