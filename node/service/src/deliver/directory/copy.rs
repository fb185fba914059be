//! Copies and compares the bytes of two open files, a step at a time.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::copy_file_range;

use super::error::Error;
use crate::deliver::progress::Progress;

/// How much is copied between two syncs, in bytes. Synced as it goes, a large file neither crowds
/// out the page cache nor ends in one sync of many minutes that nobody can tell from a hang.
pub(super) const STEP_BYTES: u64 = 16 << 20;

/// Reads and writes where the kernel cannot copy by itself, in bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// A file of the vault and its copy.
pub(super) struct Pair<'a> {
    pub(super) source: &'a File,
    pub(super) source_path: &'a Path,
    pub(super) target: &'a File,
    pub(super) target_path: &'a Path,
    pub(super) progress: &'a Progress,
    pub(super) is_stopped: &'a AtomicBool,
}

impl Pair<'_> {
    /// Copies `from..bytes`, durably. The vault's file has `bytes` bytes.
    pub(super) fn copy(&self, from: u64, bytes: u64) -> Result<(), Error> {
        let failed = |error| Error::target("look at", self.target_path, error);
        let mut copier = Copier { pair: self, bytes, buffer: Vec::new() };
        self.progress.start_at(from);
        let (mut offset, mut synced) = (from, from);
        while offset < bytes {
            self.check_stopped()?;
            let end = bytes.min(offset + self.progress.piece_bytes(STEP_BYTES));
            let _ = self.progress.leave_blocking(end - offset);
            copier.copy(offset, end)?;
            if end >= synced + STEP_BYTES {
                self.sync_data()?;
                synced = end;
            }
            self.progress.moved(end - offset);
            offset = end;
        }
        self.target.sync_all().map_err(|source| self.unsynced(source))?;
        let found = self.target.metadata().map_err(failed)?.len();
        if found != bytes {
            let path = self.target_path.into();
            return Err(Error::TargetBytes { path, expected: bytes, found });
        }
        self.check_stopped()
    }

    /// Puts the copy's bytes so far onto its disk.
    pub(super) fn sync_data(&self) -> Result<(), Error> {
        self.target.sync_data().map_err(|source| self.unsynced(source))
    }

    fn unsynced(&self, source: io::Error) -> Error {
        Error::Unsynced { path: self.target_path.into(), source }
    }

    /// The first byte in a range of the vault's file that the copy has not, if there is one.
    pub(super) fn first_difference(&self, range: Range<u64>) -> Result<Option<u64>, Error> {
        let (mut ours, mut theirs) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
        let unread = |source| Error::Source { path: self.source_path.into(), source };
        let mut at = range.start;
        while at < range.end {
            self.check_stopped()?;
            let length = usize::try_from(range.end - at).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
            let (ours, theirs) = (&mut ours[..length], &mut theirs[..length]);
            self.source.read_exact_at(ours, at).map_err(unread)?;
            match self.target.read_exact_at(theirs, at) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Some(at)),
                Err(error) => return Err(Error::target("read", self.target_path, error)),
            }
            self.progress.advance(1);
            if ours != theirs {
                let differs = ours.iter().zip(theirs.iter()).take_while(|(a, b)| a == b).count();
                return Ok(Some(at + differs as u64));
            }
            at += length as u64;
        }
        Ok(None)
    }

    fn check_stopped(&self) -> Result<(), Error> {
        if self.is_stopped.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
    }
}

struct Copier<'a> {
    pair: &'a Pair<'a>,
    bytes: u64,
    /// Empty while the kernel copies.
    buffer: Vec<u8>,
}

impl Copier<'_> {
    fn copy(&mut self, mut offset: u64, end: u64) -> Result<(), Error> {
        while offset < end {
            let copied = if self.buffer.is_empty() {
                self.copy_in_kernel(offset, end)
            } else {
                self.copy_by_hand(offset, end)?
            };
            offset += copied;
        }
        Ok(())
    }

    /// Lets the kernel copy: it shares blocks where the file system can, and a file server copies
    /// by itself. Whatever it refuses is done by hand, which also tells which side failed.
    fn copy_in_kernel(&mut self, offset: u64, end: u64) -> u64 {
        let (Ok(mut from), Ok(mut to)) = (i64::try_from(offset), i64::try_from(offset)) else {
            self.buffer.resize(BUFFER_BYTES, 0);
            return 0;
        };
        let length = usize::try_from(end - offset).unwrap_or(BUFFER_BYTES);
        let Pair { source, target, .. } = self.pair;
        match copy_file_range(source, Some(&mut from), target, Some(&mut to), length) {
            Err(Errno::EINTR) => 0,
            Ok(copied) if copied > 0 => copied as u64,
            _ => {
                self.buffer.resize(BUFFER_BYTES, 0);
                0
            }
        }
    }

    fn copy_by_hand(&mut self, offset: u64, end: u64) -> Result<u64, Error> {
        let length = usize::try_from(end - offset).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
        let path = || self.pair.source_path.to_owned();
        let read = match self.pair.source.read_at(&mut self.buffer[..length], offset) {
            Ok(0) => {
                return Err(Error::SourceBytes {
                    path: path(),
                    expected: self.bytes,
                    found: offset,
                });
            }
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(0),
            Err(source) => return Err(Error::Source { path: path(), source }),
        };
        self.pair
            .target
            .write_all_at(&self.buffer[..read], offset)
            .map_err(|error| Error::target("write", self.pair.target_path, error))?;
        Ok(read as u64)
    }
}
