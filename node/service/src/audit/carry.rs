//! The log of an older ledger, taken over into one that is made anew.

use jiff::Timestamp;
use redb::{Database, WriteTransaction};

use super::chain::{self, BEGINNING, Row};
use super::line::{Flaw, Hash, unseal};
use super::{Act, AuditLog, NODE};
use crate::ledger::{LedgerError, salvage};

/// What became of the old ledger's log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// Entries taken over.
    pub entries: u64,
    /// Whether these were all.
    pub is_whole: bool,
}

impl AuditLog {
    /// Takes over the old ledger's log, as far as its chain is sound, and notes that the ledger was
    /// made anew. Where nothing can be read the chain begins anew, with that entry.
    ///
    /// # Errors
    /// [`LedgerError`] where the new ledger cannot be written.
    pub(crate) fn carry_over(
        &self,
        old: Option<&Database>,
        write: &WriteTransaction,
        now: Timestamp,
    ) -> Result<Carried, LedgerError> {
        let mut carried = Carried::default();
        let mut prev = BEGINNING;
        let newest =
            old.and_then(|old| salvage(old, chain::head)).flatten().map_or(0, |head| head.seq);
        'pages: while let Some(old) = old {
            let from = carried.entries + 1;
            let Some(rows) = salvage(old, |read| chain::page(read, from, newest)) else { break };
            if rows.is_empty() {
                break;
            }
            for row in rows {
                if row.seq != carried.entries + 1 || !self.follows(&row, prev) {
                    break 'pages;
                }
                chain::carry(write, &row)?;
                (carried.entries, prev) = (row.seq, row.hash);
            }
        }
        carried.is_whole = newest > 0 && carried.entries == newest;
        self.note_key(write, now)?;
        let act = Act::LedgerRebuilt { carried: carried.entries, is_whole: carried.is_whole };
        self.append(write, now, NODE, &act)?;
        Ok(carried)
    }

    /// Whether an entry is what it says, and stands where it says. What a key signed that the node
    /// had before is taken at its word: auditors have that key.
    fn follows(&self, row: &Row, prev: Hash) -> bool {
        let Ok(line) = unseal(&row.line) else { return false };
        let is_sound = match line.check(std::slice::from_ref(self.public_key())) {
            Ok(()) | Err(Flaw::Foreign) => true,
            Err(Flaw::Changed | Flaw::Unsigned) => false,
        };
        is_sound
            && line.hash == row.hash
            && line.prev() == Some(prev)
            && line.seq() == Some(row.seq)
    }
}
