//! Receipts of volumes' erasures, entered in the audit log: so they are signed, and an auditor sees whether one
//! is missing. `holdfast-volume` keeps them, whoever had it erase, and whether the node ran then.
//!
//! Format: table `volumes_erased`, `volume/uuid/instant` to nothing: what was entered. A ledger that was made
//! anew has none, and the log may have a receipt twice then.

use std::sync::Arc;
use std::time::Duration;

use redb::{TableDefinition, TableError, WriteTransaction};

use super::helper::{self, ErasedView, LuksView};
use crate::audit::{Act, AuditLog};
use crate::ledger::LedgerError;
use crate::node::Node;

const ERASED: TableDefinition<'_, &str, ()> = TableDefinition::new("volumes_erased");
/// Who did it, as the log has it.
const BY: &str = "holdfast-volume";
/// Pause between two looks, and until the first.
const PAUSE: Duration = Duration::from_secs(600);
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// Looks for new receipts until the node stops. Comes to an end at once where no volume could have one.
pub async fn run(node: Arc<Node>) {
    let mut pause = FIRST_PAUSE;
    while node.vault.volumes().iter().any(|volume| !volume.is_plain()) {
        tokio::select! {
            () = node.clock.sleep_until(None, pause, pause) => {}
            () = node.stop.cancelled() => return,
        }
        pause = PAUSE;
        match helper::status().await {
            Ok(luks) => note(&node, &luks).await,
            Err(error) => tracing::debug!(%error, "whether a volume was erased is not known"),
        }
    }
}

/// Enters the receipts that are not in the log yet.
pub async fn note(node: &Node, luks: &[LuksView]) {
    let all = luks.iter().flat_map(|it| it.erased.iter().map(|erased| (&it.volume, erased)));
    let all: Vec<(String, ErasedView)> = all.map(|(name, it)| (name.clone(), it.clone())).collect();
    if all.is_empty() {
        return;
    }
    let news = node.ledger.read(|read| {
        let table = match read.open_table(ERASED) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(true),
            other => other?,
        };
        for (volume, erased) in &all {
            if table.get(place(volume, erased).as_str())?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    });
    let (audit, now) = (node.audit.clone(), node.clock.now());
    let noted = match news {
        Ok(false) => return,
        Ok(true) => node.ledger.write(move |write| enter(&audit, write, now, all)).await,
        Err(error) => Err(error),
    };
    if let Err(error) = noted {
        tracing::error!(%error, "the receipt of a volume's erasure is not in the audit log yet");
    }
}

fn enter(
    audit: &AuditLog,
    write: &WriteTransaction,
    now: jiff::Timestamp,
    all: Vec<(String, ErasedView)>,
) -> Result<(), LedgerError> {
    for (volume, erased) in all {
        let place = place(&volume, &erased);
        if write.open_table(ERASED)?.insert(place.as_str(), ())?.is_none() {
            tracing::warn!(
                volume_name = volume,
                "a volume was erased: its receipt is in the audit log"
            );
            audit.append(write, now, BY, &Act::VolumeErased { volume, erased })?;
        }
    }
    Ok(())
}

fn place(volume: &str, erased: &ErasedView) -> String {
    format!("{volume}/{}/{}", erased.uuid, erased.erased_at)
}
