//! Keys as the ledger keeps them.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `keys` | id | JSON of [`Row`]: of what opens, the SHA-256 alone |
//! | `key_uses` | id | when it was last noted to be used (ms since 1970), declared keys too |
//! | `keys_declared` | id | SHA-256 of what the configuration file said of it at the last start |

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{Key, Origin, Scope};
use crate::digest;
use crate::ledger::LedgerError;

const KEYS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("keys");
const USES: TableDefinition<'_, &str, i64> = TableDefinition::new("key_uses");
const DECLARED: TableDefinition<'_, &str, &str> = TableDefinition::new("keys_declared");

/// A key that the API made, without its id.
#[derive(Serialize, Deserialize)]
struct Row {
    name: String,
    scope: Scope,
    env_ids: Option<Vec<String>>,
    created_at: Timestamp,
    sha256: String,
}

/// The keys that the API made, and when each was last noted to be used.
pub(super) fn load(
    read: &ReadTransaction,
) -> Result<(Vec<Key>, HashMap<String, Timestamp>), LedgerError> {
    let (mut keys, mut uses) = (Vec::new(), HashMap::new());
    if let Some(table) = there(read.open_table(KEYS))? {
        for row in table.iter()? {
            let (id, value) = row?;
            let row: Row = serde_json::from_slice(value.value())
                .map_err(|error| LedgerError::Read(format!("key {:?}: {error}", id.value())))?;
            keys.push(Key {
                id: id.value().to_owned(),
                name: row.name,
                scope: row.scope,
                env_ids: row.env_ids,
                origin: Origin::Api,
                created_at: Some(row.created_at),
                sha256: row.sha256,
            });
        }
    }
    if let Some(table) = there(read.open_table(USES))? {
        for row in table.iter()? {
            let (id, at_ms) = row?;
            let at = Timestamp::from_millisecond(at_ms.value()).unwrap_or(Timestamp::UNIX_EPOCH);
            uses.insert(id.value().to_owned(), at);
        }
    }
    Ok((keys, uses))
}

/// A table, unless nothing was ever written to it.
fn there<T>(opened: Result<T, TableError>) -> Result<Option<T>, LedgerError> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn put(write: &WriteTransaction, key: &Key) -> Result<(), LedgerError> {
    let row = Row {
        name: key.name.clone(),
        scope: key.scope,
        env_ids: key.env_ids.clone(),
        created_at: key.created_at.unwrap_or(Timestamp::UNIX_EPOCH),
        sha256: key.sha256.clone(),
    };
    let json = serde_json::to_vec(&row).map_err(|error| LedgerError::Write(error.to_string()))?;
    write.open_table(KEYS)?.insert(key.id.as_str(), json.as_slice())?;
    Ok(())
}

pub(super) fn remove(write: &WriteTransaction, id: &str) -> Result<(), LedgerError> {
    write.open_table(KEYS)?.remove(id)?;
    write.open_table(USES)?.remove(id)?;
    Ok(())
}

/// Notes when a key was used, and forgets keys that are not known any more.
pub(super) fn note_use(
    write: &WriteTransaction,
    id: &str,
    at: Timestamp,
    known: &[String],
) -> Result<(), LedgerError> {
    let mut table = write.open_table(USES)?;
    table.retain(|id, _| known.iter().any(|known| known == id))?;
    table.insert(id, at.as_millisecond())?;
    Ok(())
}

/// A key that is declared differently since the last start: its id, and the key where there is one now.
pub(super) type Differing = (String, Option<Arc<Key>>);

/// Notes what the configuration file declares now; answers what differs from the last start.
pub(super) fn note_declared(
    write: &WriteTransaction,
    now: &[Arc<Key>],
) -> Result<Vec<Differing>, LedgerError> {
    let mut table = write.open_table(DECLARED)?;
    let mut differing = Vec::new();
    for row in table.iter()? {
        let id = row?.0.value().to_owned();
        if !now.iter().any(|key| key.id == id) {
            differing.push((id, None));
        }
    }
    for (id, _) in &differing {
        table.remove(id.as_str())?;
    }
    for key in now {
        let said = digest::of(format!("{key:?}").as_bytes());
        let before = table.insert(key.id.as_str(), said.as_str())?;
        if before.is_none_or(|before| before.value() != said) {
            differing.push((key.id.clone(), Some(Arc::clone(key))));
        }
    }
    Ok(differing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, scope: Scope) -> Arc<Key> {
        Arc::new(Key {
            id: id.into(),
            name: id.into(),
            scope,
            env_ids: None,
            origin: Origin::Config,
            created_at: None,
            sha256: digest::of(id.as_bytes()),
        })
    }

    #[test]
    fn what_is_declared_differently_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let database = redb::Database::create(folder.path().join("ledger.redb")).unwrap();
        let note = |keys: &[Arc<Key>]| {
            let write = database.begin_write().unwrap();
            let differing = note_declared(&write, keys).unwrap();
            write.commit().unwrap();
            differing.into_iter().map(|(id, is)| (id, is.is_some())).collect::<Vec<_>>()
        };
        let (a, b) = (key("a", Scope::Admin), key("b", Scope::Read));
        assert_eq!(note(&[a.clone(), b.clone()]), [("a".into(), true), ("b".into(), true)]);
        assert_eq!(note(&[a.clone(), b]), []);
        assert_eq!(note(&[a.clone(), key("b", Scope::Manage)]), [("b".into(), true)]);
        assert_eq!(note(&[a]), [("b".into(), false)]);
    }
}
