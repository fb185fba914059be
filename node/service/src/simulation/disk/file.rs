//! An open file on the make-believe disk.

use std::io;
use std::sync::{Arc, Mutex};

use super::tree::Bytes;
use super::{Disk, broken, lock};

/// An open file, or an open folder.
#[derive(Debug)]
pub struct File {
    pub(super) disk: Disk,
    pub(super) bytes: Arc<Mutex<Bytes>>,
    pub(super) writes: bool,
}

impl File {
    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        assert!(self.writes, "written to a file that was opened for reading");
        self.disk.spend_room()?;
        let mut file = lock(&self.bytes);
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let end = from + bytes.len();
        if file.now.len() < end {
            file.now.resize(end, 0);
        }
        file.now[from..end].copy_from_slice(bytes);
        file.modified = self.disk.0.clock.now();
        Ok(())
    }

    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.is_powered()?;
        let file = lock(&self.bytes);
        let from = usize::try_from(offset).map_err(io::Error::other)?.min(file.now.len());
        let read = buffer.len().min(file.now.len() - from);
        buffer[..read].copy_from_slice(&file.now[from..from + read]);
        Ok(read)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        let synced = self.disk.spend_sync();
        let mut file = lock(&self.bytes);
        if std::mem::take(&mut file.is_lost) {
            return Err(broken());
        }
        match synced {
            Ok(()) => file.sync(),
            // The power is what it lacked; the cut decides what is left.
            Err(_) if self.disk.is_off() => {}
            Err(_) => file.lose(),
        }
        synced
    }

    pub(crate) fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.disk.spend()?;
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        lock(&self.bytes).now.resize(length, 0);
        Ok(())
    }

    pub(crate) fn bytes(&self) -> io::Result<u64> {
        self.disk.is_powered()?;
        Ok(lock(&self.bytes).now.len() as u64)
    }
}
