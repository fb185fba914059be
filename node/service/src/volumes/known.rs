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
pub(crate) fn all(read: &ReadTransaction) -> Result<Vec<(VolumeId, Known)>, LedgerError> {
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

/// Notes that a volume is there, under this name. Answers what was known of it before.
pub(super) async fn seen(
    node: &Node,
    id: VolumeId,
    name: &str,
) -> Result<Option<Known>, NodeError> {
    let (called, seen_at) = (name.to_owned(), node.clock.now());
    let before = node.ledger.write(move |write| {
        let mut known = None;
        change(write, id, |before| {
            let behind = before.as_ref().is_some_and(|before| before.behind);
            known = before;
            Some(Known { name: called, seen_at, behind })
        })?;
        Ok(known)
    });
    let before = before.await?;
    node.vault.set_known(id, name, before.as_ref().is_some_and(|before| before.behind));
    Ok(before)
}

/// Notes whether its folders are behind. Notes are left out only while the ledger says that they are.
pub(super) async fn set_behind(node: &Node, id: VolumeId, behind: bool) -> Result<(), NodeError> {
    let seen_at = node.clock.now();
    let name = node.ledger.read(all)?.into_iter().find(|(it, _)| *it == id);
    let name = name.map_or_else(String::new, |(_, known)| known.name);
    if !behind {
        node.vault.set_known(id, &name, false);
    }
    let called = name.clone();
    let noted = node.ledger.write(move |write| {
        change(write, id, |_| Some(Known { name: called, seen_at, behind })).map(drop)
    });
    noted.await?;
    node.vault.set_known(id, &name, behind);
    Ok(())
}

/// Takes what an older ledger knows over, where volumes that are not `here` count as behind.
///
/// # Errors
/// [`LedgerError`].
pub(crate) fn carry_over(
    known: Vec<(VolumeId, Known)>,
    write: &WriteTransaction,
    here: &[VolumeId],
) -> Result<(), LedgerError> {
    for (id, known) in known {
        let behind = known.behind || !here.contains(&id);
        change(write, id, |_| Some(Known { behind, ..known }))?;
    }
    Ok(())
}
