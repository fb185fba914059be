//! Settings that the API made, as the ledger keeps them, and their copy in the vault.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `settings` | kind, id | JSON of the thing; secrets in it are sealed with the node's key |
//! | `declared` | kind, id | SHA-256 of what the configuration file declared at the last start |

use std::collections::BTreeMap;

use holdfast_core::account::Account;
use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::webhook::MadeWebhook;
use crate::config::{Destination, Environment};
use crate::ledger::LedgerError;
use crate::vault::{Vault, VaultError};

const SETTINGS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("settings");
const DECLARED: TableDefinition<'_, (&str, &str), &str> = TableDefinition::new("declared");

/// The copy's name in the vault.
const COPY: &str = "settings.json";
/// Largest copy that is read, in bytes.
const COPY_BYTES_MAX: u64 = 256 << 20;

/// The kinds of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Whoever pays, or tries.
    Account,
    /// A customer's settings.
    Environment,
    /// Where recordings are pushed to.
    Destination,
    /// Who is told what happens.
    Webhook,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Account, Self::Environment, Self::Destination, Self::Webhook];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Environment => "environment",
            Self::Destination => "destination",
            Self::Webhook => "webhook",
        }
    }
}

/// A setting.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "thing", rename_all = "snake_case")]
pub(super) enum Thing {
    Account(Account),
    Environment(Environment),
    Destination(Destination),
    Webhook(MadeWebhook),
}

impl Thing {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Account(_) => Kind::Account,
            Self::Environment(_) => Kind::Environment,
            Self::Destination(_) => Kind::Destination,
            Self::Webhook(_) => Kind::Webhook,
        }
    }

    pub(super) fn id(&self) -> &str {
        match self {
            Self::Account(account) => &account.id,
            Self::Environment(environment) => &environment.id,
            Self::Destination(made) => made.name(),
            Self::Webhook(made) => &made.id,
        }
    }

    fn to_json(&self) -> serde_json::Result<Value> {
        match self {
            Self::Account(account) => serde_json::to_value(account),
            Self::Environment(environment) => serde_json::to_value(environment),
            Self::Destination(made) => serde_json::to_value(made),
            Self::Webhook(made) => serde_json::to_value(made),
        }
    }

    fn from_json(kind: &str, value: Value) -> Result<Self, String> {
        let thing = match kind {
            "account" => serde_json::from_value(value).map(Self::Account),
            "environment" => serde_json::from_value(value).map(Self::Environment),
            "destination" => serde_json::from_value(value).map(Self::Destination),
            "webhook" => serde_json::from_value(value).map(Self::Webhook),
            other => return Err(format!("there is no kind of setting called {other:?}")),
        };
        thing.map_err(|error| error.to_string())
    }
}

/// What the API made, by kind and id.
pub(super) type Rows = BTreeMap<(Kind, String), Thing>;

/// What the API made; nothing where the ledger is new, and never had any.
pub(super) fn load(read: &ReadTransaction) -> Result<Option<Rows>, LedgerError> {
    let table = match read.open_table(SETTINGS) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut rows = Rows::new();
    for row in table.iter()? {
        let (key, value) = row?;
        let (kind, id) = key.value();
        let damaged = |reason| LedgerError::Read(format!("setting {kind} {id:?}: {reason}"));
        let value = serde_json::from_slice(value.value()).map_err(|e| damaged(e.to_string()))?;
        let thing = Thing::from_json(kind, value).map_err(damaged)?;
        rows.insert((thing.kind(), id.to_owned()), thing);
    }
    Ok(Some(rows))
}

/// Writes one, in the transaction that says who did it.
pub(super) fn put(write: &WriteTransaction, thing: &Thing) -> Result<(), LedgerError> {
    let json = thing.to_json().and_then(|value| serde_json::to_vec(&value));
    let json = json.map_err(|error| LedgerError::Write(error.to_string()))?;
    write.open_table(SETTINGS)?.insert((thing.kind().as_str(), thing.id()), json.as_slice())?;
    Ok(())
}

/// Removes one.
pub(super) fn remove(write: &WriteTransaction, kind: Kind, id: &str) -> Result<(), LedgerError> {
    write.open_table(SETTINGS)?.remove((kind.as_str(), id))?;
    Ok(())
}

/// Makes the table, so that an empty one is known from none.
pub(super) fn make(write: &WriteTransaction) -> Result<(), LedgerError> {
    write.open_table(SETTINGS)?;
    Ok(())
}

/// Notes what the configuration file declares now; answers what differs from the last start: kind,
/// id, whether it was there, whether it is.
pub(super) fn note_declared(
    write: &WriteTransaction,
    now: &BTreeMap<(Kind, String), String>,
) -> Result<Vec<(Kind, String, bool, bool)>, LedgerError> {
    let mut table = write.open_table(DECLARED)?;
    let mut differing = Vec::new();
    let mut before = Vec::new();
    for row in table.iter()? {
        let (key, _) = row?;
        before.push((key.value().0.to_owned(), key.value().1.to_owned()));
    }
    for (kind_word, id) in before {
        let found = now.keys().any(|(kind, of)| kind.as_str() == kind_word && *of == id);
        if !found {
            table.remove((kind_word.as_str(), id.as_str()))?;
            let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == kind_word);
            differing.extend(kind.map(|kind| (kind, id, true, false)));
        }
    }
    for ((kind, id), sha256) in now {
        let old = table.insert((kind.as_str(), id.as_str()), sha256.as_str())?;
        let old = old.map(|old| old.value().to_owned());
        if old.as_ref() != Some(sha256) {
            differing.push((*kind, id.clone(), old.is_some(), true));
        }
    }
    Ok(differing)
}

#[derive(Serialize, Deserialize)]
struct Copy {
    version: u32,
    things: Vec<Thing>,
}

/// Writes a copy of all that the API made into the vault, so that a ledger made anew has it again.
/// Secrets are as sealed there as in the ledger. Blocks.
pub(super) fn write_copy(vault: &Vault, rows: &Rows) -> Result<(), VaultError> {
    let copy = Copy { version: 1, things: rows.values().cloned().collect() };
    let bytes = serde_json::to_vec_pretty(&copy).map_err(|error| failed("write", error))?;
    vault.keep_copy(COPY, &bytes)
}

/// The copy in the vault, if there is one. Blocks.
pub(super) fn read_copy(vault: &Vault) -> Result<Option<Rows>, VaultError> {
    let Some(bytes) = vault.copy(COPY, COPY_BYTES_MAX)? else { return Ok(None) };
    let copy: Copy = serde_json::from_slice(&bytes).map_err(|error| failed("read", error))?;
    Ok(Some(copy.things.into_iter().map(|t| ((t.kind(), t.id().to_owned()), t)).collect()))
}

fn failed(action: &'static str, error: serde_json::Error) -> VaultError {
    VaultError::Io { action, path: COPY.into(), source: error.into() }
}
