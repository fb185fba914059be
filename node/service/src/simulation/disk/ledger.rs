//! The ledger's file on the make-believe disk, as redb uses it.

use std::io;
use std::sync::MutexGuard;

use super::{Disk, broken, lock};
use crate::simulation::chance::Chance;

/// The ledger's file.
#[derive(Debug, Clone)]
pub(crate) struct LedgerFile(pub(super) Disk);

#[derive(Debug, Default)]
pub(super) struct Blocks {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Where it was written since the last sync.
    written: Vec<(usize, usize)>,
}

/// Gives it this length, with zeroes for what is new: what `resize` does, without its loop, which in a
/// test build goes byte by byte.
fn set_length(bytes: &mut Vec<u8>, length: usize) {
    if length <= bytes.len() {
        bytes.truncate(length);
        return;
    }
    let mut longer = vec![0; length];
    longer[..bytes.len()].copy_from_slice(bytes);
    *bytes = longer;
}

impl Blocks {
    fn sync(&mut self) {
        set_length(&mut self.durable, self.now.len());
        for (from, end) in self.written.drain(..) {
            let end = end.min(self.now.len());
            if from < end {
                self.durable[from..end].copy_from_slice(&self.now[from..end]);
            }
        }
    }

    pub(super) fn crash(&mut self, chance: &mut Chance) {
        let keep = chance.from(0, 3);
        let all = std::mem::take(&mut self.written);
        self.written =
            all.into_iter().filter(|_| keep == 1 || (keep == 2 && chance.percent(50))).collect();
        self.sync();
        self.now.clone_from(&self.durable);
    }
}

impl LedgerFile {
    /// Makes it empty, durably.
    pub(crate) fn empty(&self) -> io::Result<()> {
        self.0.spend()?;
        *lock(&self.0.0.ledger) = Blocks::default();
        Ok(())
    }

    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        lock(&self.0.0.ledger)
    }
}

impl redb::StorageBackend for LedgerFile {
    fn len(&self) -> io::Result<u64> {
        self.0.is_powered()?;
        Ok(self.blocks().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.is_powered()?;
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let blocks = self.blocks();
        let found = blocks.now.get(from..from + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.spend()?;
        let length = usize::try_from(len).map_err(io::Error::other)?;
        set_length(&mut self.blocks().now, length);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.spend()?;
        {
            let mut power = lock(&self.0.0.power);
            if let Some(less) = power.ledger_syncs_fail.checked_sub(1) {
                power.ledger_syncs_fail = less;
                return Err(broken());
            }
        }
        self.blocks().sync();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.spend()?;
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let end = from + data.len();
        let mut blocks = self.blocks();
        blocks.now.get_mut(from..end).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        blocks.written.push((from, end));
        Ok(())
    }
}
