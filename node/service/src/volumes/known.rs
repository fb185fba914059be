//! The volumes that this node has used. Format: table `volumes`, the volume's id (16 bytes) to JSON of
//! [`Known`].

use holdfast_core::names::VolumeId;
use jiff::Timestamp;
use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::ledger::LedgerError;
use crate::node::{Node, NodeError};

const VOLUMES: TableDefinition<'_, [u8; 16], &[u8]> = TableDefinition::new("volumes");

/// A volume that this node has used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// What it was called.
    pub name: String,
    /// When it was last seen to come or go.
    pub seen_at: Timestamp,
    /// Whether its folders do not know everything that the ledger knows of their recordings.
    #[serde(default)]
    pub behind: bool,
}

/// All of them.
///
/// # Errors
/// [`LedgerError`].
pub(super) fn all(read: &ReadTransaction) -> Result<Vec<(VolumeId, Known)>, LedgerError> {
    let table = match read.open_table(VOLUMES) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for row in table.iter()? {
        let (id, json) = row?;
        if let Ok(known) = serde_json::from_slice(json.value()) {
            found.push((VolumeId::from_bytes(id.value()), known));
        }
    }
    Ok(found)
}

fn change(
    write: &WriteTransaction,
    id: VolumeId,
    edit: impl FnOnce(Option<Known>) -> Option<Known>,
) -> Result<Option<Known>, LedgerError> {
    let mut table = write.open_table(VOLUMES)?;
    let before = table.get(id.to_bytes())?;
    let before = before.and_then(|json| serde_json::from_slice(json.value()).ok());
    let after = edit(before);
    if let Some(known) = &after {
        let json = serde_json::to_vec(known).unwrap_or_default();
        table.insert(id.to_bytes(), json.as_slice())?;
    }
    Ok(after)
}

/// Notes that a volume is there, under this name. Answers what is known of it.
pub(super) async fn seen(node: &Node, id: VolumeId, name: &str) -> Result<Known, NodeError> {
    let (name, seen_at) = (name.to_owned(), node.clock.now());
    let known = node.ledger.write(move |write| {
        change(write, id, |before| {
            let behind = before.is_some_and(|before| before.behind);
            Some(Known { name, seen_at, behind })
        })
    });
    Ok(known.await?.unwrap_or(Known { name: String::new(), seen_at, behind: false }))
}

/// Notes whether its folders are behind.
pub(super) async fn set_behind(node: &Node, id: VolumeId, behind: bool) -> Result<(), NodeError> {
    let seen_at = node.clock.now();
    let noted = node.ledger.write(move |write| {
        change(write, id, |before| {
            let name = before.map_or_else(String::new, |before| before.name);
            Some(Known { name, seen_at, behind })
        })
    });
    noted.await?;
    Ok(())
}
