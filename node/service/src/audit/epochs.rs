//! When keys of deleted recordings ceased to exist: an entry for each epoch that was destroyed.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `audit_epochs` | nothing | the newest epoch whose end has an entry |
//!
//! The file of epochs is no part of the ledger, so the entry comes after the fact, and names an instant
//! at which the epoch was gone for certain. Where the node ends in between, the next start writes it.

use jiff::Timestamp;
use redb::{ReadableTable, TableDefinition};

use super::{Act, AuditLog, NODE};
use crate::ledger::{Ledger, LedgerError};

const NOTED: TableDefinition<'_, (), u64> = TableDefinition::new("audit_epochs");

impl AuditLog {
    /// Writes down that an epoch, and all before it, are destroyed, if that is not written yet.
    ///
    /// # Errors
    /// [`LedgerError`] when nothing was written.
    pub async fn note_destroyed(
        &self,
        ledger: &Ledger,
        epoch: u64,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let audit = self.clone();
        let noting = ledger.write(move |write| {
            let mut noted = write.open_table(NOTED)?;
            if noted.get(())?.map_or(0, |noted| noted.value()) >= epoch {
                return Ok(());
            }
            noted.insert((), epoch)?;
            audit.append(write, now, NODE, &Act::EpochDestroyed { epoch })
        });
        noting.await
    }
}
